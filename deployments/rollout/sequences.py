"""From bets to e-values and confidence bounds that hold at every look.

Wealth is an average over bets, since nobody knows beforehand how much worse a bad canary
is (the method of mixtures), and over moments at which they begin: most of it bets from the
start of the rollout, the rest starts afresh with each later step. Without that, a version
that fails only under the load of a late step would first have to use up the good name of
the early ones.

Source:
    H. Robbins, Ann. Math. Statist. 41 (1970) 1397-1409, for mixtures.
    S. Howard, A. Ramdas, J. McAuliffe, J. Sekhon, Ann. Statist. 49 (2021) 1055-1080, for
    confidence sequences as inverted tests.
    V. Vovk, R. Wang, Ann. Statist. 49 (2021) 1736-1754: averages of e-values are e-values.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FROM_THE_START = 0.75
"""Share of the wealth that bets on the whole rollout. A rollout that is bad from the start
pays log(4 / 3), about a twentieth more requests, for the fresh starts of the others."""

PRECISION = 0.02
"""Of the evidence at a confidence bound, relative; the bound itself is off by half as much."""

STEEPNESS = 2.0
"""Evidence grows with the square of the distance from the estimate, roughly."""

NEAREST = 1e-7
"""Least distance of a bound from the estimate; a billion requests do not come closer."""


def start_weights(n_steps: int) -> tuple[Floats, float]:
    """Share the wealth among starts; the k-th fresh one gets 1 / (k (k + 1)) of what is left.

    Returns:
        Share of each step's start, and what is kept for steps to come.
    """
    later = np.arange(1, n_steps)
    fresh = (1 - FROM_THE_START) / (later * (later + 1))
    return np.array([FROM_THE_START, *fresh]), (1 - FROM_THE_START) / max(n_steps, 1)


def log_wealth_by_start(growth: Floats, log_prior: Floats) -> Floats:
    """Logarithm of what each start's share has become.

    Args:
        growth: Of each step and bet, shape (..., steps, bets).
        log_prior: Of each bet, shape (bets,).

    Returns:
        Shape (..., steps).
    """
    log_shares, _ = _log_start_weights(growth.shape[-2])
    since = np.flip(np.cumsum(np.flip(growth, axis=-2), axis=-2), axis=-2)
    return log_mean(since, log_prior) + log_shares


def log_e_value(growth: Floats, log_prior: Floats) -> Floats:
    """Logarithm of the wealth of all starts, and of what is kept for later ones.

    Args:
        growth: As above; with no step yet, nothing has been won or lost.
        log_prior: As above.

    Returns:
        Shape (...).
    """
    n_steps = growth.shape[-2]
    if n_steps == 0:
        return np.zeros(growth.shape[:-2])
    _, log_kept = _log_start_weights(n_steps)
    wealth: Floats = np.logaddexp(
        np.logaddexp.reduce(log_wealth_by_start(growth, log_prior), axis=-1), log_kept
    )
    return wealth


def log_mean(growth: Floats, log_prior: Floats) -> Floats:
    """Logarithm of the average of a family of bets, shape (...)."""
    mean: Floats = np.logaddexp.reduce(growth + log_prior, axis=-1)
    return mean


def lower_bound(
    falling: Callable[[float], float], level: float, *, estimate: float, lowest: float
) -> float:
    """Find the largest value for which evidence reaches a level, to its `PRECISION`.

    Args:
        falling: Logarithm of the e-value against "at most this", falling in its argument.
        level: Logarithm of the e-value that rules a value out.
        estimate: Where there is no evidence either way; above the bound.
        lowest: What is known without any numbers.

    Returns:
        A value that is ruled out, or `lowest`.
    """
    found = falling(lowest)
    if found < level:
        return lowest
    # By the logarithm of the distance to the estimate, which may be anything from a few
    # requests' worth to the whole range: over it, the evidence's logarithm is nearly straight,
    # and the secant method takes half a dozen steps. Where it leaves the bracket, halving does.
    near, far = math.log(NEAREST), math.log(max(estimate - lowest, NEAREST))
    place, error, slope = far, _log_ratio(found, level), STEEPNESS
    while far - near > PRECISION**2 and not level <= found <= level * (1 + PRECISION):
        guess = place - error / slope
        if not near < guess < far:
            guess = (near + far) / 2
        found = falling(estimate - math.exp(guess))
        before, error = error, _log_ratio(found, level)
        slope = min(max((error - before) / (guess - place), 1 / STEEPNESS), 3 * STEEPNESS)
        place = guess
        if found >= level:
            far = guess
        else:
            near = guess
    return max(estimate - math.exp(far), lowest)


def _log_ratio(found: float, level: float) -> float:
    """How far evidence is from the middle of what is precise enough, within reason."""
    ratio = found / (level * (1 + PRECISION / 2))
    return math.log(min(max(ratio, 0.01), 100.0))


@cache
def _log_start_weights(n_steps: int) -> tuple[Floats, float]:
    shares, kept = start_weights(n_steps)
    return np.log(shares), math.log(kept)
