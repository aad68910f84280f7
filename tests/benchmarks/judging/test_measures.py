import math

import numpy as np
import pytest

from benchmarks.judge import SCENARIOS, Outcome
from benchmarks.judging import several
from benchmarks.judging.measures import (
    JUDGE,
    MANN_WHITNEY,
    THRESHOLD,
    TRUSTING,
    Delay,
    delay,
    false_aborts,
    fixed_size,
    success,
)
from benchmarks.judging.streams import Scenario

ALPHA, RISK = 0.01, 0.05


@pytest.mark.parametrize(
    ("canary", "stable", "odds", "size"),
    [
        # (2.326 + 0.842)^2 = 10.036, times 0.02 * 0.98 + 0.01 * 0.99 / 19, over 0.01^2.
        pytest.param(0.02, 0.01, 19.0, 2019, id="at-5-percent"),
        # The same factor, times 0.09 + 0.0099, over 0.09^2.
        pytest.param(0.10, 0.01, 1.0, 123.8, id="at-50-percent"),
    ],
)
def test_fixed_size(canary: float, stable: float, odds: float, size: float) -> None:
    assert fixed_size(canary, stable, odds, ALPHA) == pytest.approx(size, rel=0.001)


def test_false_aborts_are_shares_that_never_fall() -> None:
    scenario = Scenario("", ((50, 40),), requests=200, rate=0.05, keys=50)

    found = false_aborts(scenario, 50, np.random.default_rng(1), alpha=ALPHA, risk=RISK)

    assert list(found.aborted) == [JUDGE, THRESHOLD, MANN_WHITNEY, TRUSTING]
    for shares in found.aborted.values():
        assert len(shares) == 40
        assert shares == sorted(shares)
    assert found.aborted[THRESHOLD][-1] > 0.9
    assert found.aborted[TRUSTING][-1] > 0.2
    assert found.aborted[JUDGE][-1] <= ALPHA
    assert found.successful is None


def test_false_successes_are_counted_where_a_version_is_as_bad_as_allowed() -> None:
    scenario = Scenario("", ((50, 100),), requests=500, rise=0.02, allowed=0.02)

    found = false_aborts(scenario, 200, np.random.default_rng(1), alpha=ALPHA, risk=0.5)

    assert list(found.aborted) == [JUDGE, THRESHOLD, MANN_WHITNEY]
    assert found.successful is not None
    assert 0 < found.successful <= 0.5


def test_a_worse_version_is_aborted_by_all_and_sooner_than_by_the_fixed_size() -> None:
    scenario = Scenario("", ((5, 150),), requests=100, rise=0.09)

    found = delay(scenario, 50, np.random.default_rng(1), alpha=ALPHA)

    assert found.rate == pytest.approx(0.10)
    assert 20 < found.median() < 0.85 * found.fixed
    assert all(math.isfinite(found.median(rule)) for rule in found.requests)


def test_the_median_of_a_delay_counts_those_that_never_end() -> None:
    found = Delay(0.02, 100.0, {JUDGE: np.array([10.0, math.inf, math.inf])})

    assert found.median() == math.inf


def test_a_clean_version_succeeds() -> None:
    scenario = Scenario("", ((50, 100),), requests=200, rate=0.0, allowed=0.01)

    found = success(scenario, 10, np.random.default_rng(1), risk=RISK)

    # Without a failure, 1 % more needs log(20) / 1 % = 300 requests at the very least.
    assert (found.requests > 300).all()
    assert (found.requests < 900).all()


def test_four_signals_share_alpha() -> None:
    any_aborts, each_aborts = several.false_aborts(40, np.random.default_rng(1), alpha=0.99)

    assert 0 < any_aborts <= sum(each_aborts) + 1e-9
    assert len(each_aborts) == 4


def test_a_bar_is_met_up_to_its_value() -> None:
    assert Outcome("delay", 0.85, 0.85).is_met
    assert not Outcome("delay", 0.851, 0.85).is_met


def test_scenarios_have_names_of_their_own() -> None:
    assert len({scenario.title for scenario in SCENARIOS}) == len(SCENARIOS)
