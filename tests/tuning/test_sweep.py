from types import SimpleNamespace
from typing import Any

import pytest

from tests.tuning.trials import trial
from tuning.spec import SchedulerSpec, SweepSpec
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


@pytest.mark.parametrize("kind", ["fifo", "asha"])
@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [
        pytest.param(["RUNNING", "PENDING", "PENDING"], 2, id="the-newest-has-no-actor-yet"),
        pytest.param(["PENDING", "RUNNING", "TERMINATED"], 0, id="only-one-waits"),
        pytest.param(["RUNNING", "ERROR"], None, id="none-waits"),
        pytest.param([], None, id="none-at-all"),
    ],
)
def test_a_free_actor_goes_to_the_newest_trial(
    kind: str, statuses: list[str], chosen: int | None
) -> None:
    spec = SPEC.model_copy(update={"scheduler": SchedulerSpec.model_validate({"kind": kind})})
    trials = [SimpleNamespace(status=status) for status in statuses]
    controller: Any = SimpleNamespace(get_trials=lambda: trials)

    found: Any = make_scheduler(spec, []).choose_trial_to_run(controller)

    assert found is (None if chosen is None else trials[chosen])
