from dataclasses import replace
from typing import Any

import pytest

from tests.tuning.trials import reports, trial
from tuning.goals import ObjectiveSpec, broken, feasible, pareto_set, parse_constraint
from tuning.ledger import Trial, TrialState


def measured(number: int, accuracy: float, **values: float) -> Trial:
    """A completed trial of one fold whose model was measured."""
    (last,) = reports(accuracy)
    return trial(number, reports=(replace(last, measured=values),))


@pytest.mark.parametrize(
    ("text", "metric", "upper", "bound"),
    [
        pytest.param("p99_ms <= 5", "p99_ms", True, 5.0, id="plain"),
        pytest.param("model_bytes<=10MB", "model_bytes", True, 10_000_000.0, id="size"),
        pytest.param("model_bytes <= 1.5 MiB", "model_bytes", True, 1_572_864.0, id="binary-size"),
        pytest.param(" accuracy >= 9e-1 ", "accuracy", False, 0.9, id="at-least"),
    ],
)
def test_a_bound_is_read(text: str, metric: str, upper: bool, bound: float) -> None:
    constraint = parse_constraint(text)

    assert (constraint.metric, constraint.upper, constraint.bound) == (metric, upper, bound)


@pytest.mark.parametrize("text", ["accuracy", "p99_ms < 5", "p99_ms <= five", "<= 5", "a <= 5 MB"])
def test_what_is_no_bound_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"should be METRIC|only metrics named"):
        parse_constraint(text)


def test_a_bound_itself_is_kept_and_beyond_it_is_a_share_of_it() -> None:
    slow = parse_constraint("p99_ms <= 5")
    good = parse_constraint("accuracy >= 0.8")

    assert slow.violation(5.0) == 0.0
    assert slow.violation(10.0) == 1.0
    assert good.violation(0.4) == pytest.approx(0.5)
    assert good.violation(0.9) < 0.0


def test_an_infeasible_trial_cannot_win() -> None:
    limits = [parse_constraint("p99_ms <= 5"), parse_constraint("accuracy >= 0.5")]
    trials = [
        measured(0, 0.9, p99_ms=6.0),
        measured(1, 0.8, p99_ms=4.0),
        measured(2, 0.4, p99_ms=4.0),
        trial(3, 0.99),  # never measured
        trial(4, 0.1, state=TrialState.PRUNED),
    ]

    assert [each.number for each in feasible(trials, limits)] == [1, 4]
    assert [each.text for each in broken(trials[0], limits)] == ["p99_ms <= 5"]


def test_the_pareto_set_is_what_nothing_beats_in_all_objectives() -> None:
    objectives = [
        ObjectiveSpec(metric="accuracy", mode="max"),
        ObjectiveSpec(metric="p99_ms", mode="min"),
    ]
    trials = [
        measured(0, 0.9, p99_ms=9.0),
        measured(1, 0.8, p99_ms=5.0),
        measured(2, 0.8, p99_ms=6.0),  # beaten by 1
        measured(3, 0.7, p99_ms=1.0),
        measured(4, 0.7, p99_ms=1.0),  # equal to 3
        measured(5, 0.6, p99_ms=2.0),  # beaten by 3
        trial(6, 0.9),  # no latency: beaten by 0
        trial(7, 1.0, state=TrialState.FAILED),
    ]

    assert [each.number for each in pareto_set(trials, objectives)] == [0, 1, 3, 4]


@pytest.mark.parametrize("trials", [[], [trial(0, 1.0, state=TrialState.FAILED)]])
def test_nothing_completed_is_an_empty_set(trials: Any) -> None:
    assert pareto_set(trials, [ObjectiveSpec(metric="accuracy")]) == []
