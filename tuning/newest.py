"""What was told of each trial last and is not written yet, between two threads."""

import threading
from dataclasses import dataclass

from tuning.ledger import Trial


@dataclass(frozen=True, slots=True)
class Told:
    """A trial as it was at a moment."""

    trial: Trial
    at_ms: int
    """Unix time in milliseconds."""


class Newest:
    """One thread puts, another takes; of what was put in between, the newest counts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._told: dict[int, Told] = {}

    def put(self, told: Told) -> bool:
        """Keep it in the place of what waits of its trial.

        Returns:
            Whether nothing waited, so that somebody has to be sent to take it.
        """
        # Looked at and replaced in one step: what is put right after a take has to be taken, too.
        with self._lock:
            waited = told.trial.number in self._told
            self._told[told.trial.number] = told
        return not waited

    def take(self, number: int) -> Told | None:
        """Hand over what waits of a trial; None if nothing does."""
        with self._lock:
            return self._told.pop(number, None)
