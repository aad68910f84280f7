"""Whether what a model is asked has drifted from what it was trained on: a pure decision.

The measure is the population stability index, the sum over bins of (p - q) ln(p / q), of which
practice says that 0.1 deserves a look and 0.2 is a change. It is never zero: counts of n and m
rows in k bins that come from one distribution give (k - 1) (1/n + 1/m) on average, and are then
as chi-square of k - 1 degrees, times (1/n + 1/m) (Yurdakul and Naranjo, "Statistical properties
of the population stability index", Journal of Risk Model Validation 14(4), 2020). So a model of
100 training rows would seem to drift every day, were chance not taken off.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

CHANGED = 0.2
"""From which index on, chance taken off, a feature has drifted, if that is not by chance."""

ALPHA = 0.001
"""How often, nominally, a window of rows may find a drift of any feature where there is none."""

PSEUDO_COUNT = 0.5
"""Added to each bin (Jeffreys' prior), since an empty one would give infinity."""


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """How far one feature is from what it was."""

    index: float
    """Population stability index beyond what chance gives on average, not negative."""

    has_drifted: bool


def drift_of(
    reference: Mapping[str, Sequence[int]], current: Mapping[str, Sequence[int]]
) -> dict[str, FeatureDrift]:
    """Compare features that were counted in the same bins.

    Args:
        reference: Rows by bin, of each feature, at training.
        current: The same of rows that were asked about; features without rows are left out.

    Returns:
        What is said of each feature, the farthest first.
    """
    counted = {name: counts for name, counts in current.items() if sum(counts)}
    drifts = {
        name: _compare(reference[name], counts, ALPHA / len(counted))
        for name, counts in counted.items()
        if sum(reference[name])
    }
    return dict(sorted(drifts.items(), key=lambda item: -item[1].index))


def _compare(reference: Sequence[int], current: Sequence[int], alpha: float) -> FeatureDrift:
    before, now = np.asarray(reference), np.asarray(current)
    used = (before + now) > 0
    p, q = _shares(before[used]), _shares(now[used])
    index = float(((q - p) * np.log(q / p)).sum())
    degrees = int(used.sum()) - 1
    noise = 1 / before.sum() + 1 / now.sum()
    beyond = max(index - degrees * noise, 0.0)
    by_chance = _chi_square_quantile(1 - alpha, degrees) * noise
    return FeatureDrift(beyond, bool(beyond >= CHANGED and index > by_chance))


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    raised = counts + PSEUDO_COUNT
    shares: NDArray[np.float64] = raised / raised.sum()
    return shares


def _chi_square_quantile(probability: float, degrees: int) -> float:
    """Wilson and Hilferty's approximation: SciPy would cost a replica 50 MiB."""
    if degrees <= 0:
        return math.inf
    part = 2 / (9 * degrees)
    return float(degrees * (1 - part + NormalDist().inv_cdf(probability) * part**0.5) ** 3)
