"""A model with a profile is watched, and any other answers as it always did."""

from pathlib import Path

import mlflow
import mlflow.sklearn
import numpy as np
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LinearRegression

from deployments.monitoring.drift import CHANGED
from deployments.predictor.driftgauges import DriftGauges
from deployments.predictor.inputwatch import EVERY_S, MOST_ROWS, WINDOW_S, InputWatch
from deployments.predictor.runtimes import watched as module
from deployments.predictor.runtimes.runtime import make_runtime
from deployments.predictor.runtimes.watched import watched
from deployments.protocols.tensors import Batch, Layout, Outputs
from tests.fakes import FakeClock, sums
from tests.lines import kept_lines
from tuning.inputprofile import PROFILE_FILE, make_profile, write_profile
from tuning.registry import keep_profile

ROWS = np.random.default_rng(3).random((200, 2))


class Summing:
    """Answers sums, or raises."""

    def predict(self, batch: Batch) -> Outputs:
        if not np.isfinite(batch.inputs["x"]).all():
            raise ValueError("no number")
        return Outputs(sums(batch))


class InPlace(Summing):
    """Leaves nothing of what it is asked."""

    def predict(self, batch: Batch) -> Outputs:
        outputs = super().predict(batch)
        batch.inputs["x"][:] = 0
        return outputs


class Kept(DriftGauges):
    """Remembers what it was to look at, and never looks."""

    def __init__(self) -> None:
        self.added: list[tuple[InputWatch, str, str]] = []

    def add(self, watch: InputWatch, model: str, version: str) -> None:
        self.added.append((watch, model, version))


def batch(rows: np.ndarray) -> Batch:
    return Batch({"x": rows}, {}, Layout.TENSOR)


def with_profile(folder: Path) -> None:
    profile = make_profile(ROWS, ["a", "b"])
    assert profile is not None
    write_profile(profile, folder)


def test_what_was_answered_is_shown_to_the_watch(tmp_path: Path) -> None:
    with_profile(tmp_path)
    kept = Kept()
    runtime = watched(Summing(), str(tmp_path), "wine", "3", kept)
    ((watch, *whose),) = kept.added

    answered = runtime.predict(batch(ROWS[:MOST_ROWS]))

    assert whose == ["wine", "3"]
    assert answered.arrays["output-0"].tolist() == ROWS[:MOST_ROWS].sum(axis=1).tolist()
    assert watch.waiting == 1


def test_what_a_model_raises_over_is_not_counted_and_raised_on(tmp_path: Path) -> None:
    with_profile(tmp_path)
    kept = Kept()
    runtime = watched(Summing(), str(tmp_path), "wine", "3", kept)

    with pytest.raises(ValueError, match="no number"):
        runtime.predict(batch(np.array([[1.0, np.inf]])))

    ((watch, *_),) = kept.added
    assert watch.waiting == 0


def test_a_model_that_works_in_place_is_no_reason_for_a_drift(tmp_path: Path) -> None:
    with_profile(tmp_path)
    kept, clock = Kept(), FakeClock()
    runtime = watched(InPlace(), str(tmp_path), "wine", "3", kept, clock)
    ((watch, *_),) = kept.added

    for start in range(0, 200, MOST_ROWS):
        runtime.predict(batch(ROWS[start : start + MOST_ROWS].copy()))
        clock.advance(EVERY_S)
    watch.look()
    clock.advance(WINDOW_S)
    window, _ = watch.look()

    assert window is not None
    assert max(drift.index for drift in window.features.values()) < CHANGED


def test_a_watch_that_fails_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_profile(tmp_path)
    kept = Kept()
    runtime = watched(Summing(), str(tmp_path), "wine", "3", kept)
    ((watch, *_),) = kept.added

    def fail(_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(watch, "sample", fail)
    with kept_lines("deployments.predictor.runtimes.watched") as lines:
        answers = [runtime.predict(batch(ROWS[:2])).arrays["output-0"] for _ in range(3)]

    assert [answer.tolist() for answer in answers] == [ROWS[:2].sum(axis=1).tolist()] * 3
    assert [line.levelname for line in lines] == ["ERROR"]


@pytest.mark.ray
def test_a_registered_model_is_watched_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Kept()
    monkeypatch.setattr(module, "process_gauges", lambda: kept)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    experiment = mlflow.create_experiment("tests", artifact_location=tmp_path.as_uri())
    model = LinearRegression().fit(ROWS, ROWS.sum(axis=1))
    with mlflow.start_run(experiment_id=experiment):
        info = mlflow.sklearn.log_model(
            model, name="sum", pip_requirements=[], serialization_format="cloudpickle"
        )
    client = MlflowClient()
    keep_profile(client, info.model_id, ROWS, ["a", "b"])
    client.create_registered_model("the-sum")
    client.create_model_version("the-sum", info.model_uri, model_id=info.model_id)

    runtime = make_runtime("sklearn", "models:/the-sum/1", uri, uri)
    runtime.predict(batch(ROWS[:2]))

    ((watch, *whose),) = kept.added
    assert whose == ["the-sum", "1"]
    assert watch.waiting == 1


def test_a_model_without_a_profile_is_left_alone(tmp_path: Path) -> None:
    kept, plain = Kept(), Summing()

    assert watched(plain, str(tmp_path), "wine", "3", kept) is plain
    assert kept.added == []


@pytest.mark.parametrize("content", ["{", '{"x":' + "[" * 200_000], ids=["half", "deep"])
def test_a_broken_profile_keeps_no_model_from_answering(tmp_path: Path, content: str) -> None:
    (tmp_path / PROFILE_FILE).write_text(content)
    kept, plain = Kept(), Summing()

    with kept_lines("deployments.predictor.runtimes.watched") as lines:
        assert watched(plain, str(tmp_path), "wine", "3", kept) is plain

    (line,) = lines
    assert "inputs of wine version 3 are not watched" in line.getMessage()
    assert PROFILE_FILE in line.getMessage()
