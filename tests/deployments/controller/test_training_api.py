"""Sweeps over the control API, with a real MLflow and jobs that run nothing."""

import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from deployments.controller import training_api
from deployments.controller.api import make_api, problems
from deployments.controller.training_api import training_router
from deployments.training.training import Training
from tests.deployments.training.fake_jobs import FakeJobs
from tests.tuning.sequential import FOREST, home_at, sweep
from tuning.home import Home

pytestmark = pytest.mark.ray

PATH = "/api/v1/training"
SPEC = {"spec": {**FOREST, "name": "trees"}}


class Fixture:
    """The API without a fleet behind it."""

    def __init__(self, home: Home) -> None:
        self.jobs = FakeJobs()
        control: Any = None
        router = training_router(Training(self.jobs, home), problems)
        api = make_api(control, self._ready, None, [router], only_loopback=True)
        self.client = TestClient(api, base_url="http://127.0.0.1")

    async def _ready(self) -> None:
        """The store was read."""

    def ask(self, method: str, path: str = "", **options: Any) -> tuple[int, Any]:
        answer = self.client.request(method, f"{PATH}{path}", **options)
        return answer.status_code, answer.json()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    home = home_at(tmp_path_factory.mktemp("home"))
    sweep(home, "forest", n_trials=2)
    return home


@pytest.fixture
def fleet(home: Home) -> Fixture:
    return Fixture(home)


def test_a_sweep_from_its_submission_to_its_resumption(fleet: Fixture) -> None:
    submitted = fleet.ask("POST", json=SPEC)
    again = fleet.ask("POST", json=SPEC)
    shown = fleet.ask("GET", "/trees")
    logs = fleet.ask("GET", "/trees/logs", params={"lines": 1})
    stopped = fleet.ask("POST", "/trees/stop")
    not_twice = fleet.ask("POST", "/trees/stop")
    resumed = fleet.ask("POST", "/trees/resume")

    assert (submitted[0], submitted[1]["state"]) == (202, "PENDING")
    assert again[0] == 409
    assert "sweep 'trees' is pending as job" in again[1]["error"]
    assert shown[1]["job_id"] == submitted[1]["job_id"]
    assert (logs[0], logs[1]["logs"].count("\n")) == (200, 1)
    assert (stopped[0], stopped[1]["state"]) == (202, "STOPPED")
    assert not_twice[0] == 409
    assert (resumed[0], resumed[1]["state"]) == (202, "PENDING")


def test_sweeps_are_listed_and_compared(fleet: Fixture) -> None:
    status, listed = fleet.ask("GET")
    compared = fleet.ask("GET", "/forest/compare/forest")

    assert status == 200
    assert [(each["name"], each["state"]) for each in listed["sweeps"]] == [("forest", "SUCCEEDED")]
    assert (compared[0], compared[1]["gain"]) == (200, 0.0)
    assert compared[1]["verdict"] == "their best trials are equally good"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("GET", "/nobody", None, 404, "sweep 'nobody' is not known"),
        ("GET", "/no'body", None, 400, "path.name"),
        ("POST", "/nobody/stop", None, 404, "sweep 'nobody' is not known"),
        ("POST", "/nobody/resume", None, 404, "no job and no run keeps its spec"),
        ("GET", "/forest/logs", None, 404, "Ray knows no job of it"),
        ("GET", "/forest/logs?lines=0", None, 400, "query.lines"),
        ("GET", "/forest/compare/nobody", None, 404, "has no run in MLflow"),
        ("POST", "", {"spec": {"name": "x"}}, 400, "spec.n_trials: is missing"),
        ("POST", "", {"spec": {}, "x": 1}, 400, "body: unknown key 'x'"),
    ],
)
def test_what_cannot_be_is_refused(
    fleet: Fixture, method: str, path: str, body: Any, status: int, words: str
) -> None:
    found, answer = fleet.ask(method, path, json=body)

    assert found == status
    assert words in answer["error"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/forest"), ("POST", ""), ("POST", "/forest/stop"),
     ("POST", "/forest/resume"), ("GET", "/forest/logs"), ("GET", "/forest/compare/forest")],
)  # fmt: skip
def test_without_ray_the_answer_is_to_try_again(fleet: Fixture, method: str, path: str) -> None:
    fleet.jobs.away = True

    answer = fleet.client.request(method, f"{PATH}{path}", json=SPEC)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "the Ray job API cannot be reached" in answer.json()["error"]


def test_without_mlflow_the_answer_is_to_try_again(tmp_path: Path) -> None:
    lost = home_at(tmp_path / "home")
    (tmp_path / "home" / "mlflow.db").unlink()
    (tmp_path / "home").rmdir()

    answer = Fixture(lost).client.get(PATH)

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "the MLflow tracking server cannot be reached" in answer.json()["error"]


def test_whoever_does_not_answer_is_not_waited_for(
    fleet: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_api, "ANSWER_S", 0.05)
    monkeypatch.setattr(fleet.jobs, "all", lambda: time.sleep(0.5))

    answer = fleet.client.get(PATH)

    assert answer.status_code == 503
    assert "no answer within 0.05 s" in answer.json()["error"]
