import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tests.stores import new_mlflow
from tests.tuning.test_registry import home_at
from tests.tuning.trials import reports, trial
from tuning.abandoning import abandon_run
from tuning.errors import ConfigError, TrackingError
from tuning.exploring import Segment
from tuning.ledger import Manifest, Prior, Trial, TrialState
from tuning.scheduler import SchedulerSpec
from tuning.spec import SweepSpec
from tuning.tracking import PARAMS, PARETO, REFUSED, SCHEDULE, TRACEBACK, Tracker
from tuning.warmstart import load_priors

SPEC = SweepSpec.model_validate(
    {
        "name": "s",
        "data": {"bundled": "iris"},
        "trainer": "sklearn",
        "space": {"estimator": "logistic_regression"},
        "n_trials": 3,
    }
)
pytestmark = pytest.mark.ray

MANIFEST = Manifest("id-of-s", SPEC.tied(), "0" * 64)


@pytest.fixture
def client(tmp_path: Path) -> MlflowClient:
    return MlflowClient(new_mlflow(tmp_path))


@pytest.fixture
def open_tracker(tmp_path: Path) -> Iterator[Callable[..., Tracker]]:
    trackers = []

    def open_one(*trials: Trial) -> Tracker:
        tracker = Tracker(home_at(tmp_path), SPEC, MANIFEST)
        tracker.open(trials)
        trackers.append(tracker)
        return tracker

    yield open_one
    for tracker in trackers:
        tracker.close()


def children(client: MlflowClient) -> list[Run]:
    experiment = client.get_experiment_by_name("rayfleet")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`rayfleet.trial_id` LIKE '%'")
    return sorted(runs, key=lambda run: str(run.data.tags["rayfleet.trial_id"]))


def test_resumed_tracker_brings_runs_up_to_date_without_doubling(
    client: MlflowClient, open_tracker: Callable[..., Tracker]
) -> None:
    done = trial(0, 0.5, 1.0)
    begun = replace(done, state=TrialState.RUNNING, ended_at_s=None, reports=done.reports[:1])
    first = open_tracker()
    first.on_start(begun)
    first.on_report(begun)
    first.close()  # as if killed: the run is left in the middle

    # The ledger knows of the end of trial 0, and of a trial that MLflow never heard of.
    failed = trial(1, state=TrialState.FAILED, reports=(), error="Traceback\nValueError: x")
    second = open_tracker(done, failed)
    second.close()
    third = open_tracker(done, failed)
    third.close()

    runs = children(client)
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED"]
    history = client.get_metric_history(runs[0].info.run_id, "accuracy")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 1.0)]
    assert second.parent_id == first.parent_id == third.parent_id


def test_a_trial_that_runs_again_has_one_run_and_no_traceback(
    client: MlflowClient, open_tracker: Callable[..., Tracker]
) -> None:
    lost = trial(0, state=TrialState.FAILED, reports=reports(0.5, of=2), error="it died", lost=True)
    first = open_tracker()
    first.on_end(lost)
    first.close()
    again = replace(
        lost, state=TrialState.RUNNING, ended_at_s=None, reports=(), error=None, lost=False
    )

    second = open_tracker(again)
    second.on_start(again)
    second.on_end(trial(0, 0.5, 1.0))
    second.close()

    (run,) = children(client)
    assert (run.info.status, run.data.tags.get(TRACEBACK)) == ("FINISHED", None)
    history = client.get_metric_history(run.info.run_id, "accuracy")
    assert [(point.step, point.value) for point in history] == [(0, 0.5), (1, 1.0)]


def test_the_run_of_a_trial_whose_record_was_damaged_makes_way(
    client: MlflowClient, open_tracker: Callable[..., Tracker]
) -> None:
    first = open_tracker()
    for number in range(2):
        first.on_end(trial(number, 0.5, params={"x": number}))
    first.close()

    second = open_tracker(trial(0, 0.5, params={"x": 0}))
    second.on_end(trial(1, 0.75, params={"x": 9}))
    second.close()

    assert [run.data.params for run in children(client)] == [{"x": "0"}, {"x": "9"}]


def killed_after_creating(
    open_tracker: Callable[..., Tracker], monkeypatch: pytest.MonkeyPatch, begun: Trial
) -> None:
    """A driver that was killed when a trial's run had been created and nothing else written."""
    tracker = open_tracker()
    reached = threading.Event()

    def never(self: MlflowClient, *_: Any, **__: Any) -> None:
        reached.set()
        raise MlflowException("the driver is dead", INVALID_PARAMETER_VALUE)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", never)
        tracker.on_start(begun)
        with pytest.raises(TrackingError):
            tracker.close()
    assert reached.is_set()


@pytest.mark.parametrize("again", ["begun", "ended", "known-to-have-ended"])
def test_a_run_left_without_its_parameters_gets_them(
    client: MlflowClient,
    open_tracker: Callable[..., Tracker],
    monkeypatch: pytest.MonkeyPatch,
    again: str,
) -> None:
    done = trial(0, 0.5, params={"x": 0.5})
    begun = replace(done, state=TrialState.RUNNING, ended_at_s=None, reports=())
    killed_after_creating(open_tracker, monkeypatch, begun)
    assert [run.data.params for run in children(client)] == [{}]

    tracker = open_tracker(done if again == "known-to-have-ended" else begun)
    if again == "begun":
        tracker.on_start(begun)
    if again == "ended":
        tracker.on_start(begun)
        tracker.on_end(done)
    tracker.close()

    (run,) = children(client)
    assert run.data.params == {key: str(value) for key, value in done.params.items()} != {}


def test_what_a_population_ended_with_is_what_is_recorded(
    tmp_path: Path, client: MlflowClient
) -> None:
    segments = Segment(1, {"rate": 0.5, "hidden": 8}), Segment(2, {"rate": 0.25, "hidden": 8})
    done = trial(0, 0.5, params=segments[-1].params, segments=segments)
    begun = replace(
        done, params=segments[0].params, state=TrialState.RUNNING, segments=(), ended_at_s=None
    )
    evolving = SPEC.model_copy(update={"scheduler": SchedulerSpec(kind="pbt")})
    tracker = Tracker(home_at(tmp_path), evolving, MANIFEST)
    tracker.open(())

    tracker.on_start(begun)
    tracker.on_report(begun)
    tracker.on_end(done)
    tracker.close()

    (run,) = children(client)
    assert run.data.params == {"rate": "0.25", "hidden": "8"}
    assert json.loads(run.data.tags[PARAMS]) == {"rate": 0.25, "hidden": 8}
    assert json.loads(run.data.tags[SCHEDULE])[0] == {"epochs": 1, "rate": 0.5, "hidden": 8}


def test_a_sweep_that_was_killed_and_is_started_anew_leaves_no_run_running(
    tmp_path: Path, client: MlflowClient, open_tracker: Callable[..., Tracker]
) -> None:
    done = trial(0, 0.5, 1.0)
    killed = open_tracker()
    killed.on_start(done)
    killed.on_end(done)
    killed.on_start(trial(1, state=TrialState.RUNNING, ended_at_s=None, reports=()))
    killed.close()

    abandon_run(home_at(tmp_path), SPEC.experiment, MANIFEST.sweep_id)

    assert [run.info.status for run in children(client)] == ["FINISHED", "KILLED"]
    assert client.get_run(killed.parent_id).info.status == "KILLED"


def test_outage_delays_notes_and_loses_none(
    client: MlflowClient,
    open_tracker: Callable[..., Tracker],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tracker = open_tracker()
    outages = iter([True, True])
    create_run = MlflowClient.create_run

    def create_and_lose_the_answer(self: MlflowClient, *args: Any, **kwargs: Any) -> Run:
        created = create_run(self, *args, **kwargs)
        if next(outages, False):
            raise ConnectionError("no answer")
        return created

    monkeypatch.setattr(MlflowClient, "create_run", create_and_lose_the_answer)
    tracker.on_start(trial(0, state=TrialState.RUNNING, reports=()))
    tracker.on_end(trial(0, 0.5))
    tracker.close()

    # The request had arrived although its answer was lost: still one run.
    assert [run.info.status for run in children(client)] == ["FINISHED"]


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("arrives", [True, False])
def test_a_report_is_written_once_though_the_answer_to_it_was_lost(
    client: MlflowClient,
    open_tracker: Callable[..., Tracker],
    monkeypatch: pytest.MonkeyPatch,
    arrives: bool,
    ended: bool,
) -> None:
    tracker = open_tracker()
    running = trial(0, state=TrialState.RUNNING, ended_at_s=None, reports=())
    tracker.on_start(running)
    tracker.flush()
    outages = iter([True, True])
    log_batch = MlflowClient.log_batch

    def fail_at_first(self: MlflowClient, *args: Any, **kwargs: Any) -> None:
        away = next(outages, False)
        if not away or arrives:
            log_batch(self, *args, **kwargs)
        if away:
            raise ConnectionError("no answer")

    monkeypatch.setattr(MlflowClient, "log_batch", fail_at_first)
    told = replace(running, reports=reports(0.5, of=2))
    if ended:
        tracker.on_end(replace(told, state=TrialState.PRUNED, ended_at_s=2.0))
    else:
        tracker.on_report(told)
    tracker.flush()

    (run,) = children(client)
    history = client.get_metric_history(run.info.run_id, "accuracy")
    assert [(point.step, point.value) for point in history] == [(0, 0.5)]


def test_runs_that_a_user_nested_below_the_sweep_are_left_alone(
    tmp_path: Path, client: MlflowClient, open_tracker: Callable[..., Tracker]
) -> None:
    first = open_tracker()
    experiment = client.get_run(first.parent_id).info.experiment_id
    nested = client.create_run(experiment, tags={MLFLOW_PARENT_RUN_ID: first.parent_id})

    second = open_tracker()
    abandon_run(home_at(tmp_path), SPEC.experiment, MANIFEST.sweep_id)

    assert second.parent_id == first.parent_id
    assert client.get_run(nested.info.run_id).info.status == "RUNNING"


def test_a_sweep_that_goes_on_is_not_shown_as_refused(
    client: MlflowClient, open_tracker: Callable[..., Tracker]
) -> None:
    refused = open_tracker()
    refused.summarize({}, {REFUSED: "no better than the champion"})
    refused.close()
    assert REFUSED in client.get_run(refused.parent_id).data.tags

    forced = open_tracker()

    assert forced.parent_id == refused.parent_id
    assert REFUSED not in client.get_run(forced.parent_id).data.tags


def test_pruned_trial_is_told_from_a_complete_one(
    client: MlflowClient, open_tracker: Callable[..., Tracker]
) -> None:
    tracker = open_tracker()
    tracker.on_end(trial(0, state=TrialState.PRUNED, reports=reports(0.5, of=2)))
    tracker.close()

    (run,) = children(client)
    assert run.info.status == "KILLED"
    assert run.data.tags["rayfleet.trial_state"] == "pruned"
    assert run.data.metrics == {"accuracy": 0.5}


def test_a_sweep_begins_with_what_mlflow_shows_of_another(
    client: MlflowClient, open_tracker: Callable[..., Tracker], tmp_path: Path
) -> None:
    params = {"estimator": "logistic_regression", "C": 0.25}
    (last,) = reports(0.75)
    measured = (replace(last, measured={"p99_ms": 4.0}),)
    trials = [
        trial(0, params=params, reports=measured),
        trial(1, 0.9, params=params, state=TrialState.PRUNED),
        trial(2, 0.8, params={**params, "C": 99.0}),
    ]
    tracker = open_tracker(*trials)
    tracker.close()
    later = SweepSpec.model_validate(
        {
            **SPEC.model_dump(by_alias=True, exclude={"model"}),
            "name": "later",
            "model": "s",
            "space": {"estimator": "logistic_regression", "C": {"uniform": [0.0, 1.0]}},
            "objectives": [{"metric": "p99_ms", "mode": "min"}],
            "constraints": ["p99_ms <= 2"],
            "scheduler": {"kind": "fifo"},
            "warm_start": tracker.parent_id,
        }
    )

    priors = load_priors(later, home_at(tmp_path))

    assert priors == [Prior({"C": 0.25}, [0.75, 4.0], [1.0])]
    with pytest.raises(ConfigError, match="no run of this id in MLflow"):
        load_priors(later.model_copy(update={"warm_start": "f" * 32}), home_at(tmp_path))


def test_the_pareto_set_is_in_the_parent_run(
    client: MlflowClient, open_tracker: Callable[..., Tracker]
) -> None:
    tracker = open_tracker()

    tracker.note_pareto([trial(3, 0.5, params={"C": 1.0}), trial(1, 0.25)])
    tracker.close()

    run = client.get_run(tracker.parent_id)
    assert run.data.tags[PARETO] == "[3, 1]"
    path = client.download_artifacts(tracker.parent_id, "pareto.json")
    assert json.loads(Path(path).read_text())["pareto"][0] == {
        "trial": 3,
        "values": {"accuracy": 0.5},
        "params": {"C": 1.0},
    }
