from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

from tests.stores import new_mlflow
from tests.tuning.sequential import FOREST
from tuning.board import _test_to_train, best_trial, standing_of
from tuning.spec import SweepSpec, check_sweep
from tuning.tracking import SWEEP, TRIAL_ID, TRIAL_STATE, _flat

NOBODY = cast("MlflowClient", None)
"""Nothing needs to be asked: the parameters of the sweep's run say it all."""


def run(metrics: Mapping[str, float], params: Mapping[str, str], tags: Mapping[str, str]) -> Run:
    """A run as MLflow returns it."""
    info = RunInfo("run", "1", "user", "FINISHED", 0, 1, "active")
    data = RunData(
        [Metric(key, value, 0, 0) for key, value in metrics.items()],
        [Param(key, value) for key, value in params.items()],
        [RunTag(key, value) for key, value in tags.items()],
    )
    return Run(info, data)


def trial(number: int, accuracy: float, *, state: str = "complete", **metrics: float) -> Run:
    """The run of a trial."""
    given = {"accuracy_mean": accuracy, "accuracy_std": 0.01, **metrics}
    return run(given, {}, {TRIAL_ID: str(number), TRIAL_STATE: state})


def sweep(*constraints: str, **fields: Any) -> Run:
    """The run of a sweep."""
    given = {**FOREST, "name": "iris", "constraints": list(constraints), **fields}
    return run({}, _flat(SweepSpec.load(given).tied()), {})


@pytest.mark.parametrize(
    ("of", "best"),
    [
        pytest.param(sweep(), 1, id="no-bounds"),
        pytest.param(sweep(mode="min"), 3, id="less-is-better"),
        pytest.param(sweep("model_bytes <= 1 MB"), 2, id="as-measured"),
        pytest.param(sweep("log_loss <= 0.3"), 3, id="its-mean-over-the-folds"),
        pytest.param(sweep("model_bytes <= 1 MB", "log_loss <= 0.1"), None, id="nobody-keeps-them"),
        pytest.param(sweep("p99_ms <= 5"), None, id="nobody-was-measured"),
    ],
)
def test_the_best_trial_keeps_the_bounds_of_its_sweep(of: Run, best: int | None) -> None:
    trials = [
        trial(0, 0.99, state="pruned", model_bytes=1.0, log_loss_mean=0.0),
        trial(1, 0.95, model_bytes=2e6, log_loss_mean=0.5),
        trial(2, 0.90, model_bytes=1e6, log_loss_mean=0.4),
        trial(3, 0.85, model_bytes=2e6, log_loss_mean=0.3),
    ]

    found = best_trial(NOBODY, of, trials)

    assert (None if found is None else int(found.data.tags[TRIAL_ID])) == best


def test_of_equal_means_the_steadier_trial_is_the_best_as_at_the_end_of_a_sweep() -> None:
    trials = [trial(0, 0.9, accuracy_std=0.2), trial(1, 0.9, accuracy_std=0.1)]

    assert best_trial(NOBODY, sweep(), trials) is trials[1]


@pytest.mark.parametrize(
    "folds",
    [
        pytest.param({}, id="stratified"),
        pytest.param({"n_splits": 4, "repeats": 3}, id="repeated"),
        pytest.param({"kind": "kfold", "n_splits": 3}, id="kfold"),
        pytest.param({"kind": "time_series", "n_splits": 4}, id="time-series"),
    ],
)
def test_folds_test_as_much_as_their_settings_say(folds: dict[str, Any]) -> None:
    data = {"bundled": "digits"}
    spec = SweepSpec.load({**FOREST, "name": "digits", "data": data, "folds": folds})
    split = check_sweep(spec, "digits").split

    assert _test_to_train(_flat(spec.tied())) == pytest.approx(split.test_share, rel=0.01)


def test_a_sweep_that_was_resumed_runs_on_and_its_trials_have_not_ended(tmp_path: Path) -> None:
    client = MlflowClient(new_mlflow(tmp_path))
    experiment = client.create_experiment("rayfleet")
    parent = client.create_run(experiment, start_time=1_000, tags={SWEEP: "iris"})
    for number, (start_ms, end_ms, status) in enumerate(
        [(1_000, 5_000, "FINISHED"), (5_000, 6_000, "RUNNING")]
    ):
        tags = {SWEEP: "iris", TRIAL_ID: str(number), "mlflow.parentRunId": parent.info.run_id}
        run = client.create_run(experiment, start_time=start_ms, tags=tags)
        client.set_terminated(run.info.run_id, end_time=end_ms)
        client.update_run(run.info.run_id, status=status)
    client.set_terminated(parent.info.run_id, "KILLED", end_time=6_000)
    client.update_run(parent.info.run_id, status="RUNNING")

    standing = standing_of(client, client.get_run(parent.info.run_id), clock=lambda: 61.0)

    assert (standing.phase, standing.elapsed_s, standing.trial_s) == ("running", 60.0, 4.0)
