"""A server that a benchmark has started ends with all that it has started."""

import sys
from pathlib import Path

import psutil
import pytest

from benchmarks.serving.running import Launch, running
from tests.integration.sweeping import wait_until

pytestmark = pytest.mark.ray  # starts processes

PARENT = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", "import time; time.sleep(60)"], env={}, start_new_session=True
)
print(child.pid, flush=True)
child.wait()
"""


def test_a_process_without_its_environment_ends_with_the_server(tmp_path: Path) -> None:
    log = tmp_path / "log"

    with running(Launch((sys.executable, "-c", PARENT), {}), log=log):
        wait_until(lambda: log.read_text().endswith("\n"))
        child = int(log.read_text())
        assert psutil.pid_exists(child)

    wait_until(lambda: not psutil.pid_exists(child))
