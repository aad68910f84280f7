"""Models that come and go while the fleet runs: by REST, by MLflow's commands, by Triton's."""

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from mlflow import set_tracking_uri
from mlflow.cli import cli as mlflow
from mlflow.deployments import get_deploy_client
from mlflow.exceptions import MlflowException

from tests.integration.hosting import (
    BIN,
    REPOSITORY,
    Fleet,
    eventually,
    port_of,
    replica_pids,
)

CLIENTS = REPOSITORY / ".venvs" / "clients" / "bin" / "python"
API = "/api/v1/deployments"
FRAME = pd.DataFrame({"age": [30.0, 60.0], "smoker": [0.0, 1.0]})

pytestmark = pytest.mark.ray


@pytest.fixture(autouse=True, scope="module")
def no_replica_left(fleet: Fleet) -> Iterator[None]:
    """A replica outlives its model for a moment, in which later tests would count it."""
    yield
    eventually(
        "the spare model's replicas are gone",
        lambda: not any(name.startswith("spare--") for name, _ in replica_pids(fleet)),
    )


@pytest.fixture
def client(fleet: Fleet) -> Iterator[Any]:
    """MLflow's deployment client; takes along what a test leaves."""
    target = f"rayfleet://127.0.0.1:{port_of(fleet.control_url)}"
    client = get_deploy_client(target)  # type: ignore[no-untyped-call]
    yield client
    client.delete_deployment("spare")
    eventually("the spare model is gone", lambda: fleet.call("/v2/models/spare")[0] == 404)


def test_what_is_hosted_is_shown_with_its_transport(fleet: Fleet) -> None:
    status, _, body = fleet.call(API, door=fleet.control_url)

    shown = {each["name"]: each for each in json.loads(body)["deployments"]}
    assert status == 200
    assert set(fleet.user_config) <= set(shown)
    assert {each["origin"] for name, each in shown.items() if name in fleet.user_config} == {
        "config"
    }
    (version,) = shown["digits"]["versions"]
    assert (version["state"], version["transport"]) == ("READY", "direct")
    assert version["transport_reason"] == "the model's `transport` setting"


@pytest.mark.thorough
def test_a_model_is_hosted_changed_and_removed_through_mlflow(fleet: Fleet, client: Any) -> None:
    created = client.create_deployment("spare", "models:/spare/1", config={"transport": "auto"})
    assert (created["name"], created["origin"], created["ready"]) == ("spare", "api", True)
    assert created["versions"][0]["transport"] == "inline"
    assert "light enough" in created["versions"][0]["transport_reason"]

    predicted = client.predict("spare", FRAME)
    assert list(predicted.get_predictions().iloc[:, 0]) == [0, 1]

    fleet.deploy(fleet.user_config)
    eventually("the config was applied", lambda: fleet.call("/v2/health/ready")[0] == 200)
    assert client.get_deployment("spare")["ready"]

    updated = client.update_deployment("spare", config={"max_batch_size": "8"})
    assert (updated["spec"]["max_batch_size"], updated["spec"]["transport"]) == (8, "auto")

    registry = fleet.cluster.registry
    # The source names a logged model, which MLflow looks for where its own setting says.
    set_tracking_uri(registry.tracking_uri)
    first = registry.get_model_version("spare", "1")
    source = str(first.source)
    model_id = source.rpartition("/")[2]  # a server's answer does not have it as a field (3.17)
    made = registry.create_model_version("spare", source, first.run_id, model_id=model_id)
    second = str(made.version)
    try:
        updated = client.update_deployment("spare", f"models:/spare/{second}")
        assert [each["version"] for each in updated["versions"]][-1:] == [second]
        assert predicted == client.predict("spare", FRAME)
    finally:
        client.update_deployment("spare", "models:/spare/1")
        registry.delete_model_version("spare", second)

    client.delete_deployment("spare")
    eventually("it is gone", lambda: fleet.call("/v2/models/spare")[0] == 404)
    assert "spare" not in {each["name"] for each in client.list_deployments()}


@pytest.mark.parametrize(
    ("method", "arguments", "words"),
    [
        pytest.param("create_deployment", ("digits", "models:/digits"), "hosted", id="again"),
        pytest.param("create_deployment", ("no", "models:/no"), "registry", id="unregistered"),
        pytest.param("create_deployment", ("a", "runs:/1/m"), "models:/NAME", id="not-a-model"),
        pytest.param("create_deployment", ("a", "models:/b"), "registered model", id="its-name"),
        pytest.param("delete_deployment", ("digits",), "config", id="the-config-s"),
        pytest.param("update_deployment", ("no",), "not hosted", id="not-hosted"),
    ],
)
def test_mlflow_shows_why_not(
    client: Any, method: str, arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(MlflowException, match=words):
        getattr(client, method)(*arguments)


def test_a_model_that_cannot_be_loaded_is_not_left_behind(client: Any) -> None:
    # As keras: the flavor that the registry does not know of this model.
    with pytest.raises(MlflowException, match="cannot run version 1"):
        client.create_deployment("spare", "models:/spare/1", flavor="keras")

    assert "spare" not in {each["name"] for each in client.list_deployments()}


@pytest.mark.thorough
def test_mlflow_s_command_line(fleet: Fleet, tmp_path: Path) -> None:
    target = f"rayfleet://127.0.0.1:{port_of(fleet.control_url)}"

    # The program itself; then its commands as it finds them, in a process that has MLflow already.
    created = subprocess.run(
        [BIN / "mlflow", "deployments", "create", "-t", target, "--name", "spare",
         "-m", "models:/spare@champion", "-C", "num_replicas=1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    listed = CliRunner().invoke(mlflow, ["deployments", "list", "-t", target])
    deleted = CliRunner().invoke(mlflow, ["deployments", "delete", "-t", target, "--name", "spare"])

    assert created.returncode == 0, created.stdout + created.stderr
    assert "spare" in created.stdout
    assert (listed.exit_code, "spare" in listed.output) == (0, True), listed.output
    assert (deleted.exit_code, "deleted" in deleted.output) == (0, True), deleted.output
    eventually("it is gone", lambda: fleet.call("/v2/models/spare")[0] == 404)


def inferences(fleet: Fleet, model: str) -> int:
    (version,) = json.loads(fleet.call(f"/v2/models/{model}/stats")[2])["model_stats"]
    return int(version["inference_count"])


@pytest.mark.thorough
def test_load_and_unload_as_triton_means_them(fleet: Fleet) -> None:
    path = "/v2/repository/models/spare"

    loaded = fleet.call(f"{path}/load", b"")
    row = {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [60.0]}
                      for name in ("age", "smoker")]}  # fmt: skip
    answered = fleet.call("/v2/models/spare/infer", json.dumps(row).encode())
    eventually("the statistics of all gateways", partial(inferences, fleet, "spare"))
    settings = {"parameters": {"config": json.dumps({"max_batch_size": 8})}}
    changed = fleet.call(f"{path}/load", json.dumps(settings).encode())
    shown = json.loads(fleet.call(f"{API}/spare", door=fleet.control_url)[2])
    unloaded = fleet.call(f"{path}/unload", b"")
    gone = fleet.call("/v2/models/spare")
    refused = fleet.call("/v2/repository/models/digits/unload", b"")

    assert [each[0] for each in (loaded, answered, changed, unloaded, gone)] == [
        200, 200, 200, 200, 404,
    ]  # fmt: skip
    assert shown["spec"]["max_batch_size"] == 8
    assert refused[0] == 409
    assert "is in the fleet's config" in json.loads(refused[2])["error"]
