"""Rollouts with four signals, each exactly as bad as allowed: do they share alpha?"""

import math

import numpy as np

from benchmarks.judging.rules import Facts
from benchmarks.judging.streams import Ints, Random
from deployments.rollout.sequences import log_e_value
from deployments.rollout.wealth import (
    MEAN_PRIOR,
    SHARE_PRIOR,
    Floats,
    Side,
    mean_growth,
    share_growth,
)

WEIGHTS = (5, 25, 50)
TICKS = 100
"""Of each step."""

REQUESTS = 1000
"""Of both tracks in a tick."""

ERRORS, SLOW = (0.01, 0.005), (0.05, 0.02)
"""Stable's rate, and how much higher the canary's is and may be."""

DIFFERING = 0.02
"""Share of mirrored answers that differ, and may."""

MIRRORED = 0.1
"""Share of stable's requests that are mirrored, in the first step."""

LABELLED = 0.2
"""Share of requests that get a reward of 0, a half or 1, in the proportions below."""

REWARDS = (0.2, 0.3, 0.5)
DROP = 0.05
"""Share of the canary's rewards that are 0 instead of 1, as many as are allowed."""


def false_aborts(n_rollouts: int, random: Random, *, alpha: float) -> tuple[float, list[float]]:
    """Follow rollouts through all steps, with a look at every tick.

    Returns:
        Share of the rollouts that any signal aborts, and of those that each aborts.
    """
    limit = math.log(4 / alpha)
    names = ("errors", "slow", "differing", "rewards")
    bets = {name: len(MEAN_PRIOR if name == "rewards" else SHARE_PRIOR) for name in names}
    growth = {name: np.zeros((n_rollouts, len(WEIGHTS), bets[name])) for name in names}
    aborted = {name: np.zeros(n_rollouts, dtype=bool) for name in names}
    for step, weight in enumerate(WEIGHTS):
        for _ in range(TICKS):
            n_canary = random.binomial(REQUESTS, weight / 100, n_rollouts)
            n_stable = REQUESTS - n_canary
            gains = {
                "errors": _share(n_canary, n_stable, ERRORS, random),
                "slow": _share(n_canary, n_stable, SLOW, random),
                "rewards": _rewards(n_canary, n_stable, random),
            }
            if step == 0:
                gains["differing"] = _differing(n_stable, random)
            for name, gain in gains.items():
                growth[name][:, step] += gain
                aborted[name] |= _fails(growth[name], step, name, limit)
    shares = [float(aborted[name].mean()) for name in names]
    return float(np.any(list(aborted.values()), axis=0).mean()), shares


def _fails(growth: Floats, step: int, name: str, limit: float) -> Facts:
    steps = 1 if name == "differing" else step + 1
    prior = MEAN_PRIOR if name == "rewards" else SHARE_PRIOR
    return np.asarray(log_e_value(growth[:, :steps], prior) >= limit)


def _share(n_canary: Ints, n_stable: Ints, rates: tuple[float, float], random: Random) -> Floats:
    rate, rise = rates
    canary = Side(n_canary, random.binomial(n_canary, rate + rise))
    stable = Side(n_stable, random.binomial(n_stable, rate))
    odds = n_stable / np.maximum(n_canary, 1)
    return share_growth(canary, stable, odds, rise) * (n_canary > 0)[:, None]


def _differing(n_stable: Ints, random: Random) -> Floats:
    mirrored = random.binomial(n_stable, MIRRORED)
    canary = Side(mirrored, random.binomial(mirrored, DIFFERING))
    nothing = np.zeros(len(mirrored))
    return share_growth(canary, Side(nothing, nothing), np.inf, DIFFERING)


def _rewards(n_canary: Ints, n_stable: Ints, random: Random) -> Floats:
    worst, middle, _ = REWARDS
    counts = random.binomial(n_canary, LABELLED), random.binomial(n_stable, LABELLED)
    canary = _badness(counts[0], worst + DROP, middle, random)
    stable = _badness(counts[1], worst, middle, random)
    enough = (counts[0] > 0) & (counts[1] > 0)
    odds = np.where(enough, counts[1], 1) / np.where(enough, counts[0], 1)
    growth = mean_growth(canary, stable, stable.total / odds, odds, DROP, sign=1)
    return growth * enough[:, None]


def _badness(count: Ints, worst: float, middle: float, random: Random) -> Side:
    """Badness 1 of the worst, a half of those in the middle."""
    n_worst = random.binomial(count, worst)
    n_middle = random.binomial(count - n_worst, middle / (1 - worst))
    return Side(count, n_worst + n_middle / 2, n_worst + n_middle / 4)
