"""What the segments of one signal say about any margin: e-values, and the bounds they imply."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.rollout.evidence import ODDS_RATIO, Segment
from deployments.rollout.sequences import (
    Floats,
    log_e_value,
    log_mean,
    log_wealth_by_start,
    lower_bound,
)
from deployments.rollout.signals import Kind, Signal, Sums
from deployments.rollout.wealth import MEAN_PRIOR, SHARE_PRIOR, Side, mean_growth, share_growth


@dataclass(frozen=True, slots=True)
class Comparison:
    """Canary against stable in one signal, segment by segment; margins are shares of its range."""

    signal: Signal
    segments: Sequence[Segment]
    """Sorted by step."""

    canary: Side
    stable: Side
    expected: Floats

    fewest: Floats
    most: Floats
    """Stable observations for each of the canary, at least and at most, by segment."""

    firsts: tuple[int, ...]
    """Where each step begins."""


def compare(signal: Signal, segments: Sequence[Segment]) -> Comparison:
    """Lay segments out as arrays."""
    steps = [segment.step for segment in segments]
    powers = np.array([np.inf if each.odds is None else each.odds for each in segments])
    return Comparison(
        signal=signal,
        segments=segments,
        canary=_side([segment.canary for segment in segments]),
        stable=_side([segment.stable for segment in segments]),
        expected=np.array([segment.expected for segment in segments]),
        fewest=ODDS_RATIO**powers,
        most=ODDS_RATIO ** (powers + 1),
        firsts=tuple(index for index, step in enumerate(steps) if step not in steps[:index]),
    )


def log_evidence_of_rise(comparison: Comparison, margin: float) -> float:
    """Logarithm of the e-value against "worse by the margin at most"; falls in the margin."""
    return float(log_e_value(_growth_by_step(comparison, margin), _prior(comparison)))


def log_evidence_of_fall(comparison: Comparison, margin: float) -> float:
    """Logarithm of the e-value against "worse by the margin at least"; rises in the margin.

    Without fresh starts: hand in the segments of the step that is to be judged.
    """
    growth = _growth(comparison, margin, sign=-1).sum(axis=0)
    return float(log_mean(growth, _prior(comparison)))


def least_rise(comparison: Comparison, level: float) -> float:
    """Lower confidence bound, wrong at any look with probability `level` at most."""
    return lower_bound(
        lambda margin: log_evidence_of_rise(comparison, margin),
        -math.log(level),
        estimate=_estimate(comparison),
        lowest=-1.0 if comparison.signal.is_compared else 0.0,
    )


def most_rise(comparison: Comparison, level: float) -> float:
    """Upper confidence bound, wrong at any look with probability `level` at most."""
    return -lower_bound(
        lambda margin: log_evidence_of_fall(comparison, -margin),
        -math.log(level),
        estimate=-_estimate(comparison),
        lowest=-1.0,
    )


def guilty(comparison: Comparison, margin: float) -> tuple[Sums, Sums]:
    """Add up canary and stable since the step whose bets have won most."""
    growth = _growth_by_step(comparison, margin)
    start = int(np.argmax(log_wealth_by_start(growth, _prior(comparison))))
    return totals(comparison.segments[comparison.firsts[start] :])


def totals(segments: Sequence[Segment]) -> tuple[Sums, Sums]:
    """Add up canary and stable."""
    return (
        sum((segment.canary for segment in segments), Sums()),
        sum((segment.stable for segment in segments), Sums()),
    )


def _growth_by_step(comparison: Comparison, margin: float) -> Floats:
    """Growth of each bet on a rise in each step that has evidence, shape (steps, bets)."""
    growth = _growth(comparison, margin, sign=1)
    return np.add.reduceat(growth, comparison.firsts, axis=0) if comparison.firsts else growth


def _growth(comparison: Comparison, margin: float, *, sign: int) -> Floats:
    """Growth of each bet in each segment, shape (segments, bets).

    The shares within a segment differ by a little: a bet fares as at the end that wins less.
    """
    it = comparison
    if it.signal.kind is Kind.REWARD:
        growth = mean_growth(it.canary, it.stable, it.expected, it.fewest, margin, sign=sign)
    elif sign > 0:
        growth = share_growth(it.canary, it.stable, it.fewest, margin)
    else:
        growth = share_growth(it.stable, it.canary, 1 / it.most, -margin)
    return growth / it.signal.cluster_size


def _estimate(comparison: Comparison) -> float:
    """By how much the canary's mean is above what it would be at stable's, batch by batch."""
    n_canary = float(comparison.canary.count.sum())
    excess = float(comparison.canary.total.sum() - comparison.expected.sum())
    return excess / n_canary if n_canary else 0.0


def _side(sums: Sequence[Sums]) -> Side:
    table = np.array([(each.count, each.total, each.squares) for each in sums], dtype=float)
    return Side(*table.reshape(-1, 3).T)


def _prior(comparison: Comparison) -> Floats:
    return MEAN_PRIOR if comparison.signal.kind is Kind.REWARD else SHARE_PRIOR
