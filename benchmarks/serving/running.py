"""Start a server, wait until it answers rightly, and leave nothing of it behind."""

import contextlib
import os
import socket
import subprocess
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import psutil

from deployments.processes import tree

MARKER = "RAYFLEET_BENCHMARK_RUN"
"""Variable by which every process that a server started is found, however it detached."""

READY_WITHIN_S = 120.0
"""Longest start of a server, seconds; a first start of Ray on a cold disk takes half a minute."""

STOP_WITHIN_S = 10.0
"""Longest time that the kernel may take to end killed processes, seconds."""

POLL_S = 0.1

FOREIGN_SETTINGS = ("RAY_", "MLFLOW_", "RAYFLEET_", "MLSERVER_", "BENTOML_")
"""Prefixes of variables that could lead a server to someone else's cluster or registry."""

REPOSITORY = Path(__file__).parents[2]


class StartError(Exception):
    """A server did not come up, or does not predict what the model predicts."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Variables beyond those of this process."""


def free_port() -> int:
    """Find a TCP port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def clean_environment() -> dict[str, str]:
    """Copy this process's variables without those that name a cluster or a registry."""
    return {
        name: value for name, value in os.environ.items() if not name.startswith(FOREIGN_SETTINGS)
    }


@contextlib.contextmanager
def running(launch: Launch, *, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a server for the length of a block.

    Raises:
        StartError: The program does not exist.
    """
    run = uuid.uuid4().hex
    environment = {**clean_environment(), **launch.environment, MARKER: run}
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                launch.command,
                cwd=REPOSITORY,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a terminal's Ctrl-C is ours to pass on
            )
        except OSError as error:
            raise StartError(f"{launch.command[0]}: {error.strerror}") from None
        try:
            yield process
        finally:
            _stop(process, run)


def wait_until_ready(url: str, *, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """Return once a GET is answered 200.

    Raises:
        StartError: The server ended, or the deadline passed; what it said last says why.
    """
    deadline_s = time.monotonic() + READY_WITHIN_S
    while not _answers(url):
        require_alive(process, log=log)
        if time.monotonic() > deadline_s:
            raise StartError(f"not ready within {READY_WITHIN_S:g} s: {_last_line(log)}")
        time.sleep(POLL_S)


def require_alive(process: "subprocess.Popen[bytes]", *, log: Path) -> None:
    """Check that a server still runs.

    Raises:
        StartError: It has ended; what it said last says why.
    """
    if process.poll() is not None:
        raise StartError(f"ended with status {process.returncode}: {_last_line(log)}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (URLError, ConnectionError, TimeoutError):
        return False


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"


def _stop(process: "subprocess.Popen[bytes]", run: str) -> None:
    # Killed, not asked: all state is thrown away, and Serve would drain for 30 s.
    # One that renames itself, as Ray's agents do, may have written over its environment.
    survivors = [*tree(process.pid), *_marked(run)]
    while survivors:  # until the last one had no time to start another
        for survivor in survivors:
            with contextlib.suppress(psutil.NoSuchProcess):
                survivor.kill()
        psutil.wait_procs(survivors, timeout=STOP_WITHIN_S)
        survivors = list(_marked(run))
    process.wait(STOP_WITHIN_S)


def _marked(run: str) -> Iterator[psutil.Process]:
    for candidate in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if candidate.environ().get(MARKER) == run:
                yield candidate
