import numpy as np
import pytest

from benchmarks.racing.simulation import Scenario, draw_scores, make_race, run_sweep, simulate
from tuning.stopping import Never


def test_scores_are_what_the_scenario_says() -> None:
    scenario = Scenario("many", n_folds=5, n_trials=20_000, spread=0.0)

    _, scores = draw_scores(scenario, np.random.default_rng(0))
    apart = scores - scores.mean(axis=0)

    # Two folds of a trial: variance 1, correlation 1/5.
    assert np.var(apart) == pytest.approx(1.0, abs=0.03)
    assert np.mean(apart[:, 0] * apart[:, 1]) == pytest.approx(0.2, abs=0.03)


def test_without_a_rule_every_trial_gets_all_folds() -> None:
    _, scores = draw_scores(Scenario("s"), np.random.default_rng(0))

    assert run_sweep(scores, Never()) == [5] * 30


def test_the_first_trial_has_nobody_to_lose_to() -> None:
    scenario = Scenario("s", n_trials=2)
    scores = np.array([[0.0, 0.1, 0.0, 0.1, 0.0], [-99.0, -99.0, -95.0, -99.0, -98.0]])

    assert run_sweep(scores, make_race(scenario)) == [5, 2]


@pytest.mark.ray  # 8,000 sweeps, which take seconds
def test_the_rule_keeps_its_error_rate_and_without_the_correction_it_would_not() -> None:
    pair = Scenario("two alike", n_folds=10, n_trials=2, spread=0.0)
    alpha = 0.02

    kept, plain = (
        # The first of the two is the rival, and has nobody to lose to.
        2 * simulate(pair, sweeps=4000, seed=1, alpha=alpha, **settings).stopped
        for settings in ({}, {"test_share": 0.0})
    )

    # A rate of 0.02 has a standard error of 0.0022.
    assert 0.2 * alpha < kept <= alpha < plain - 3 * 0.0022


def test_equal_seeds_give_equal_tallies() -> None:
    scenario = Scenario("s", n_trials=5)

    assert simulate(scenario, sweeps=20, seed=3) == simulate(scenario, sweeps=20, seed=3)
