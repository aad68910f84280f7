"""What the controller reads of versions, from a registry of MLflow's."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models.model import Model

from deployments.controller.registry import Registry
from deployments.schema import ModelSpec
from tests.stores import new_mlflow

LONG_S = 60.0
SPECS = {"wine": ModelSpec(traffic={"champion": 90, "challenger": 10})}


class Echo(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
    def predict(self, context: object, model_input: list[str]) -> list[str]:
        return model_input


@pytest.fixture
def address(tmp_path: Path) -> str:
    return new_mlflow(tmp_path)


@pytest.fixture
def client(address: str) -> MlflowClient:
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    for _ in range(2):
        mlflow.pyfunc.log_model(
            name="model", python_model=Echo(), registered_model_name="wine", pip_requirements=[]
        )
    client = MlflowClient(address, address)
    client.set_registered_model_alias("wine", "champion", "1")
    return client


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Event]]:
    """Holds up whoever reads a version, until its event is set."""
    events: dict[str, Event] = {}
    load = Model.load

    def slow(uri: str) -> Model:
        for version, event in events.items():
            if uri.endswith(f"/{version}"):
                assert event.wait(LONG_S)
        return load(uri)

    monkeypatch.setattr(Model, "load", slow)
    yield lambda version: events.setdefault(version, Event())
    for event in events.values():
        event.set()


def test_a_version_that_takes_long_to_read_holds_nobody_up(
    address: str, client: MlflowClient, held: Callable[[str], Event]
) -> None:
    registry = Registry(address, address)
    first = registry.look(SPECS)
    arrives = held("2")
    client.set_registered_model_alias("wine", "challenger", "2")

    early = registry.look(SPECS, wait_s=0.05)
    again = registry.look(SPECS, wait_s=0.0)
    arrives.set()
    late = registry.look(SPECS)

    assert first.complete
    assert set(first.versions) == {("wine", "1")}
    for view in (early, again):
        assert not view.complete
        assert view.aliases["wine"] == {"champion": "1", "challenger": "2"}
        assert view.versions == first.versions
    assert late.complete
    assert set(late.versions) == {("wine", "1"), ("wine", "2")}


def test_what_could_not_be_read_is_read_again(
    address: str, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(address, address)
    with monkeypatch.context() as broken:
        torn = MlflowException("the store is away")
        broken.setattr(Model, "load", lambda _uri: (_ for _ in ()).throw(torn))
        with pytest.raises(MlflowException, match="the store is away"):
            registry.look(SPECS)

    assert set(registry.look(SPECS, wait_s=LONG_S).versions) == {("wine", "1")}


def test_a_version_that_is_not_registered_is_left_out(address: str, client: MlflowClient) -> None:
    client.set_registered_model_alias("wine", "champion", "1")

    view = Registry(address, address).look(SPECS, more=[("wine", "7"), ("nobody", "1")])

    assert view.complete
    assert set(view.versions) == {("wine", "1")}
