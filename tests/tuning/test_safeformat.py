import subprocess
import sys

import pytest

LOADS = """\
import importlib.util, sys
from tuning.safeformat import import_skops
skops_io = import_skops()
assert skops_io.loads(skops_io.dumps({"a": 1})) == {"a": 1}
assert "torch" not in sys.modules
assert importlib.util.find_spec("torch") is not None
"""
"""What a process does that has imported nothing else before."""


@pytest.mark.ray  # a second and a half
def test_models_are_read_and_written_without_pytorch() -> None:
    subprocess.run([sys.executable, "-c", LOADS], check=True)
