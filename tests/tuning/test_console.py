"""What a sweep prints is for whoever reads it; the sweep itself goes on without a reader."""

import subprocess
import sys

import pytest

PRINTS_TO_NOBODY = """\
import sys
from tuning.__main__ import _Console
console = _Console()
console.print("first")
sys.stdin.read()
for _ in range(3):
    console.print("to nobody")
print("done", file=sys.stderr)
"""


@pytest.mark.ray  # starts an interpreter
def test_a_reader_that_has_seen_enough_ends_nothing() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PRINTS_TO_NOBODY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "first\n"
        process.stdout.close()
        process.stdin.close()

        assert process.stderr.read() == "done\n"
        assert process.wait(timeout=30) == 0
