"""Whether one model is better than another, from scores that come in pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated

from annotated_types import Gt, Lt

from tuning.configfile import Spec
from tuning.stopping import corrected_p


class RequireBetterSpec(Spec):
    """When a version may be registered beside a champion."""

    alpha: Annotated[float, Gt(0), Lt(0.5)] = 0.05
    """Chance that a configuration no better than the champion passes nevertheless."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a paired test found."""

    gain: float
    """Mean improvement over the other, in the metric's unit; positive is better."""

    p: float
    """Chance of such a gain, or a larger one, without any true one."""

    p_two_sided: float
    """Chance of such a difference, or a larger one, in either direction."""

    even: bool
    """Whether all pairs differ by as much. Chance cannot be told without a spread, so nothing
    is proven then, and both p are 1.0."""

    pairs: int
    """Scores on each side."""


def compare_paired(
    scores: Sequence[float], others: Sequence[float], *, sign: float, test_to_train: float
) -> Comparison:
    """Test whether `scores` are truly better than `others`.

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
    above = corrected_p(pairs, test_to_train)
    below = corrected_p([-each for each in pairs], test_to_train)
    return Comparison(
        gain=fmean(pairs),
        p=above,
        p_two_sided=min(1.0, 2 * min(above, below)),
        # Of differences that have a spread, either side is below 1 (0.5 and 0.5 around 0).
        even=above == below == 1.0,
        pairs=len(pairs),
    )
