"""Start a command so that nothing of it outlives us, and end it and all it started."""

import fcntl
import os
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psutil

KILL_AFTER_S = 10.0
"""How long a process may take to obey SIGTERM, seconds."""


class HeldError(Exception):
    """Another process holds the file; its id is the only argument."""


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Be the only process that holds this file, however it ends.

    Raises:
        HeldError: Another one does.
        OSError: The file cannot be written.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise HeldError(file.read().strip() or "unknown") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        # Left behind: another one may have opened it to wait, and would hold a file of no name.
        yield


class ProcessTree:
    """A child process in a session of its own, with everything that it starts.

    Its own session keeps the terminal's Ctrl-C away from it: we pass one SIGINT on, since
    a second one would cut Ray's shutdown short.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        output: IO[bytes] | int | None = None,
    ) -> None:
        # A shell starts background jobs with SIGINT ignored, and children inherit that;
        # a handler, in contrast, is reset in the child to the default.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output is not None else None,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Process id of the child."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit status of the child; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the child.

        Raises:
            subprocess.TimeoutExpired: It is still running.
        """
        return self._process.wait(timeout_s)

    def end(self, grace_s: float) -> None:
        """Interrupt the child, wait, and kill what is left of its tree."""
        end_tree(self.pid, grace_s, self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end(grace_s=60.0)


def end_tree(pid: int, grace_s: float, child: subprocess.Popen[bytes] | None = None) -> None:
    """Interrupt a process, and kill whatever of its tree does not follow.

    Args:
        pid: The root of the tree.
        grace_s: How long it may take to shut down by itself, seconds.
        child: The root's handle where it is our own child, which only we can reap.
    """
    members = tree(pid)
    _signal(members[:1], signal.SIGINT)
    _await(members[:1], grace_s, child)
    # A shutdown starts helpers of its own.
    members += [process for process in tree(pid) if process not in members]
    alive = [process for process in members if process.is_running()]
    _signal(alive, signal.SIGTERM)
    alive = _await(alive, KILL_AFTER_S, child)
    _signal(alive, signal.SIGKILL)
    _await(alive, KILL_AFTER_S, child)


def tree(pid: int) -> list[psutil.Process]:
    """A process and all its descendants, the root first; empty when it is gone."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _await(
    processes: Sequence[psutil.Process], timeout_s: float, child: subprocess.Popen[bytes] | None
) -> list[psutil.Process]:
    """Wait for processes to end; returns those that have not."""
    if child is not None:
        # psutil would reap it and keep its exit status to itself: `Popen` would say 0.
        with suppress(subprocess.TimeoutExpired):
            child.wait(timeout_s)
    others = [item for item in processes if child is None or item.pid != child.pid]
    _, alive = psutil.wait_procs(others, timeout_s)
    if child is not None and child.poll() is None:
        alive += [item for item in processes if item.pid == child.pid]
    return alive


def _signal(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue
