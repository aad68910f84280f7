"""Every flavor goes through a real registry, and is loaded by a process that knows nothing."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from tests.tuning import sequential
from tests.tuning.trials import trial
from tuning.fitted import local_fit
from tuning.flavors import predicted_codes, require_flavor
from tuning.home import Home
from tuning.inputprofile import NumberFeature, read_profile
from tuning.ledger import Manifest
from tuning.registry import Winner, find_version, get_version, give_alias, open_registry, register
from tuning.spec import SweepSpec, Task, check_sweep
from tuning.synthetic import Recipe, make_frame
from tuning.tracking import Tracker
from tuning.workload import make_workload

pytestmark = pytest.mark.ray

MATRIX = {"data": {"bundled": "wine"}, "n_trials": 1, "folds": {"n_splits": 2}}
SWEEPS: dict[str, dict[str, Any]] = {
    "boosting": {
        **MATRIX,
        "trainer": "sklearn",
        "space": {"estimator": "gradient_boosting", "max_iter": 5},
    },
    "forest": {
        **MATRIX,
        "trainer": "sklearn",
        "space": {"estimator": "random_forest", "n_estimators": 5},
    },
    "text": {
        **MATRIX,
        "data": {"path": "rows.csv", "target": "label"},
        "trainer": "sklearn",
        "space": {"estimator": "logistic_regression"},
    },
    "keras": {**MATRIX, "trainer": "tensorflow", "space": {"hidden": 8}},
    "torch": {
        **MATRIX,
        "data": {"bundled": "digits"},
        "trainer": "torch",
        "options": {"image_shape": [1, 8, 8]},
        "space": {"channels": 4},
    },
}

PREDICT_ELSEWHERE = """\
import pickle, sys
import mlflow, numpy as np
with open(sys.argv[1], "rb") as file:
    holdouts = pickle.load(file)
answers = {
    name: np.asarray(mlflow.pyfunc.load_model(f"models:/{name}/1").predict(rows))
    for name, rows in holdouts.items()
}
with open(sys.argv[2], "wb") as file:
    pickle.dump(answers, file)
"""


@dataclass(frozen=True)
class Registered:
    client: MlflowClient
    home: Home
    tasks: dict[str, Task]
    models: dict[str, Any]
    sweep_run_ids: dict[str, str]


def home_at(root: Path) -> Home:
    uri = f"sqlite:///{root / 'mlflow.db'}"
    return Home(root, uri, uri, (root / "artifacts").as_uri(), "")


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Registered:
    root = tmp_path_factory.mktemp("registry")
    make_frame(Recipe(n_rows=80, n_numbers=3, n_text=2, missing=0.1)).to_csv(root / "rows.csv")
    home = home_at(root)
    client = open_registry(home)
    tasks, models, run_ids = {}, {}, {}
    for name, fields in SWEEPS.items():
        data = {**fields["data"]}
        if "path" in data:
            data["path"] = root / data["path"]
        spec = SweepSpec.load({**fields, "name": name, "data": data}, where=name)
        task = check_sweep(spec, name)
        tracker = Tracker(home, spec, Manifest(name, spec.tied(), task.table.sha256))
        tracker.open([])
        tracker.close()
        params = dict(fields["space"])
        with local_fit(make_workload(task))(params, ()) as fitted:
            models[name] = fitted.model()
            winner = Winner(
                trial(0, 0.75, 0.25, params=params),
                "trial-run",
                tracker.parent_id,
                fitted,
                fitted.score(*task.holdout_rows),
            )
            register(client, task, winner, print)
        tasks[name], run_ids[name] = task, tracker.parent_id
    return Registered(client, home, tasks, models, run_ids)


@pytest.mark.thorough
def test_models_answer_alike_in_a_process_that_has_only_mlflow(
    registered: Registered, tmp_path: Path
) -> None:
    holdouts = {name: task.holdout_rows[0] for name, task in registered.tasks.items()}
    questions, answers = tmp_path / "questions", tmp_path / "answers"
    questions.write_bytes(pickle.dumps(holdouts))

    subprocess.run(
        [sys.executable, "-c", PREDICT_ELSEWHERE, str(questions), str(answers)],
        cwd=tmp_path,
        env={
            **os.environ,
            "MLFLOW_TRACKING_URI": registered.home.tracking_uri,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
        check=True,
        timeout=120,
    )

    elsewhere = pickle.loads(answers.read_bytes())  # noqa: S301, our own subprocess
    for name, task in registered.tasks.items():
        flavor = require_flavor(task.trainer.flavor)
        here = flavor.outputs(registered.models[name], holdouts[name])
        np.testing.assert_allclose(elsewhere[name], here, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(predicted_codes(elsewhere[name]), predicted_codes(here))


@pytest.mark.parametrize(
    ("name", "inputs", "outputs"),
    [
        ("boosting", ("float64", (-1, 13)), ("int64", (-1,))),
        ("keras", ("float32", (-1, 13)), ("float32", (-1, 3))),
        ("torch", ("float32", (-1, 1, 8, 8)), ("float32", (-1, 10))),
    ],
)
def test_signature_is_one_unnamed_tensor(
    registered: Registered, name: str, inputs: tuple[str, Any], outputs: tuple[str, Any]
) -> None:
    signature = mlflow.models.get_model_info(f"models:/{name}/1").signature

    assert signature is not None
    (given,), (answered,) = signature.inputs.inputs, signature.outputs.inputs
    assert given.name is None
    assert (str(given.type), given.shape) == inputs
    assert (str(answered.type), answered.shape) == outputs


def test_signature_of_a_frame_names_its_columns(registered: Registered) -> None:
    signature = mlflow.models.get_model_info("models:/text/1").signature

    assert signature is not None
    columns = {column.name: str(column.type) for column in signature.inputs.inputs}
    assert columns["x0"] == "DataType.double"
    assert columns["c0"] == "DataType.string"


def test_version_carries_where_it_comes_from(registered: Registered) -> None:
    version = registered.client.get_model_version("torch", "1")

    tags = version.tags
    assert tags["rayfleet.data_hash"] == registered.tasks["torch"].table.sha256
    assert json.loads(tags["rayfleet.fold_scores"]) == [0.75, 0.25]
    assert (tags["rayfleet.cv_mean"], tags["rayfleet.cv_std"]) == ("0.5", "0.25")
    assert json.loads(tags["rayfleet.classes"]) == list("0123456789")
    assert tags["rayfleet.trial_run_id"] == "trial-run"
    info = mlflow.models.get_model_info("models:/torch/1")
    assert info.metadata is not None
    assert info.metadata["rayfleet.feature_names"][0] == "pixel_0_0"
    assert info.saved_input_example_info is not None


@pytest.mark.parametrize("name", ["boosting", "text", "torch"])
def test_a_version_s_folder_says_how_its_training_rows_are_distributed(
    registered: Registered, name: str
) -> None:
    task = registered.tasks[name]
    folder = mlflow.artifacts.download_artifacts(artifact_uri=f"models:/{name}/1")

    profile = read_profile(Path(folder))

    assert profile is not None
    assert [feature.name for feature in profile.features] == list(task.table.columns)
    n_rows = len(task.split.training)
    for feature in profile.features:
        # Of texts, one half of the rows gave the bins.
        counted = n_rows if isinstance(feature, NumberFeature) else n_rows // 2
        assert sum(feature.counts) == counted


def test_requirements_are_exact_and_free_of_local_labels(registered: Registered) -> None:
    for name in registered.tasks:
        path = mlflow.pyfunc.get_model_dependencies(f"models:/{name}/1")
        lines = Path(path).read_text().split()

        assert all("==" in line and "+" not in line for line in lines), lines
        assert any(line.startswith("mlflow==") for line in lines)


def test_version_is_found_by_the_run_of_its_sweep(registered: Registered) -> None:
    found = find_version(registered.client, "keras", registered.sweep_run_ids["keras"])

    assert found is not None
    assert str(found.version) == "1"
    assert find_version(registered.client, "keras", "another") is None
    assert get_version(registered.client, "keras", "1") is not None
    assert get_version(registered.client, "keras", "2") is None


def test_alias_is_given_once_and_never_taken_back(registered: Registered) -> None:
    client = registered.client

    def version(number: str) -> Any:
        return client.get_model_version("forest", number)

    assert give_alias(client, version("1")) == "champion"
    # A crash before the tag was written: the alias is there, the tag is not.
    client.delete_model_version_tag("forest", "1", "rayfleet.alias")
    assert give_alias(client, version("1")) == "champion"

    first = version("1")
    client.create_model_version("forest", first.source, tags={})
    assert give_alias(client, version("2")) == "challenger"

    # Someone promotes it; a repeated call leaves that alone.
    client.set_registered_model_alias("forest", "champion", "2")
    assert give_alias(client, version("1")) == "champion"
    assert str(client.get_model_version_by_alias("forest", "champion").version) == "2"


def test_a_regression_answers_numbers_and_names_no_classes(tmp_path: Path) -> None:
    home = sequential.home_at(tmp_path)
    swept = sequential.sweep(
        home,
        "progress",
        register_as="progress",
        data={"bundled": "diabetes"},
        folds={"kind": "kfold", "n_splits": 2},
        space={"estimator": "ridge", "alpha": {"loguniform": [0.1, 10.0]}},
        metric="mae",
        mode="min",
    )

    version = open_registry(home).get_model_version("progress", "1")
    model = mlflow.pyfunc.load_model("models:/progress/1")
    rows, values = swept.task.holdout_rows
    assert (version.tags["rayfleet.classes"], version.tags["rayfleet.metric"]) == ("[]", "mae")
    (answered,) = model.metadata.signature.outputs.inputs
    assert (str(answered.type), answered.shape) == ("float64", (-1,))
    error = float(np.mean(np.abs(model.predict(rows) - values)))
    assert error == pytest.approx(float(version.tags["rayfleet.holdout_score"]))
