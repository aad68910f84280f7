"""What a load generator measured, and what several of its runs come to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Reading:
    """One run of a load generator, or the median of several."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float

    faults: int
    """Answers that were wrong or not 2xx, and requests that got none."""

    offered_per_s: float | None = None
    """Rate at which requests arrived; None where each connection waits for its answer."""


def middle(readings: Sequence[Reading]) -> Reading:
    """Take the median of each figure; faults add up, since none may hide."""
    offered = [r.offered_per_s for r in readings if r.offered_per_s is not None]
    return Reading(
        requests_per_s=median(reading.requests_per_s for reading in readings),
        p50_ms=median(reading.p50_ms for reading in readings),
        p99_ms=median(reading.p99_ms for reading in readings),
        faults=sum(reading.faults for reading in readings),
        offered_per_s=median(offered) if offered else None,
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent do not exceed: nearest rank, nothing made up.

    Args:
        ordered: Ascending; NaN is returned where it is empty.
        percent: In (0, 100].
    """
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def summarize(
    latencies_s: Sequence[float],
    *,
    duration_s: float,
    faults: int,
    offered_per_s: float | None = None,
) -> Reading:
    """Turn the latencies of the answered requests into a reading."""
    ordered = sorted(latencies_s)
    return Reading(
        requests_per_s=len(ordered) / duration_s,
        p50_ms=percentile(ordered, 50) * 1e3,
        p99_ms=percentile(ordered, 99) * 1e3,
        faults=faults,
        offered_per_s=offered_per_s,
    )
