"""A fleet on a real cluster, seen from outside: predictions, releases, faults."""

import json
import socket
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from urllib.error import HTTPError

import mlflow
import numpy as np
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.hosting import (
    SERVED,
    Fleet,
    eventually,
    in_parallel,
    infer_body,
    kill,
    replica_pids,
)

pytestmark = pytest.mark.ray


@pytest.fixture
def registry(fleet: Fleet) -> mlflow.MlflowClient:
    return fleet.cluster.registry


@pytest.mark.parametrize("model", SERVED)
def test_answers_over_http_equal_the_offline_ones(fleet: Fleet, model: str) -> None:
    hosted = fleet.models[model]

    status, answer = fleet.infer(model, hosted.holdout_rows)

    output = answer["outputs"][0]
    assert (status, answer["model_version"]) == (200, "1")
    got = np.asarray(output["data"]).reshape(output["shape"])
    np.testing.assert_allclose(got, hosted.expected, rtol=1e-5)


def test_every_protocol_names_the_version(fleet: Fleet) -> None:
    row = fleet.models["breast-cancer"].holdout_rows[:1]
    body = json.dumps({"inputs": row.tolist()}).encode()
    headers = {"Content-Type": "application/json"}

    status, answered, content = fleet.call("/models/breast-cancer/invocations", body, headers)

    assert (status, json.loads(content)) == (200, {"predictions": [0]})
    assert answered["x-model-version"] == "1"


def test_a_data_frame_model_takes_columns(fleet: Fleet) -> None:
    records = {"dataframe_records": [{"age": 30.0, "smoker": 0.0}, {"smoker": 1.0, "age": 60.0}]}
    body = json.dumps(records).encode()

    status, _, content = fleet.call(
        "/models/columns/invocations", body, {"Content-Type": "application/json"}
    )

    assert (status, json.loads(content)) == (200, {"predictions": [0, 1]})


def test_each_version_is_an_application_with_a_speaking_name(fleet: Fleet) -> None:
    text = fleet.cluster.run("serve", "status", "-a", fleet.cluster.dashboard)
    applications = yaml.safe_load(text)["applications"]

    assert {"fleet", "breast-cancer--v1", "digits--v1", "wine--v1"} <= set(applications)
    assert set(applications["fleet"]["deployments"]) == {"Controller", "Gateway"}


def test_serve_looks_at_every_replica_often(fleet: Fleet) -> None:
    """By that alone it learns that one was killed, whose requests wait meanwhile."""
    periods_s = {
        f"{application} {name}": deployment["deployment_config"]["health_check_period_s"]
        for application, details in fleet.status().items()
        for name, deployment in details["deployments"].items()
    }

    assert {"fleet Gateway", "fleet Controller", "breast-cancer--v1 Predictor"} <= periods_s.keys()
    assert [name for name, period_s in periods_s.items() if period_s > 2.0] == []


def test_rays_api_asks_for_its_token(fleet: Fleet) -> None:
    with pytest.raises(HTTPError) as refused:
        urllib.request.urlopen(f"{fleet.cluster.dashboard}/api/serve/applications/", timeout=30)

    assert refused.value.code == 401


def test_a_model_that_cannot_be_loaded_holds_nothing_up(fleet: Fleet) -> None:
    entry = eventually(
        "the load failure", lambda: failed(fleet.index()[("broken", "1")]), within_s=90
    )

    assert entry["reason"] == "RuntimeError: weights file is torn"
    assert fleet.infer("broken", np.zeros((1, 1)))[0] == 503
    eventually(
        "its application is deleted",
        lambda: fleet.status().get("broken--v1", {}).get("status") != "DEPLOY_FAILED",
    )
    # The next tests go on without it: every new attempt costs ten seconds of a core.
    del fleet.user_config["broken"]
    fleet.deploy(fleet.user_config)
    eventually("it is forgotten", lambda: ("broken", "1") not in fleet.index())


@pytest.mark.parametrize(
    ("asked", "answers"),
    [
        pytest.param(1001.5, lambda interval_s: interval_s < 0.001, id="short-turns-for-threads"),
        pytest.param(1002.5, lambda filters: filters == 1, id="one-filter-of-warnings"),
        pytest.param(1003.5, lambda objects: objects > 0, id="what-stays-is-not-collected"),
    ],
)
def test_a_replica_asks_little_of_its_interpreter(
    fleet: Fleet, asked: float, answers: Callable[[float], bool]
) -> None:
    status, body = fleet.infer("moody", np.asarray([[asked]]))

    (found,) = body["outputs"][0]["data"]
    assert status == 200
    assert answers(found), found


def test_what_the_model_raises_is_the_versions_failure(fleet: Fleet) -> None:
    before = errors_of(fleet, "moody", "version")

    status, answer = fleet.infer("moody", np.asarray([[-1.0]]))
    nan_status, _ = fleet.infer("moody", np.asarray([[99.0]]))
    refused, _ = fleet.infer("moody", np.zeros((1, 7)))

    assert (status, nan_status, refused) == (500, 200, 400)
    assert answer == {
        "error": "model 'moody' version 1 failed: ValueError: negative numbers are beyond me"
    }
    assert "moody version 1 raised" in replica_log(fleet, "moody--v1_Predictor")
    # The other gateway learns of it with the next poll, within a second.
    eventually("the count", lambda: errors_of(fleet, "moody", "version") == before + 2)


def test_one_bad_row_fails_only_its_own_request(fleet: Fleet) -> None:
    statuses: dict[int, int] = {}

    def send(number: int) -> None:
        value = -1.0 if number == 5 else float(number)
        statuses[number] = fleet.infer("moody", np.asarray([[value]]))[0]

    in_parallel([partial(send, number) for number in range(24)])

    assert statuses == {number: 500 if number == 5 else 200 for number in range(24)}


def test_clients_that_leave_take_no_others_along(fleet: Fleet) -> None:
    row = fleet.models["breast-cancer"].holdout_rows[:1]
    body = infer_body(row)
    host, port = fleet.url.removeprefix("http://").split(":")
    head = f"POST /v2/models/breast-cancer/infer HTTP/1.1\r\nHost: {host}\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    statuses: Counter[int] = Counter()

    def leave() -> None:
        for _ in range(40):
            clients = [socket.create_connection((host, int(port))) for _ in range(25)]
            for client in clients:
                client.sendall(request)
            for client in clients:
                client.close()

    def stay() -> None:
        for _ in range(50):
            statuses[fleet.infer("breast-cancer", row)[0]] += 1

    in_parallel([leave, *[stay] * 4])

    assert statuses == {200: 200}


def test_a_request_larger_than_grpc_s_default_is_answered(fleet: Fleet) -> None:
    rows = np.ones((700_000, 1))  # 5.6 MB of numbers, there and back

    status, answer = fleet.infer("moody", rows)

    assert status == 200
    assert answer["outputs"][0]["shape"] == [700_000, 1]


@pytest.fixture(scope="module")
def challenger(fleet: Fleet) -> Iterator[Mapping[tuple[str, int], float]]:
    """Version 2 of a model beside version 1; gives the replicas that were there before."""
    registry, before = fleet.cluster.registry, replica_pids(fleet)
    registry.set_registered_model_alias("breast-cancer", "challenger", "2")
    eventually("the challenger", lambda: ready(fleet, "breast-cancer", "2"))
    yield before
    registry.delete_registered_model_alias("breast-cancer", "challenger")
    eventually("no challenger", lambda: ("breast-cancer", "2") not in fleet.index())


def test_a_challenger_gets_its_share_and_keys_stick(
    fleet: Fleet, challenger: Mapping[tuple[str, int], float]
) -> None:
    counts = Counter(version_for(fleet, f"user-{number}") for number in range(1000))
    again = [version_for(fleet, f"user-{number}") for number in range(50)]

    # Binomial(1000, 0.1) has a standard deviation of 9.5; the keys are fixed, so this is too.
    assert 60 <= counts["2"] <= 140
    assert counts["1"] == 1000 - counts["2"]
    assert again == [version_for(fleet, f"user-{number}") for number in range(50)]
    assert challenger.items() <= replica_pids(fleet).items()


@pytest.mark.usefixtures("challenger")
def test_changing_a_weight_or_adding_a_model_restarts_nothing(
    fleet: Fleet, registry: mlflow.MlflowClient
) -> None:
    before = replica_pids(fleet)
    registry.copy_model_version("models:/moody/1", "moody-too")
    registry.set_registered_model_alias("moody-too", "champion", "1")

    models = {**fleet.user_config, "moody-too": {}}
    models["breast-cancer"] = {"traffic": {"champion": 0, "challenger": 100}, "transport": "handle"}
    fleet.deploy(models)

    eventually("the new model", lambda: fleet.infer("moody-too", np.ones((1, 1)))[0] == 200)
    eventually("the new weight", lambda: version_for(fleet, "anyone") == "2")
    assert before.items() <= replica_pids(fleet).items()
    fleet.deploy(fleet.user_config)
    eventually("the old weight", lambda: version_for(fleet, "user-0") == "1")


def test_a_killed_replica_loses_no_request(fleet: Fleet) -> None:
    row = fleet.models["digits"].holdout_rows[:1]
    statuses: Counter[int] = Counter()
    killed = threading.Event()

    def send() -> None:
        for _ in range(60):
            statuses[fleet.infer("digits", row)[0]] += 1
            if sum(statuses.values()) > 40 and not killed.is_set():
                killed.set()
                kill(replica_pids(fleet), "digits--v1#Predictor")

    in_parallel([send] * 4)

    assert statuses == {200: 240}


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/wine", "/metrics"])
def test_a_page_can_be_asked_for_its_head_alone(fleet: Fleet, path: str) -> None:
    request = urllib.request.Request(fleet.url + path, method="HEAD")

    with urllib.request.urlopen(request, timeout=60) as answer:
        assert (answer.status, answer.read()) == (200, b"")
        assert answer.headers["content-type"]


@pytest.mark.thorough
def test_predictions_and_counters_survive_the_controller(
    fleet: Fleet, registry: mlflow.MlflowClient
) -> None:
    # What is hosted may lose its version meanwhile, which must not stop the next controller.
    registry.delete_registered_model_alias("columns", "champion")
    row = fleet.models["breast-cancer"].holdout_rows[:1]
    assert fleet.infer("breast-cancer", row)[0] == 200
    watched = Watched(fleet)
    watched.look()
    dead = kill(replica_pids(fleet), "fleet#Controller")

    for _ in range(100):
        assert fleet.infer("breast-cancer", row)[0] == 200
        watched.look()

    eventually("a new controller", lambda: new_controller(fleet, dead))
    for _ in range(30):
        assert fleet.infer("breast-cancer", row)[0] == 200
        watched.look()
    assert watched.backwards == []
    registry.set_registered_model_alias("columns", "champion", "1")
    eventually("the version is back", lambda: ready(fleet, "columns", "1"))


@pytest.mark.thorough
def test_the_champion_moves_without_a_gap(fleet: Fleet, registry: mlflow.MlflowClient) -> None:
    row = fleet.models["breast-cancer"].holdout_rows[:1]
    registry.delete_registered_model_alias("breast-cancer", "challenger")
    eventually("no challenger", lambda: ("breast-cancer", "2") not in fleet.index())
    registry.set_registered_model_alias("breast-cancer", "champion", "2")

    statuses = set()

    def moved() -> bool:
        status, answer = fleet.infer("breast-cancer", row)
        statuses.add(status)
        return bool(answer.get("model_version") == "2")

    eventually("version 2", moved)
    assert statuses == {200}
    eventually("version 1 leaves", lambda: "breast-cancer--v1" not in fleet.status())
    registry.set_registered_model_alias("breast-cancer", "champion", "1")
    eventually("version 1 is back", lambda: version_for(fleet, "anyone") == "1")


@pytest.mark.thorough
def test_serve_deploy_reports_bad_args_as_the_status_message(fleet: Fleet) -> None:
    row = fleet.models["wine"].holdout_rows[:1]
    line = "args: unknown key 'request_deadline' (did you mean 'request_deadline_s'?)"

    fleet.deploy({"breast-cancer": {}}, {"request_deadline": 8})
    eventually(line, lambda: line in fleet.status_messages())
    assert fleet.infer("wine", row)[0] == 200

    fleet.deploy(fleet.user_config)
    eventually("the fleet is well", lambda: fleet.status()["fleet"]["status"] == "RUNNING")


def failed(entry: dict[str, Any]) -> dict[str, Any] | None:
    return entry if entry["state"] == "UNAVAILABLE" else None


def ready(fleet: Fleet, model: str, version: str) -> bool:
    return bool(fleet.index().get((model, version), {}).get("state") == "READY")


def version_for(fleet: Fleet, key: str) -> str:
    row = fleet.models["breast-cancer"].holdout_rows[:1]
    status, answer = fleet.infer("breast-cancer", row, {"X-Routing-Key": key})
    assert status == 200, answer
    return str(answer["model_version"])


def replica_log(fleet: Fleet, name: str) -> str:
    """What the replicas of one deployment have written to files of their own so far."""
    folder = fleet.ray_tmpdir / "ray" / "session_latest" / "logs" / "serve"
    return "".join(path.read_text() for path in folder.glob(f"replica_{name}_*.log"))


def new_controller(fleet: Fleet, dead: int) -> bool:
    return any(name == "fleet#Controller" and pid != dead for name, pid in replica_pids(fleet))


def samples(fleet: Fleet) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    _, _, body = fleet.call("/metrics")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
        if family.type != "gauge"
    }


def errors_of(fleet: Fleet, model: str, origin: str) -> float:
    return sum(
        value
        for (name, labels), value in samples(fleet).items()
        if name == "rayfleet_errors_total" and {("model", model), ("origin", origin)} <= set(labels)
    )


class Watched:
    """Every counter of the fleet, and those that ever ran backwards."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._highest: dict[Any, float] = {}
        self.backwards: list[str] = []

    def look(self) -> None:
        for series, value in samples(self._fleet).items():
            highest = self._highest.setdefault(series, value)
            if value < highest:
                self.backwards.append(f"{series}: {highest} -> {value}")
            self._highest[series] = max(highest, value)
