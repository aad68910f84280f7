"""A model's way into MLflow, from the process that fitted it or by way of this one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from tuning.fitted import Fitted
from tuning.modelstore import Logged, ModelStore

SERVER = ModelStore("http://mlflow:5000", "mlflow-artifacts:/1/run/artifacts", "run")
FILE = ModelStore("sqlite:////home/me/mlflow.db", "file:///home/me/artifacts/1/run", "run")


@dataclass
class Elsewhere:
    """Who fitted the model, and may not reach the store."""

    trouble: Exception | None = None
    asked: list[str] = field(default_factory=list)

    def call(self, method: str, *args: Any) -> Any:
        self.asked.append(method)
        if method == "model":
            return "the model"
        assert method == "log"
        if self.trouble is not None:
            raise self.trouble
        return Logged("models:/m-elsewhere", "m-elsewhere")

    def close(self) -> None:
        pass


@pytest.fixture
def logged_here(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What this process has logged."""
    logged = []

    def log(_: ModelStore, flavor: Any, model: Any, arguments: Mapping[str, Any]) -> Logged:
        logged.append((flavor, model, arguments))
        return Logged("models:/m-here", "m-here")

    monkeypatch.setattr(ModelStore, "log", log)
    return logged


def log(team: Elsewhere, store: ModelStore) -> tuple[Logged, list[str]]:
    said: list[str] = []
    flavor: Any = "sklearn"
    logged = Fitted(team, is_here=False).log(store, flavor, {"name": "m"}, said.append)
    return logged, said


@pytest.mark.parametrize(
    ("tracking", "artifacts", "anywhere"),
    [
        ("http://mlflow:5000", "mlflow-artifacts:/1/run", True),
        ("https://mlflow", "s3://models/1/run", True),
        ("postgresql://db/mlflow", "s3://models/1/run", True),
        ("postgresql://db/mlflow", "file:///models/1/run", False),
        ("http://mlflow:5000", "/models/1/run", False),
        ("sqlite:///mlflow.db", "s3://models/1/run", False),
    ],
)
def test_a_store_is_anywhere_if_its_addresses_mean_one_place(
    tracking: str, artifacts: str, anywhere: bool
) -> None:
    assert ModelStore(tracking, artifacts, "run").is_anywhere is anywhere


def test_a_model_is_logged_where_it_was_fitted(logged_here: list[Any]) -> None:
    team = Elsewhere()

    logged, said = log(team, SERVER)

    assert (logged.model_id, team.asked, logged_here, said) == ("m-elsewhere", ["log"], [], [])


def test_a_store_of_this_machine_s_gets_it_from_here(logged_here: list[Any]) -> None:
    team = Elsewhere()

    logged, said = log(team, FILE)

    assert (logged.model_id, team.asked) == ("m-here", ["model"])
    assert logged_here == [("sklearn", "the model", {"name": "m"})]
    assert said == ["fetching the model, to upload it from here"]


def test_who_cannot_reach_the_store_hands_the_model_over(logged_here: list[Any]) -> None:
    team = Elsewhere(MlflowException("401: whoever that is\nat length"))

    logged, said = log(team, SERVER)

    assert (logged.model_id, team.asked) == ("m-here", ["log", "model"])
    assert said == [
        "the process that fitted the model cannot upload it: 401: whoever that is",
        "fetching the model, to upload it from here",
    ]


def test_a_model_that_cannot_be_written_is_not_fetched(logged_here: list[Any]) -> None:
    team = Elsewhere(TypeError("cannot pickle a lock"))

    with pytest.raises(TypeError, match="a lock"):
        log(team, SERVER)

    assert (team.asked, logged_here) == (["log"], [])
