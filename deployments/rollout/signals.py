"""What a rollout is judged by: which counts are read, and how much worse is allowed."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from deployments.errors import ConfigError

ENOUGH_SLOW = 20
"""Requests beyond a quantile of stable's past before that quantile is worth fixing."""


class Kind(StrEnum):
    """Where a signal's numbers come from."""

    ERRORS = "errors"
    """Requests that the version failed, of all that it answered."""

    SLOW = "slow"
    """Requests in the buckets beyond a target, of all in the latency histogram."""

    DIFFERING = "differing"
    """Mirrored answers that differ from stable's, against a bound."""

    MISTAKES = "mistakes"
    """Predictions that a label calls wrong, of all that got a label."""

    REWARD = "reward"
    """Mean of a bounded number per prediction, the higher the better."""


ALLOWED: Mapping[Kind, float] = {
    Kind.ERRORS: 0.01,
    Kind.SLOW: 0.02,
    Kind.DIFFERING: 0.05,
    Kind.MISTAKES: 0.02,
}
"""What to allow where nobody says. A reward has a unit of its own, so it has no default."""


class Sums(msgspec.Struct, frozen=True):
    """Observations of one track added up; where each is yes or no, `total` counts the yes."""

    count: int = 0
    total: float = 0.0

    squares: float = 0.0
    """Sum of their squares."""

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            self.count + other.count, self.total + other.total, self.squares + other.squares
        )

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(
            self.count - other.count, self.total - other.total, self.squares - other.squares
        )

    @property
    def mean(self) -> float | None:
        """Average; None of nothing."""
        return self.total / self.count if self.count else None


class Counts(msgspec.Struct, frozen=True):
    """Everything counted of one track, from any moment on; nothing in it ever falls."""

    requests: int = 0
    errors: int = 0

    latency: tuple[int, ...] = ()
    """Requests in each bucket, the last one open; the same edges for all tracks."""

    mirrored: int = 0
    """Answers that were compared with stable's; of a canary or a shadow."""

    differing: int = 0
    labels: int = 0
    mistakes: int = 0

    rewards: Sums = Sums()
    """In the reward's own unit, each clipped to the signal's range when it was counted."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One thing that may go wrong, and how far it may.

    Raises:
        ConfigError: A number is out of range.
    """

    name: str
    """Its key in the evidence and its subject in reasons, such as "error rate"."""

    kind: Kind

    allowed: float
    """How much worse than stable a canary may be, in the signal's unit, >= 0. Of mirrored
    answers: the largest share that may differ."""

    bucket: int = 0
    """First bucket of the latency histogram that counts as slow."""

    low: float = 0.0
    high: float = 1.0
    """Range of a reward."""

    cluster_size: int = 1
    """Most requests that may share one fate, such as those of a batch. Evidence is divided by
    it, so that it stays valid however alike they are."""

    dry_run: bool = False
    """Report only: its verdict counts for nothing, and it takes no share of alpha."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ConfigError(f"{self.name}: range {self.low:g} to {self.high:g} holds nothing")
        if not 0 <= self.allowed < self.scale:
            raise ConfigError(
                f"{self.name}: allowed {self.allowed:g} is not in [0, {self.scale:g})"
            )
        if self.cluster_size < 1:
            raise ConfigError(f"{self.name}: cluster_size {self.cluster_size} is not 1 or more")

    @property
    def scale(self) -> float:
        """What one unit of the judged shares and means is in the signal's unit."""
        return self.high - self.low

    @property
    def is_compared(self) -> bool:
        """Whether stable is the measure, and not a bound."""
        return self.kind is not Kind.DIFFERING


def read(signal: Signal, counts: Counts) -> Sums:
    """Pick a signal's observations, as badness between 0 and 1."""
    match signal.kind:
        case Kind.ERRORS:
            return _yes(counts.requests, counts.errors)
        case Kind.SLOW:
            return _yes(sum(counts.latency), sum(counts.latency[signal.bucket :]))
        case Kind.DIFFERING:
            return _yes(counts.mirrored, counts.differing)
        case Kind.MISTAKES:
            return _yes(counts.labels, counts.mistakes)
        case Kind.REWARD:
            return _shortfall(counts.rewards, signal.high, signal.scale)


def value_of(signal: Signal, sums: Sums) -> float | None:
    """Turn badness back into the signal's unit: a share, or a mean reward; None of nothing."""
    if sums.mean is None or signal.kind is not Kind.REWARD:
        return sums.mean
    return signal.high - sums.mean * signal.scale


def slow_bucket(target_s: float, edges: Sequence[float]) -> int:
    """Find the first bucket that is slower than a target, for both tracks alike.

    A target between two edges becomes the upper one: nothing within the target counts as
    slow, and as both tracks are cut at the same edge, the comparison stays fair.

    Args:
        target_s: Longest time that is not slow, seconds.
        edges: Upper edges of the buckets, rising, seconds.

    Raises:
        ConfigError: No edge is as late as the target.
    """
    edge = bisect_left(edges, target_s)
    if edge == len(edges):
        raise ConfigError(
            f"latency target {target_s:g} s is beyond the last bucket, {edges[-1]:g} s"
        )
    return edge + 1


def stable_bucket(past: Sequence[int], quantile: float) -> int | None:
    """Find the first bucket beyond a quantile of stable's own latency.

    Read it off stable's past once, when the rollout starts, and keep it: a target that
    follows the numbers which it judges would no longer be independent of them.

    Args:
        past: Stable's histogram before the rollout.
        quantile: Share of requests that are not slow, in (0, 1).

    Returns:
        None while too few requests are beyond it, or where they are in the open bucket.
    """
    total = sum(past)
    slow = total * (1 - quantile)
    if slow < ENOUGH_SLOW:
        return None
    beyond = total
    for bucket, count in enumerate(past[:-1]):
        beyond -= count
        if beyond <= slow:
            return bucket + 1
    return None


def _yes(count: int, total: int) -> Sums:
    return Sums(count, total, total)


def _shortfall(sums: Sums, high: float, scale: float) -> Sums:
    """Turn rewards into how far each is below the highest, as a share of the range."""
    total = (sums.count * high - sums.total) / scale
    squares = (sums.count * high**2 - 2 * high * sums.total + sums.squares) / scale**2
    return Sums(sums.count, total, squares)
