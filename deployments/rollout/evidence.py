"""What a rollout has shown so far: the state that the store keeps, and how counts enter it.

Evidence comes in batches: what both tracks counted between two looks. A batch is judged by
the share of requests that the canary really had in it, not by the weight that was asked
for. With sticky keys the two differ for a whole rollout (of a thousand equal keys, 5 % hold
between 3.6 % and 6.4 % nineteen times in twenty), and a test that trusts the weight would
take the difference for errors. So a rate that changes between batches and hits both tracks
alike says nothing, and neither does a share that changes.

Batches of a step whose shares are alike add up to a segment, so the state stays small
however long a step takes: some dozens of segments. Order does not matter within a step.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from deployments.rollout.signals import Counts, Kind, Signal, Sums, read

MIN_BATCH = 20
"""Requests of both tracks in a batch. What a batch of n tells is (n - 1) / n of what its
requests would tell if the share were known, so that a tenth of it costs nothing to speak of."""

ODDS_RATIO = 1.02
"""How far apart the shares within a segment may be; judged by the end that favours the canary."""

ODDS_OF_REWARDS = 10
"""Classes that are one for rewards, which need the odds only for how much stakes may lose."""

ROUNDING = 1e-6
"""What differences of long sums of rewards may be off by, per observation."""


class Segment(msgspec.Struct, frozen=True):
    """Batches of one step in which the canary's share was alike."""

    step: int

    odds: int | None
    """Stable observations for each of the canary, as the power of `ODDS_RATIO` that is not
    above it; None where there is no stable side."""

    canary: Sums
    stable: Sums

    expected: float
    """What the canary's total would be at the rate that stable had in each batch."""


class Record(msgspec.Struct, frozen=True):
    """Evidence of one signal."""

    canary_seen: Sums
    stable_seen: Sums
    """Cumulative numbers up to which batches were taken."""

    segments: tuple[Segment, ...] = ()
    """Sorted by step and odds."""


class Evidence(msgspec.Struct, frozen=True):
    """Everything that a judgement rests on."""

    step: int
    """The step that the rollout is at; never falls."""

    records: Mapping[str, Record]
    """By signal."""


def begin(signals: Iterable[Signal], *, canary: Counts, stable: Counts, step: int = 0) -> Evidence:
    """Start with nothing: what was counted before is not evidence."""
    records = {
        signal.name: Record(read(signal, canary), read(signal, stable)) for signal in signals
    }
    return Evidence(step, records)


def observe(
    evidence: Evidence, signals: Iterable[Signal], *, canary: Counts, stable: Counts, step: int
) -> Evidence:
    """Add what was counted since the last look.

    Looking twice at the same counts adds nothing, so a controller may repeat itself after a
    crash. A signal that is not in the evidence begins here. A batch too small to say
    something waits for company; an impossible one is left out, such as after the loss of a
    gateway whose counters nobody kept.

    Args:
        evidence: What is known; not changed.
        signals: Those of the rollout.
        canary: Cumulative counters of the canary.
        stable: The same of stable.
        step: Which step the numbers belong to; look once more before a weight changes.

    Raises:
        ValueError: The step is before the evidence's.
    """
    if step < evidence.step:
        raise ValueError(f"step {step} is before step {evidence.step}")
    records = dict(evidence.records)
    for signal in signals:
        now = read(signal, canary), read(signal, stable)
        record = records.get(signal.name) or Record(*now)
        records[signal.name] = _extend(record, signal, now, step)
    return Evidence(step, records)


def odds_class(canary: int, stable: int) -> int:
    """Name the class of batches whose odds are alike."""
    return math.floor(math.log(stable / canary) / math.log(ODDS_RATIO))


def _extend(record: Record, signal: Signal, now: tuple[Sums, Sums], step: int) -> Record:
    canary, stable = now[0] - record.canary_seen, now[1] - record.stable_seen
    if not (_is_possible(canary) and _is_possible(stable)):
        return Record(*now, record.segments)
    if not _is_enough(signal, canary.count, stable.count):
        return record
    return Record(*now, _merge(record.segments, _segment(signal, step, canary, stable)))


def _is_possible(batch: Sums) -> bool:
    slack = ROUNDING * (1 + batch.count)
    return batch.count >= 0 and -slack <= batch.total <= batch.count + slack


def _is_enough(signal: Signal, canary: int, stable: int) -> bool:
    """Decide by counts alone: how bad the numbers are must not say when a batch ends."""
    if not signal.is_compared:
        return canary > 0
    return min(canary, stable) > 0 and canary + stable >= MIN_BATCH


def _segment(signal: Signal, step: int, canary: Sums, stable: Sums) -> Segment:
    if not signal.is_compared:
        return Segment(step, None, canary, Sums(), 0.0)
    odds = odds_class(canary.count, stable.count)
    if signal.kind is Kind.REWARD:
        odds -= odds % ODDS_OF_REWARDS
    return Segment(step, odds, canary, stable, canary.count / stable.count * stable.total)


def _merge(segments: Sequence[Segment], new: Segment) -> tuple[Segment, ...]:
    by_key = {(segment.step, segment.odds): segment for segment in segments}
    key = new.step, new.odds
    old = by_key.get(key)
    if old is not None:
        new = Segment(
            *key, old.canary + new.canary, old.stable + new.stable, old.expected + new.expected
        )
    by_key[key] = new
    return tuple(sorted(by_key.values(), key=lambda each: (each.step, each.odds or 0)))
