"""When requests are due at a constant rate, whatever became of the ones before."""

from dataclasses import dataclass


@dataclass(slots=True)
class Arrivals:
    """Evenly spaced arrivals from time zero on."""

    rate_per_s: float
    duration_s: float
    taken: int = 0

    @property
    def total(self) -> int:
        """Arrivals of the whole run."""
        return int(self.rate_per_s * self.duration_s)

    @property
    def next_s(self) -> float | None:
        """When the next one is due; None when all were taken."""
        return self.taken / self.rate_per_s if self.taken < self.total else None

    def take(self, now_s: float) -> list[float]:
        """Take all that are due, returning the times at which they should have been sent.

        A caller that comes late gets everything it missed, each with its own time: so a
        stall of the server, or of the caller, shows in the latencies of all that it delayed.
        """
        last = min(self.total, int(now_s * self.rate_per_s) + 1)
        due = [number / self.rate_per_s for number in range(self.taken, last)]
        self.taken = max(self.taken, last)
        return due
