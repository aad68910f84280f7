import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.rollout.sequences import (
    log_e_value,
    log_wealth_by_start,
    lower_bound,
    start_weights,
)

ONE_BET = np.zeros(1)
TWO_BETS = np.log([0.5, 0.5])


@given(st.integers(1, 30))
def test_starts_and_what_is_kept_share_the_wealth(n_steps: int) -> None:
    shares, kept = start_weights(n_steps)

    assert shares.sum() + kept == pytest.approx(1.0)
    assert len(shares) == n_steps


@pytest.mark.parametrize(
    ("factors", "e_value"),
    [
        pytest.param([], 1.0, id="no-step-yet"),
        pytest.param([1.0, 1.0], 1.0, id="nothing-won"),
        # Three quarters bet from the start, a quarter waits.
        pytest.param([8.0], 6.25, id="one-step"),
        # From the start 0.75 * 0.01 * 100, afresh 0.125 * 100, and 0.125 waits.
        pytest.param([0.01, 100.0], 13.375, id="bad-only-in-the-second"),
        pytest.param([0.0, 0.0], 0.125, id="ruined"),
    ],
)
def test_wealth_is_that_of_all_starts(factors: list[float], e_value: float) -> None:
    with np.errstate(divide="ignore"):
        growth = np.log(np.array(factors)).reshape(-1, 1)

    assert math.exp(log_e_value(growth, ONE_BET)) == pytest.approx(e_value)


def test_wealth_is_the_average_of_bets_not_of_their_logarithms() -> None:
    growth = np.log([[100.0, 0.01]])

    assert log_wealth_by_start(growth, TWO_BETS)[0] == pytest.approx(math.log(0.75 * 50.005))


def test_many_rollouts_are_judged_at_once() -> None:
    growth = np.log([[[8.0], [1.0]], [[0.01], [100.0]]])

    assert np.exp(log_e_value(growth, ONE_BET)) == pytest.approx([8 * 0.75 + 0.25, 13.375])


@pytest.mark.parametrize(
    ("level", "lowest", "bound"),
    [
        pytest.param(5.0, -1.0, 0.45, id="below-the-estimate"),
        pytest.param(200.0, -1.0, -1.0, id="not-even-at-the-lowest"),
        pytest.param(50.0, 0.0, 0.0, id="at-the-lowest"),
    ],
)
def test_a_bound_is_where_evidence_reaches_the_level(
    level: float, lowest: float, bound: float
) -> None:
    def falling(value: float) -> float:
        return 100 * (0.5 - value)

    found = lower_bound(falling, level, estimate=0.5, lowest=lowest)

    assert found == pytest.approx(bound, abs=0.001)
    assert found <= bound


def test_a_bound_is_as_close_as_the_numbers_allow() -> None:
    found = lower_bound(lambda value: 1e9 * (1e-5 - value), 3.0, estimate=1e-5, lowest=-1.0)

    assert found == pytest.approx(1e-5 - 1e-7, abs=1e-8)
