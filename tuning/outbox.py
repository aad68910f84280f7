"""Writes to a service that may be away, one after the other, on a thread of its own."""

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import DBAPIError

from tuning.errors import TrackingError

logger = logging.getLogger(__name__)

RETRY_FIRST_S = 0.2
RETRY_LONGEST_S = 5.0
GIVE_UP_S = 60.0
"""How long `flush` waits for a service that is away."""

Note = Callable[[], Any]
"""One write; it raises whatever it likes when the service refuses it, and is tried again."""


class Outbox:
    """Keeps notes in their order; a later one is never written before an earlier one."""

    def __init__(
        self,
        address: str,
        refuses: Callable[[Exception], bool] = lambda _: False,
        give_up_s: float = GIVE_UP_S,
    ) -> None:
        """Only hold what is put in, until `start`.

        Args:
            address: Of the service, for messages.
            refuses: Whether an error means that a note will never be taken, however often
                it is tried. It is dropped, and the ones behind it are written.
            give_up_s: How long `flush` waits for a service that is away.
        """
        self._address = address
        self._refuses = refuses
        self._give_up_s = give_up_s
        self.in_doubt = True
        """Whether something refused may have arrived nevertheless, its answer being lost."""
        self._notes: queue.SimpleQueue[Note | threading.Event | None] = queue.SimpleQueue()
        self._give_up_at_s: float | None = None
        self._lost: str | None = None
        self._refused: str | None = None
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)

    @property
    def open(self) -> bool:
        """Whether notes are being written."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def put(self, note: Note) -> None:
        """Leave a note and return at once."""
        self._notes.put(note)

    def flush(self) -> None:
        """Wait until everything put in so far is written.

        Raises:
            TrackingError: The service was away for too long, and all that was left is
                dropped; or it would not take one of the notes.
        """
        if not self.open:
            return
        self._give_up_at_s = time.monotonic() + self._give_up_s
        reached = threading.Event()
        self._notes.put(reached)
        reached.wait()
        self._give_up_at_s = None
        if self._lost is not None:
            raise TrackingError(
                f"MLflow at {self._address} took nothing for {self._give_up_s:g} s: "
                f"{self._lost}; the same command writes what it missed"
            )
        if self._refused is not None:
            raise TrackingError(f"MLflow at {self._address} will not store: {self._refused}")

    def close(self) -> None:
        """Write what is left, and end the thread; raises like `flush`."""
        try:
            self.flush()
        finally:
            if self.open:
                self._notes.put(None)
                self._thread.join()

    def _run(self) -> None:
        while (note := self._notes.get()) is not None:
            if isinstance(note, threading.Event):
                note.set()
            elif self._lost is None:  # the order matters, so none may follow one that was lost
                self._write(note)

    def _write(self, note: Note) -> None:
        delay_s = RETRY_FIRST_S
        while True:
            try:
                note()
            except Exception as error:
                logger.debug("a note was refused", exc_info=True)
                self.in_doubt = True
                if self._refuses(error):
                    self._refused = self._refused or _first_line(error)
                    return
                give_up_at_s = self._give_up_at_s
                if give_up_at_s is not None and time.monotonic() + delay_s > give_up_at_s:
                    self._lost = _first_line(error)
                    return
                time.sleep(delay_s)
                delay_s = min(2 * delay_s, RETRY_LONGEST_S)
            else:
                self.in_doubt = False
                return


def _first_line(error: BaseException) -> str:
    # What the database said, if it is one, without MLflow's and SQLAlchemy's stories around it.
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DBAPIError):
        cause = cause.__cause__
    said = cause.orig if cause is not None else error
    return str(said).partition("\n")[0][:200]
