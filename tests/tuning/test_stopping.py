import random
from dataclasses import replace
from statistics import fmean
from typing import Any

import pytest
from scipy import stats

from tests.tuning.trials import reports, trial
from tuning.goals import parse_constraint
from tuning.ledger import Trial, TrialState
from tuning.stopping import (
    Halving,
    Median,
    Race,
    bracket_weights,
    corrected_p,
    full_brackets,
    quantile,
    rungs,
)

SMALL = (parse_constraint("model_bytes <= 2 MB"),)


def measured(number: int, *scores: float, model_bytes: float) -> Trial:
    """A trial that completed, whose model was measured."""
    *others, last = reports(*scores)
    made = (*others, replace(last, measured={"model_bytes": model_bytes}))
    return trial(number, reports=made)


def race(alpha: float = 0.05, n_folds: int = 5, **fields: Any) -> Race:
    return Race(
        metric="accuracy",
        maximize=True,
        n_folds=n_folds,
        test_share=1 / (n_folds - 1),
        alpha=alpha,
        min_folds=2,
        **fields,
    )


def fold_after(scores: list[float], rule: Race, n_folds: int = 5) -> int | None:
    """The number of folds after which a trial is stopped; None if it never is."""
    made = reports(*scores, of=n_folds)
    for place, report in enumerate(made[: n_folds - 1]):
        if rule.stops(trial(9, reports=made[:place]), report):
            return place + 1
    return None


@pytest.mark.parametrize(
    ("scores", "stopped_after"),
    [
        pytest.param([0.50, 0.60, 0.48, 0.57, 0.50], 3, id="far-worse-in-every-fold"),
        pytest.param([0.500, 0.511, 0.49, 0.53, 0.50], 2, id="and-so-evenly-that-two-will-do"),
        pytest.param([0.80, 0.86, 0.81, 0.90, 0.80], None, id="worse-but-noisy"),
        pytest.param([0.91, 0.92, 0.90, 0.93, 0.92], None, id="better"),
        pytest.param([0.10], None, id="one-fold-says-nothing"),
    ],
)
def test_race_stops_what_is_worse_beyond_doubt(
    scores: list[float], stopped_after: int | None
) -> None:
    rule = race()
    rule.learn(trial(0, 0.90, 0.91, 0.89, 0.92, 0.90))

    assert fold_after(scores, rule) == stopped_after


def test_differences_that_are_all_alike_prove_nothing() -> None:
    assert corrected_p([0.1, 0.1, 0.1], 0.25) == 1.0
    assert corrected_p([0.9 - 0.5, 0.91 - 0.51, 0.89 - 0.49], 0.25) == 1.0  # but for rounding


def test_race_needs_someone_to_race_against() -> None:
    rule = race()
    rule.learn(trial(0, 0.9, 0.9, state=TrialState.PRUNED))

    assert fold_after([0.1, 0.2, 0.1, 0.2, 0.1], rule) is None


def test_race_runs_against_the_best() -> None:
    rule = race()
    for number, level in enumerate([0.5, 0.9, 0.7]):
        rule.learn(trial(number, *(level + each for each in (0.0, 0.01, -0.01, 0.02, 0.0))))

    assert fold_after([0.70, 0.72, 0.68, 0.73, 0.70], rule) is not None


def test_race_knows_no_rival_that_cannot_win() -> None:
    rule = race(limits=SMALL)
    hopeless = [0.50, 0.60, 0.48, 0.57, 0.50]
    rule.learn(measured(0, 0.97, 0.98, 0.96, 0.99, 0.97, model_bytes=9e6))
    assert fold_after(hopeless, rule) is None

    rule.learn(measured(1, 0.90, 0.91, 0.89, 0.92, 0.90, model_bytes=1e6))

    assert fold_after(hopeless, rule) == 3
    assert fold_after([0.89, 0.90, 0.90, 0.91, 0.90], rule) is None


def test_corrected_test_agrees_with_its_formula_and_with_students_without_correction() -> None:
    differences = [0.02, 0.05, 0.03, 0.04, 0.01]

    # mean 0.03, variance 0.00025: t = 0.03 / sqrt((1/5 + 1/4) * 0.00025) = 2.828, 4 df.
    assert corrected_p(differences, 0.25) == pytest.approx(stats.t.sf(2.8284271, 4), rel=1e-6)
    plain = stats.ttest_1samp(differences, 0.0, alternative="greater").pvalue
    assert corrected_p(differences, 0.0) == pytest.approx(plain)


def test_wilcoxon_could_not_do_it_with_five_folds() -> None:
    smallest = stats.wilcoxon([1.0, 2.0, 3.0, 4.0, 5.0]).pvalue

    assert smallest == pytest.approx(1 / 16)


@pytest.mark.parametrize(
    ("scores", "stops"),
    [
        pytest.param([0.1, 0.1], True, id="below-the-median"),
        pytest.param([0.9, 0.1], False, id="its-best-report-counts"),
        pytest.param([0.6, 0.6], False, id="above-the-median"),
    ],
)
def test_median_rule(scores: list[float], stops: bool) -> None:
    rule = Median(maximize=True, grace=2, min_trials=3)
    for number, level in enumerate([0.3, 0.5, 0.7]):
        rule.learn(trial(number, level, level, level))
    first, second = reports(*scores, of=3)

    assert rule.stops(trial(9, reports=()), first) is False  # in its grace
    assert rule.stops(trial(9, reports=(first,)), second) is stops


def test_median_rule_waits_for_enough_trials() -> None:
    rule = Median(maximize=True, grace=1, min_trials=3)
    rule.learn(trial(0, 0.9, 0.9))
    rule.learn(trial(1, 0.9, 0.9))

    assert rule.stops(trial(9, reports=()), reports(0.1, of=2)[0]) is False


def test_median_rule_counts_none_that_cannot_win() -> None:
    rule = Median(maximize=True, grace=1, min_trials=2, limits=SMALL)
    for number, (level, model_bytes) in enumerate([(0.98, 9e6), (0.5, 1e6), (0.6, 1e6)]):
        rule.learn(measured(number, level, level, model_bytes=model_bytes))

    assert rule.stops(trial(9, reports=()), reports(0.57, of=2)[0]) is False
    assert rule.stops(trial(9, reports=()), reports(0.4, of=2)[0]) is True


@pytest.mark.parametrize(
    ("model_bytes", "stops"),
    [pytest.param(1e6, True, id="keeps-to-it"), pytest.param(9e6, False, id="breaks-it")],
)
def test_halving_forgets_a_trial_that_turned_out_to_break_a_bound(
    model_bytes: float, stops: bool
) -> None:
    rule = Halving(maximize=True, grace=1, factor=2.0, longest=3, brackets=1, limits=SMALL)
    for number in range(2):
        best = measured(number, 0.98, 0.98, model_bytes=model_bytes)
        rule.stops(replace(best, reports=()), best.reports[0])
        rule.learn(best)
    rule.stops(trial(2), reports(0.8, of=2)[0])

    assert rule.stops(trial(3), reports(0.89, of=2)[0]) is stops


def test_halving_keeps_about_one_in_the_factor() -> None:
    rule = Halving(maximize=False, grace=1, factor=4.0, longest=3, brackets=1)
    generator = random.Random(0)

    stopped = sum(
        rule.stops(trial(number), reports(generator.random(), of=2)[0]) for number in range(1000)
    )

    assert 700 < stopped < 800


def test_hyperband_divides_trials_among_its_brackets_in_the_order_of_their_numbers() -> None:
    assert full_brackets(1, 3.0, 81) == 5
    assert rungs(1, 3.0, 81, 0) == [1, 3, 9, 27, 81]
    assert rungs(1, 3.0, 81, 4) == [81]
    # Li et al. (2018), table 1: 81, 34, 15, 8 and 5 configurations.
    shares = [round(143 * weight) for weight in bracket_weights(5, 3.0)]
    assert shares == pytest.approx([81, 34, 15, 8, 5], abs=2)

    def brackets(order: list[int]) -> dict[int, int]:
        rule = Halving(maximize=True, grace=1, factor=3.0, longest=81, brackets=5)
        return {number: rule._bracket_of(number) for number in order}

    assert brackets(list(range(50))) == brackets(list(reversed(range(50))))


def test_quantile_is_numpys_default() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.75) == 3.25
    assert quantile([5.0], 0.75) == 5.0
    assert quantile([1.0, 3.0], 0.5) == fmean([1.0, 3.0])
