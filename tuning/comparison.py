"""Whether one model is better than another, from scores that come in pairs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance
from typing import Annotated

from annotated_types import Gt, Lt

from tuning.configfile import Spec


class RequireBetterSpec(Spec):
    """When a version may be registered beside a champion."""

    alpha: Annotated[float, Gt(0), Lt(0.5)] = 0.05
    """Chance that a configuration no better than the champion passes nevertheless."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a paired test found."""

    gain: float
    """Mean improvement over the other, in the metric's unit; positive is better."""

    t: float
    """Corrected t statistic; infinite where all pairs differ alike."""

    p: float
    """Chance of such a gain, or a larger one, without any true one."""

    pairs: int
    """Scores on each side."""


def compare_paired(
    scores: Sequence[float], others: Sequence[float], *, sign: float, test_to_train: float
) -> Comparison:
    """Test whether `scores` are truly better than `others`, one-sided.

    Args:
        scores: Of the newcomer, one for each split.
        others: Of the other, on the same splits in the same order.
        sign: 1.0 where more is better, -1.0 where less is.
        test_to_train: Rows that a split tests on over rows that it trains on; 0.0 where
            both models were fitted once and the splits share no row.

    Raises:
        ValueError: There are fewer than two pairs, or not as many on each side.

    Assumes:
        Differences that are about normal, and a newcomer that was not picked by these
        very scores: the best of many trials looks better than it is. The correction is for
        training sets that overlap between splits, which makes the plain test say better
        far too often.

    Source: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 52
    (2003), section 3; the corrected resampled t-test.
    """
    pairs = [sign * (one - other) for one, other in zip(scores, others, strict=True)]
    if len(pairs) < 2:
        raise ValueError(f"{len(pairs)} pairs of scores, at least 2 are needed")
    gain = fmean(pairs)
    spread = math.sqrt((1 / len(pairs) + test_to_train) * variance(pairs))
    if spread == 0.0:
        t = math.copysign(math.inf, gain) if gain else 0.0
        return Comparison(gain, t, 0.0 if gain > 0 else 1.0, len(pairs))
    from scipy.special import stdtr  # noqa: PLC0415, a quarter of a second

    t = gain / spread
    return Comparison(gain, t, float(stdtr(len(pairs) - 1, -t)), len(pairs))
