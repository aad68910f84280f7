from typing import Any

import pytest

from tests.tuning.trials import trial
from tuning.budget import Account, BudgetSpec, covered_s
from tuning.goals import parse_constraint
from tuning.ledger import Trial, TrialState

TRIALS = [
    trial(0, 0.5, started_at_s=0.0, ended_at_s=10.0),
    trial(1, 0.7, started_at_s=5.0, ended_at_s=15.0),
    trial(2, 0.6, started_at_s=15.0, ended_at_s=20.0),
    trial(3, 0.7, started_at_s=40.0, ended_at_s=50.0),
    trial(4, 0.9, state=TrialState.FAILED, started_at_s=50.0, ended_at_s=60.0),
]


def account(trials: list[Trial], mode: Any = "max", **budget: Any) -> Account:
    made = Account(BudgetSpec(**budget), metric="accuracy", mode=mode, cpu=2.0)
    for each in trials:
        made.add(each)
    return made


@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        pytest.param({}, None, id="no-budget"),
        pytest.param({"target": 0.7}, "accuracy reached 0.7, the target is 0.7", id="target"),
        pytest.param({"target": 0.8}, None, id="a-failed-trial-reaches-nothing"),
        pytest.param({"patience": 3}, "3 trials without a better accuracy", id="patience"),
        pytest.param({"patience": 4}, None, id="more-patience"),
        pytest.param({"cost": 90.0}, "90 of 90 core seconds used", id="cores"),
        pytest.param({"cost": 90.1}, None, id="cores-left"),
        pytest.param(
            {"cost": 2.0, "cost_metric": "accuracy"}, "3.4 of 2 accuracy used", id="own-cost"
        ),
        pytest.param({"wall_s": 40.0}, "40 of 40 s used", id="time-of-an-earlier-process"),
        pytest.param({"wall_s": 41.0}, None, id="time-left"),
    ],
)
def test_what_is_spent(budget: dict[str, Any], spent: str | None) -> None:
    assert account(TRIALS, **budget).spent(now_s=1000.0) == spent


def test_the_clock_of_this_process_begins_with_its_first_question() -> None:
    made = account(TRIALS, wall_s=45.0)

    assert [made.spent(1000.0), made.spent(1004.0)] == [None, None]
    assert made.spent(1005.0) == "45 of 45 s used"


def test_less_can_be_the_target() -> None:
    assert account(TRIALS, mode="min", target=0.4).spent(0.0) is None
    assert account(TRIALS, mode="min", target=0.5).spent(0.0) is not None


@pytest.mark.parametrize(
    ("budget", "spent"),
    [
        pytest.param({"target": 0.7}, None, id="reached-beyond-the-bound-only"),
        pytest.param({"target": 0.6}, "accuracy reached 0.6, the target is 0.6", id="target"),
        pytest.param(
            {"patience": 2}, "2 trials without a better accuracy within accuracy <= 0.65",
            id="no-patience-with-what-cannot-win",
        ),
    ],
)  # fmt: skip
def test_only_what_keeps_to_the_bounds_is_good_enough(
    budget: dict[str, Any], spent: str | None
) -> None:
    limits = (parse_constraint("accuracy <= 0.65"),)
    made = Account(BudgetSpec(**budget), metric="accuracy", mode="max", cpu=1.0, limits=limits)
    for each in TRIALS:
        made.add(each)

    assert made.spent(0.0) == spent


@pytest.mark.parametrize(
    ("intervals", "length"),
    [
        ([], 0.0),
        ([(0.0, 1.0), (2.0, 4.0)], 3.0),
        ([(2.0, 4.0), (0.0, 3.0)], 4.0),
        ([(0.0, 10.0), (2.0, 3.0)], 10.0),
    ],
)
def test_side_by_side_counts_once(intervals: list[tuple[float, float]], length: float) -> None:
    assert covered_s(intervals) == length
