"""The server that runs on a home folder: its record, and its end by `rayfleet stop`.

Apart from what starts it, which imports Ray Serve and MLflow for seconds.
"""

import json
import os
import shutil
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from deployments.processes import end_tree
from tuning.home import Home, resolve_home

GRACE_S = 90.0
"""Serve drains each application for up to 30 s; then Ray itself goes down, seconds."""


@dataclass(frozen=True, slots=True)
class Running:
    """What `rayfleet stop` needs to know of a server; kept in a file in the home folder."""

    pid: int
    child_pid: int
    child_started_at_s: float

    folder: str
    """Its sockets and logs of HAProxy; goes with it."""


def stop() -> int:
    """End the server that runs on this home folder, whether its terminal is still there or not."""
    home = resolve_home(create=False)
    running = read_record(record_path(home))
    if running is None:
        print("rayfleet: nothing to stop")
        return 0
    # A minute, where requests are still to be answered.
    print("rayfleet: stopping", flush=True)
    if is_ours(running.pid, running):
        os.kill(running.pid, signal.SIGTERM)
        psutil.wait_procs([psutil.Process(running.pid)], GRACE_S)
    end_tree(running.child_pid, GRACE_S)
    shutil.rmtree(running.folder, ignore_errors=True)
    record_path(home).unlink(missing_ok=True)
    print("rayfleet: stopped")
    return 0


def record_path(home: Home) -> Path:
    """Where a server says that it runs."""
    return home.root / "serve.json"


def record(home: Home, child_pid: int, folder: str) -> Path:
    """Say that this process serves; returns the file to delete when it has ended."""
    path = record_path(home)
    started_at_s = psutil.Process(child_pid).create_time()
    path.write_text(json.dumps(asdict(Running(os.getpid(), child_pid, started_at_s, folder))))
    return path


def read_record(path: Path) -> Running | None:
    """The server on record, if its process is still the one that was recorded."""
    try:
        running = Running(**json.loads(path.read_text()))
        if psutil.Process(running.child_pid).create_time() == running.child_started_at_s:
            return running
    except (FileNotFoundError, ValueError, TypeError, psutil.NoSuchProcess):
        pass
    return None


def is_ours(pid: int, running: Running) -> bool:
    """Whether a process is the parent that we recorded, not a later one with its number."""
    try:
        return psutil.Process(running.child_pid).ppid() == pid
    except psutil.NoSuchProcess:
        return False
