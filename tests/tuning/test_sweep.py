from typing import Any

import pytest

from tests.tuning.trials import trial
from tuning.spec import SweepSpec
from tuning.sweep import make_scheduler

pytestmark = pytest.mark.ray

SPEC = SweepSpec.model_validate(
    {
        "name": "s",
        "data": {"bundled": "iris"},
        "trainer": "sklearn",
        "space": {"estimator": "logistic_regression"},
        "n_trials": 5,
        "folds": {"n_splits": 2},
        "scheduler": {"grace_period": 1, "reduction_factor": 2},
    }
)


class AnyTrial:
    trial_id = "new"


@pytest.mark.parametrize(
    ("earlier", "mean", "decision"),
    [
        pytest.param([], 0.1, "CONTINUE", id="nothing-to-compare-with"),
        pytest.param([0.8, 0.9], 0.1, "STOP", id="worse-than-before-the-resume"),
        pytest.param([0.8, 0.9], 0.95, "CONTINUE", id="better-than-before-the-resume"),
    ],
)
def test_resumed_scheduler_knows_the_earlier_trials(
    earlier: list[float], mean: float, decision: str
) -> None:
    done = [trial(number, score, score) for number, score in enumerate(earlier)]
    controller: Any = None
    new: Any = AnyTrial()

    scheduler = make_scheduler(SPEC, done)
    scheduler.on_trial_add(controller, new)

    assert scheduler.on_trial_result(controller, new, {"progress": 1, "mean": mean}) == decision
