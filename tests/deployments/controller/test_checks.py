"""Where what a version is checked by comes from; a real fleet asks it in `integration/fleet`."""

from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

from deployments.controller.checks import Check, Checks, kept
from deployments.errors import ConfigError
from deployments.protocols.signature import signature_from_mlflow
from deployments.protocols.tensors import Signature
from deployments.rollout.seen import Checked
from deployments.traffic.table import Batching, ModelRoutes, Route, RouteState, Track
from tests.stores import new_mlflow

pytestmark = pytest.mark.ray  # an MLflow store

ROWS = np.array([[1.0], [2.0]])
SIGNATURE = infer_signature(ROWS, ROWS)


@pytest.fixture(scope="module", autouse=True)
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Version 1 of a model has an input example, version 2 has none."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = new_mlflow(folder)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    experiment = mlflow.create_experiment("models", artifact_location=(folder / "files").as_uri())
    model = LinearRegression().fit(ROWS, ROWS)
    examples: tuple[dict[str, Any], ...] = ({"input_example": ROWS}, {})
    with mlflow.start_run(experiment_id=experiment):
        for more in examples:
            mlflow.sklearn.log_model(
                model, name="m", registered_model_name="m", pip_requirements=[],
                serialization_format="cloudpickle", signature=SIGNATURE, **more,
            )  # fmt: skip


def check(version: str, requests: str | None = None) -> Check:
    signature: Signature = signature_from_mlflow(SIGNATURE)
    route = Route(
        version, Track.CANARY, 0, f"m--v{version}", RouteState.READY, 1, signature, "sklearn"
    )
    routes = ModelRoutes((route,), Batching(None, None, None, 10), deadline_s=1.0)
    return Check("m", version, requests, routes)


def test_the_input_example_of_a_version() -> None:
    (held,) = kept(check("1"), signature_from_mlflow(SIGNATURE))

    assert held.request.inputs["input-0"].tolist() == ROWS.tolist()


def test_a_version_without_one() -> None:
    with pytest.raises(
        ConfigError, match=r"no input example of version 2, and no file of requests$"
    ):
        kept(check("2"), signature_from_mlflow(SIGNATURE))


def test_what_cannot_be_read_is_said_and_not_raised(tmp_path: Path) -> None:
    missing = str(tmp_path / "kept.jsonl")

    found = Checks().run(check("1", missing))

    assert found == Checked(0, 0, f"[Errno 2] No such file or directory: {missing!r}")
    unhosted = Check("m", "3", missing, check("1").routes)
    assert Checks().run(unhosted) == Checked(0, 0, "version 3 is not hosted")
