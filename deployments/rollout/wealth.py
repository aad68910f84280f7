"""The mathematics of the judge: how a bet against "the canary is no worse" fares in a batch.

Each function returns the logarithm of the factors by which a family of bets multiplies its
stake. A bet is fair or worse for who bets if the canary is no worse than allowed, so wealth
of 1 / alpha is reached with probability alpha at most, however often one looks (Ville's
inequality). `docs/judge.md` has the proofs.

Shares (errors, slow requests, differing answers, mistakes). With y = 1 for what is bad, a
stake a, r stable requests for each of the canary's in the batch and a margin d >= 0, each
request multiplies the wealth by

    canary: 1 + a (y - d)        stable: 1 - (a / r) y

If stable's rate is p and the canary's p + d, the expectation of the product over the batch
is (1 + a p)^n (1 - a p / r)^(r n) <= 1 for every p, so p need not be known and may change
from batch to batch. For d = 0 this is the likelihood ratio of "on which side was each
failure", Wald's test of double dichotomies with odds taken from the batch; for d > 0 the
stakes are those of the growth-optimal e-variable in the limit of rare failures. Nobody has
to estimate p, and that is why the test needs few requests.

Means (rewards). With badness x in [0, 1] and a centre m the factors 1 + a (x - m) and
1 - (a / r) (x - m) are bounded from below by Fan's inequality

    1 + u >= exp(u - psi(c) u^2 / c^2),  psi(c) = -log(1 - c) - c,  for u >= -c, 0 <= c < 1

so that sums and sums of squares are all that must be kept. The centre only makes the bet
better or worse, never unfair; several are mixed, and so are several stakes.

Assumes:
    Given how many requests each track had in a batch, which of the requests they were has
    nothing to do with what they would have come to. Requests are independent given that, or
    share their fate within clusters whose size is known (`Signal.cluster_size`). For means
    also: within a batch, both tracks' rewards have one mean under "no worse".

Source:
    J. Ville, "Etude critique de la notion de collectif", Gauthier-Villars 1939.
    A. Wald, "Sequential Analysis", Wiley 1947, chapter 6.
    W. Hoeffding, J. Amer. Statist. Assoc. 58 (1963) 13-30, theorem 4, for fixed numbers of
    requests a batch.
    R. Turner, A. Ly, P. Grunwald, J. Statist. Plann. Inference 230 (2024) 106116.
    R. Turner, P. Grunwald, Statist. Probab. Lett. 198 (2023) 109835, for margins.
    I. Waudby-Smith, A. Ramdas, J. R. Statist. Soc. B 86 (2024) 1-27, for means.
    X. Fan, I. Grama, Q. Liu, Electron. J. Probab. 20 (2015) 1-22, for the inequality.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

EXCESSES: Floats = np.exp2(np.arange(-4.0, 6.0))
"""By how much the canary's rate is over the allowed one in each bet, as a share of it: from
6 %, which takes many thousands of requests to see, to 33 times, seen in a handful."""

TYPICAL_SPREAD = 1.6
"""Standard deviation of the logarithm of what canaries that fail exceed by, around a doubling;
chosen by the simulation for short delays between 1.5 and 10 times."""

STAKES: Floats = np.exp2(-np.arange(1.0, 9.0))
"""Stakes on means, as shares of the largest one that cannot ruin."""

CENTERS: Floats = np.array([0.1, 0.3, 0.5, 0.7, 0.9])
"""Guesses of stable's mean badness. One that is off by 0.1 costs a hundredth of the variance."""


class Side(NamedTuple):
    """One track's numbers in each batch or segment; arrays of one shape, or numbers."""

    count: Any
    total: Any
    squares: Any = 0.0


def _normalised(weights: Floats) -> Floats:
    logarithms: Floats = np.log(weights / weights.sum())
    return logarithms


SHARE_PRIOR = _normalised(np.exp(-0.5 * (np.log(EXCESSES) / TYPICAL_SPREAD) ** 2))
"""Logarithm of the share of wealth that each bet on a share gets."""

MEAN_PRIOR = _normalised(np.ones(len(STAKES) * len(CENTERS)))
"""The same for bets on a mean."""


def share_growth(tested: Side, reference: Side, odds: Any, margin: float) -> Floats:
    """Bet that `tested` has a rate of more than `reference`'s plus a margin.

    To bet that the canary is better than allowed, swap the sides, invert the odds and negate
    the margin.

    Args:
        tested: Numbers of shape (...).
        reference: The same; zeros if the rate is held against the margin alone.
        odds: Reference requests for each tested one, shape (...), > 0; not more than there
            really were. Infinity without a reference.
        margin: In [-1, 1].

    Returns:
        Logarithms of shape (..., bets).
    """
    odds = np.asarray(odds, dtype=float)[..., None]
    against = EXCESSES / (odds + 1 + EXCESSES)
    stake = EXCESSES - (1 + EXCESSES) * against  # against * odds, also for infinite odds
    # A negative margin is the reference's: the bet is then fair for every rate, too.
    up, down = max(margin, 0.0), max(-margin, 0.0)
    good, bad = _split(tested)
    reference_good, reference_bad = _split(reference)
    with np.errstate(divide="ignore", invalid="ignore"):
        growth: Floats = bad * np.log1p(stake * (1 - up))
        growth += reference_bad * np.log1p(-against * (1 - down))
        if up:
            growth += good * np.log1p(-stake * up)
            # A bet that could lose more than it has is not placed.
            growth[...] = np.where(stake * up < 1, growth, -np.inf)
        if down:
            growth += reference_good * np.log1p(against * down)
    return growth


def mean_growth(
    canary: Side, stable: Side, expected: Any, odds: Any, margin: float, *, sign: int
) -> Floats:
    """Bet that the canary's mean badness is off stable's by more than a margin, to one side.

    Args:
        canary: Numbers of shape (...), of badness in [0, 1].
        stable: The same.
        expected: Canary's total at stable's mean, shape (...): summed over batches, so that
            each has its own odds.
        odds: Stable observations for each of the canary's, shape (...), > 0; not more than
            there really were.
        margin: In [-1, 1].
        sign: 1 to bet that the mean is above stable's plus the margin, -1 that it is below.

    Returns:
        Logarithms of shape (..., bets).
    """
    odds = np.asarray(odds, dtype=float)[..., None, None]
    centers = CENTERS[:, None]
    # How far below the centre a canary's badness can be, and above it stable's; or mirrored.
    far, near = (centers, 1 - centers) if sign > 0 else (1 - centers, centers)
    stake = STAKES * np.minimum(1 / far, odds / near)
    excess = _last(canary.total) - _last(expected) - _last(canary.count) * margin
    growth: Floats = (
        sign * stake * excess
        - _psi(stake * far) / far**2 * _deviation(canary, centers)
        - _psi(stake / odds * near) / near**2 * _deviation(stable, centers)
    )
    *shape, n_centers, n_stakes = growth.shape
    return growth.reshape(*shape, n_centers * n_stakes)  # not -1, which no batches leave open


def _split(side: Side) -> tuple[Floats, Floats]:
    count, bad = np.asarray(side.count, dtype=float), np.asarray(side.total, dtype=float)
    return (count - bad)[..., None], bad[..., None]


def _last(values: Any) -> Floats:
    return np.asarray(values, dtype=float)[..., None, None]


def _deviation(side: Side, centers: Floats) -> Floats:
    """Sum of squares about each centre."""
    squares, total, count = _last(side.squares), _last(side.total), _last(side.count)
    return squares - 2 * centers * total + count * centers**2


def _psi(stake: Floats) -> Floats:
    lost: Floats = -np.log1p(-stake) - stake
    return lost
