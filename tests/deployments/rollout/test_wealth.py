"""Bets against "no worse" are fair: shown by going through every outcome of small batches."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from deployments.rollout.wealth import (
    CENTERS,
    EXCESSES,
    MEAN_PRIOR,
    SHARE_PRIOR,
    STAKES,
    Floats,
    Side,
    mean_growth,
    share_growth,
)
from tests.properties import examples

FAIR = 1 + 1e-9

DOUBLING = EXCESSES.tolist().index(1.0)
"""The bet that the canary has twice the rate."""

RATES = st.floats(0, 1)
MARGINS = st.floats(-1, 1)
SIZES = st.integers(1, 5)


def binomial(count: int, rate: float) -> Floats:
    """Probability of each number of bad ones, from 0 to `count`."""
    return poisson_binomial([rate] * count)


def poisson_binomial(rates: Sequence[float]) -> Floats:
    chances = np.ones(1)
    for rate in rates:
        chances = np.convolve(chances, [1 - rate, rate])
    return chances


def expectation(canary: Floats, stable: Floats, margin: float, odds: float | None = None) -> Floats:
    """Of each bet on a rise, from the probabilities of each number of bad ones."""
    n_canary, n_stable = len(canary) - 1, len(stable) - 1
    bad_canary, bad_stable = np.meshgrid(np.arange(n_canary + 1), np.arange(n_stable + 1))
    growth = share_growth(
        Side(np.full_like(bad_canary, n_canary), bad_canary),
        Side(np.full_like(bad_stable, n_stable), bad_stable),
        np.full(bad_canary.shape, odds or n_stable / n_canary),
        margin,
    )
    mean: Floats = np.einsum("scb,c,s->b", np.exp(growth), canary, stable)
    return mean


@pytest.mark.parametrize(
    ("canary", "stable", "odds", "margin", "factor"),
    [
        # Of two tracks of one size, twice the rate has 2 of 3 failures instead of 1 of 2.
        pytest.param((1, 1), (1, 0), 1.0, 0.0, 4 / 3, id="a-failure-of-the-canary"),
        pytest.param((1, 0), (1, 1), 1.0, 0.0, 2 / 3, id="a-failure-of-stable"),
        pytest.param((9, 0), (9, 0), 1.0, 0.0, 1.0, id="no-failure-says-nothing"),
        # With 19 stable requests for each, twice the rate has 2 of 21 instead of 1 of 20.
        pytest.param((1, 1), (19, 0), 19.0, 0.0, 40 / 21, id="at-5-percent"),
        pytest.param((1, 0), (19, 1), 19.0, 0.0, 20 / 21, id="at-5-percent-of-stable"),
        # Against a bound of 10 %: 19 % instead of 10 %, and 81 % instead of 90 %.
        pytest.param((1, 1), (0, 0), math.inf, 0.1, 1.9, id="beyond-a-bound"),
        pytest.param((1, 0), (0, 0), math.inf, 0.1, 0.9, id="within-a-bound"),
    ],
)
def test_a_request_multiplies_wealth_by_a_ratio_of_likelihoods(
    canary: tuple[int, int], stable: tuple[int, int], odds: float, margin: float, factor: float
) -> None:
    growth = share_growth(Side(*canary), Side(*stable), odds, margin)

    assert math.exp(growth[DOUBLING]) == pytest.approx(factor)


@given(SIZES, SIZES, RATES, MARGINS, st.floats(0, 1))
@examples(50)
def test_no_bet_on_a_share_gains_if_the_canary_is_no_worse(
    n_canary: int, n_stable: int, rate: float, margin: float, part: float
) -> None:
    worst = min(rate + margin, 1.0)
    assume(worst >= 0)

    # At what is allowed and at any lower rate.
    found = [
        expectation(binomial(n_canary, each), binomial(n_stable, rate), margin)
        for each in (worst, part * worst)
    ]

    assert np.max(found) <= FAIR


@given(st.lists(RATES, min_size=2, max_size=5), st.floats(0, 0.5), st.data())
@examples(50)
def test_it_may_be_any_requests_as_long_as_it_is_chance_which_go_to_the_canary(
    rates: list[float], margin: float, data: st.DataObject
) -> None:
    n_canary = data.draw(st.integers(1, len(rates) - 1))
    rates = [(1 - margin) * rate for rate in rates]

    splits = list(itertools.combinations(range(len(rates)), n_canary))
    found = [
        expectation(
            poisson_binomial([rates[each] + margin for each in split]),
            poisson_binomial([rate for each, rate in enumerate(rates) if each not in split]),
            margin,
        )
        for split in splits
    ]

    assert np.mean(found, axis=0).max() <= FAIR


@given(SIZES, st.floats(0, 1), st.floats(0, 1))
@examples(50)
def test_no_bet_against_a_bound_gains_within_it(count: int, bound: float, part: float) -> None:
    found = expectation(binomial(count, part * bound), np.ones(1), bound, odds=math.inf)

    assert found.max() <= FAIR


def test_bets_gain_if_the_canary_is_worse() -> None:
    found = expectation(binomial(5, 0.4), binomial(5, 0.2), 0.0)

    assert found[DOUBLING] > 1.05


@given(SIZES, SIZES, RATES, st.floats(0.01, 1))
@examples(50)
def test_bets_stay_fair_with_fewer_odds_than_there_were(
    n_canary: int, n_stable: int, rate: float, part: float
) -> None:
    odds = part * n_stable / n_canary

    found = expectation(binomial(n_canary, rate), binomial(n_stable, rate), 0.0, odds)

    assert found.max() <= FAIR


def test_bets_are_no_longer_fair_with_more_odds_than_there_were() -> None:
    found = expectation(binomial(5, 0.2), binomial(5, 0.2), 0.0, odds=2.0)

    assert found.max() > 1.05


@given(st.tuples(RATES, RATES), MARGINS, st.integers(1, 3), st.integers(1, 3))
@examples(50)
def test_no_bet_on_a_mean_gains_if_the_canary_is_no_worse(
    shares: tuple[float, float], margin: float, n_canary: int, n_stable: int
) -> None:
    # Stable's badness is 0, a half or 1; the canary's 0 or 1 with the mean at the margin.
    half = shares[0] * (1 - shares[1])
    stable = {0.0: 1 - half - shares[1], 0.5: half, 1.0: shares[1]}
    mean = shares[1] + half / 2 + margin
    assume(0 <= mean <= 1 and min(stable.values()) >= 0)
    canary = {0.0: 1 - mean, 1.0: mean}

    own, chances = draws(canary, n_canary)
    other, other_chances = draws(stable, n_stable)
    own = Side(*(values[:, None] for values in own))
    expected = n_canary / n_stable * other.total + 0 * own.total
    odds = np.full(expected.shape, n_stable / n_canary)
    for sign in (1, -1):
        growth = mean_growth(own, other, expected, odds, margin, sign=sign)
        assert np.einsum("csb,c,s->b", np.exp(growth), chances, other_chances).max() <= FAIR


def draws(chances: dict[float, float], count: int) -> tuple[Side, Floats]:
    """Every outcome of so many draws, and its probability."""
    outcomes = np.array(list(itertools.product(chances, repeat=count)))
    side = Side(np.full(len(outcomes), count), outcomes.sum(1), (outcomes**2).sum(1))
    found = list(itertools.product(chances.values(), repeat=count))
    return side, np.prod(np.array(found), axis=1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.sampled_from([1, -1]))
def test_a_bet_on_a_mean_from_sums_is_never_better_than_one_from_each_value(
    values: list[float], sign: int
) -> None:
    stable = [0.2, 0.6]
    odds = len(stable) / len(values)
    expected = sum(stable) / odds

    found = mean_growth(side(values), side(stable), expected, odds, 0.0, sign=sign)

    bets = found.reshape(len(CENTERS), len(STAKES))
    for center, row in zip(CENTERS, bets, strict=True):
        far, near = (center, 1 - center) if sign > 0 else (1 - center, center)
        stakes = sign * STAKES * min(1 / far, odds / near)
        direct = sum(np.log1p(stakes * (value - center)) for value in values)
        direct = direct + sum(np.log1p(-stakes / odds * (value - center)) for value in stable)
        assert (row <= direct + 1e-9).all()


def side(values: Sequence[float]) -> Side:
    return Side(len(values), sum(values), sum(value**2 for value in values))


def test_bets_on_a_mean_gain_if_the_canary_is_worse_and_lose_if_it_is_better() -> None:
    worse, alike = side([0.5] * 100), side([0.3] * 100)

    up = mean_growth(worse, alike, 30.0, 1.0, 0.0, sign=1)
    down = mean_growth(worse, alike, 30.0, 1.0, 0.0, sign=-1)

    assert up.max() > 5
    assert down.max() < 0


@pytest.mark.parametrize("prior", [SHARE_PRIOR, MEAN_PRIOR], ids=["shares", "means"])
def test_bets_share_the_wealth(prior: Floats) -> None:
    assert np.exp(prior).sum() == pytest.approx(1.0)
