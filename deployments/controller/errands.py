"""Calls to others that a tick must not wait for: one of a name at a time, again after a while."""

import logging
import time
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

logger = logging.getLogger(__name__)

WORKERS = 8
"""Calls at a time, of which most wait for somebody else's answer."""

RETRY_S = 1.0
"""Wait before what failed is tried again, seconds; doubles with each failure."""

MOST_RETRY_S = 30.0


@dataclass(frozen=True, slots=True)
class Finished:
    """An errand that was run."""

    name: Hashable
    result: Any


class Errands:
    """Runs calls in threads. `begin` and `finished` are for one thread."""

    def __init__(
        self,
        wake: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
        workers: int = WORKERS,
    ) -> None:
        """Begin.

        Args:
            wake: Called from a thread whenever an errand was run.
            monotonic: Seconds.
            workers: Calls at a time.
        """
        self._wake = wake
        self._monotonic = monotonic
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix="errands")
        self._running: set[Hashable] = set()
        self._failures: dict[Hashable, int] = {}
        self._not_before_s: dict[Hashable, float] = {}
        self._done: SimpleQueue[tuple[Hashable, Any, Exception | None, float]] = SimpleQueue()

    def begin(self, name: Hashable, call: Callable[[], Any], again_after_s: float = 0.0) -> None:
        """Run a call, unless one of this name is running or ran a moment ago.

        Args:
            name: Of the errand.
            call: Blocks.
            again_after_s: How long to leave it alone after it was run.
        """
        if name in self._running or self._monotonic() < self._not_before_s.get(name, 0.0):
            return
        self._running.add(name)

        def run() -> None:
            try:
                self._done.put((name, call(), None, again_after_s))
            except Exception as error:  # noqa: BLE001, any server, any network: it is tried again
                self._done.put((name, None, error, again_after_s))
            self._wake()

        self._workers.submit(run)

    def finished(self) -> list[Finished]:
        """Those that were run since the last time; what failed is not among them."""
        found: list[Finished] = []
        while True:
            try:
                name, result, error, again_after_s = self._done.get_nowait()
            except Empty:
                return found
            self._running.discard(name)
            now_s = self._monotonic()
            if error is None:
                self._failures.pop(name, None)
                self._not_before_s[name] = now_s + again_after_s
                found.append(Finished(name, result))
                continue
            failures = self._failures.get(name, 0)
            self._failures[name] = failures + 1
            self._not_before_s[name] = now_s + min(RETRY_S * 2.0 ** min(failures, 10), MOST_RETRY_S)
            if not failures:
                logger.warning("%s: %s: %s", name, type(error).__name__, error)

    def forget(self, is_over: Callable[[Hashable], bool]) -> None:
        """Drop what is remembered of errands that nobody will run again."""
        for memory in (self._failures, self._not_before_s):
            for name in [name for name in memory if is_over(name)]:
                del memory[name]

    def close(self) -> None:
        """Start nothing more; what runs is not waited for."""
        self._workers.shutdown(wait=False, cancel_futures=True)
