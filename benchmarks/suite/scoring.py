"""From costs to normalised scores: 0 is one random guess, 100 the best that anybody found.

Source: bayesmark's mean score. A study's best cost so far, less the best known, is divided by
what a single random draw costs at the median, less the best known; clipped to [-1, 1]; the
score is 100 times one minus the mean of that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Costs = Mapping[str, NDArray[np.float64]]
"""Of one problem: by searcher, shape (seeds, trials); infinite where a fit failed."""

BASELINE = "random"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a searcher did on all problems that it can handle."""

    searcher: str
    problems: int
    score: float
    low: float
    """Score of the worst seed."""
    high: float
    """Score of the best seed."""
    baseline: float
    """Score of random search on the same problems."""
    better: int
    """Problems on which the median seed ended better than random search's."""
    worse: int

    @property
    def gap(self) -> float:
        """What is left to the best known, divided by what random search leaves; less is better."""
        left = 100.0 - self.baseline
        return (100.0 - self.score) / left if left > 0 else 1.0


def scores(costs: Costs) -> Mapping[str, NDArray[np.float64]] | None:
    """Score each study after each of its trials.

    Returns:
        By searcher, shape (seeds, trials); None where all configurations are alike.
    """
    best = min(float(each.min()) for each in costs.values())
    guess = float(np.median(costs[BASELINE]))
    if not np.isfinite(best) or guess <= best:
        return None
    scale = guess - best if np.isfinite(guess) else np.inf
    found = {}
    for searcher, each in costs.items():
        so_far = np.minimum.accumulate(each, axis=1)
        share = np.where(np.isfinite(so_far), (so_far - best) / scale, 1.0)
        found[searcher] = 100.0 * (1.0 - np.clip(share, -1.0, 1.0))
    return found


def standing(searcher: str, scored: Sequence[Mapping[str, NDArray[np.float64]]]) -> Standing:
    """Sum up a searcher over the problems that it can handle.

    Args:
        searcher: Its name.
        scored: What `scores` made of each problem.
    """
    mine = [each for each in scored if searcher in each]
    last = np.array([each[searcher][:, -1] for each in mine])  # (problems, seeds)
    others = np.array([each[BASELINE][:, -1] for each in mine])
    by_seed = last.mean(axis=0)
    ahead = np.median(last, axis=1) - np.median(others, axis=1)
    return Standing(
        searcher=searcher,
        problems=len(mine),
        score=float(by_seed.mean()),
        low=float(by_seed.min()),
        high=float(by_seed.max()),
        baseline=float(others.mean()),
        better=int(np.sum(ahead > 0)),
        worse=int(np.sum(ahead < 0)),
    )


def curve(searcher: str, scored: Sequence[Mapping[str, NDArray[np.float64]]]) -> list[float]:
    """Average the score after each trial, over problems and seeds."""
    mine = [each[searcher].mean(axis=0) for each in scored if searcher in each]
    mean: list[float] = np.mean(mine, axis=0).tolist()
    return mean
