"""What the benchmark of rollouts makes of its readings: pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np

from benchmarks.releasing.load import Answer


class Outcome(msgspec.Struct, frozen=True):
    """A line of the results: all that was measured, and what the largest must stay below."""

    what: str
    found_s: tuple[float, ...]
    bar_s: float

    @property
    def is_met(self) -> bool:
        """Whether everything that was measured is below the bar, and anything was."""
        return bool(self.found_s) and max(self.found_s) < self.bar_s

    def percentile(self, share: float) -> float:
        """What so many percent of the readings do not exceed; NaN of none."""
        return float(np.percentile(self.found_s, share)) if self.found_s else float("nan")


class Tick(msgspec.Struct, frozen=True):
    """One tick of the controller."""

    took_s: float

    active: int
    """Rollouts on their way at its end."""

    failed: bool
    parts: Mapping[str, float]
    """Seconds by what was called; calls at the same time overlap."""


def until_first(answers: Iterable[Answer], version: str, since_s: float) -> float:
    """Seconds from a moment to a version's first answer after it; infinite if none came."""
    done = [each.done_s for each in answers if each.version == version and each.done_s >= since_s]
    return min(done, default=float("inf")) - since_s


def until_last(answers: Iterable[Answer], version: str, since_s: float) -> float:
    """Seconds from a moment to a version's last answer; 0 if none came after it."""
    done = [each.done_s for each in answers if each.version == version]
    return max(0.0, max(done, default=since_s) - since_s)


def under_way(ticks: Sequence[Tick]) -> list[Tick]:
    """Ticks from the one that began the first rollout to the one that ended the last."""
    busy = [number for number, tick in enumerate(ticks) if tick.active]
    return list(ticks[busy[0] : busy[-1] + 2]) if busy else []


def parts_of(ticks: Iterable[Tick]) -> dict[str, list[float]]:
    """Seconds of each part, tick by tick; a tick without it is left out."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for tick in ticks:
        for name, took_s in tick.parts.items():
            found[name].append(took_s)
    return dict(found)
