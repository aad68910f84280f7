"""The control API over a real store, with a registry that the test writes."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from msgspec.structs import replace

from deployments.controller.api import MAX_BODY_BYTES, is_loopback, make_api
from deployments.controller.control import Control
from deployments.controller.hosted import HostedModels
from deployments.errors import DependencyError
from deployments.schema import ModelSpec
from deployments.store.store import FleetStore
from deployments.traffic.differences import Difference, Report, Sampled, encode_sampled
from deployments.traffic.table import RoutingTable, Track, TransportKind
from tests.deployments.controller.registries import FakeRegistry
from tests.fakes import make_route, make_table
from tests.fleetstores import migrated
from tests.standin import Standin

PATH = "/api/v1/deployments"

FLEET, CONTROL = Standin(), Standin()


@functools.cache
def client() -> TestClient:
    """Asks the fixture at hand; FastAPI takes as long as ten tests to build the application."""
    control: Any = CONTROL

    async def ready() -> None:
        await FLEET.ready()

    return TestClient(make_api(control, ready, only_loopback=True), base_url="http://127.0.0.1")


class Fixture:
    """A controller's insides without a cluster."""

    def __init__(self, store: FleetStore) -> None:
        self.store = store
        self.registry = FakeRegistry()
        self.hosted = HostedModels(store)
        self.hosted.configure({"churn": ModelSpec(num_replicas=2)})
        self.table: RoutingTable = make_table()
        self.woken = 0
        self.trouble: DependencyError | None = None
        self.refusal = ""
        registry: Any = self.registry
        self.control = Control(
            self.hosted,
            registry,
            "sqlite:///mlflow.db",
            lambda: self.table,
            self._wake,
            refusal=lambda: self.refusal,
        )

    @property
    def client(self) -> TestClient:
        FLEET.target = self
        CONTROL.target = self.control
        return client()

    def _wake(self) -> None:
        self.woken += 1

    async def ready(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    def ask(self, method: str, path: str = PATH, **options: Any) -> tuple[int, Any]:
        answer = self.client.request(method, path, **options)
        return answer.status_code, answer.json() if answer.content else None


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fixture]:
    store = FleetStore(migrated(tmp_path / "fleet.db"), "one")
    yield Fixture(store)
    store.close()


def test_the_page_says_what_each_path_does(fleet: Fixture) -> None:
    _, description = fleet.ask("GET", "/openapi.json")

    operations = [each for path in description["paths"].values() for each in path.values()]
    assert {each["summary"] for each in operations} >= {"Every hosted model with its versions"}
    assert {tag for each in operations for tag in each["tags"]} == {"deployments"}


def test_a_refused_config_is_shown_with_its_faults(fleet: Fixture) -> None:
    assert fleet.ask("GET", "/api/v1/fleet")[1]["config_refusal"] == ""

    fleet.refusal = "user_config.model: unknown key"

    assert fleet.ask("GET", "/api/v1/fleet")[1]["config_refusal"] == fleet.refusal


def test_a_model_of_the_config_with_its_versions(fleet: Fixture) -> None:
    route = make_route(replicas=2)
    fleet.table = make_table(churn=(route,))

    status, body = fleet.ask("GET", f"{PATH}/churn")

    assert status == 200
    assert (body["name"], body["origin"], body["ready"]) == ("churn", "config", True)
    assert (body["spec"]["num_replicas"], body["spec"]["max_batch_size"]) == (2, None)
    assert body["versions"] == [
        {
            "version": "1", "track": "stable", "weight": 100, "mirror": 0, "state": "READY",
            "reason": "",
            "application": "churn--v1", "replicas": 2, "runtime": route.runtime,
            "transport": "handle", "transport_reason": "",
        }
    ]  # fmt: skip
    assert fleet.ask("GET") == (200, {"deployments": [body]})


def test_why_a_transport_was_picked_is_shown(fleet: Fixture) -> None:
    route = replace(make_route(), transport=TransportKind.INLINE, transport_reason="small")
    fleet.table = make_table(churn=(route,))

    version = fleet.ask("GET", f"{PATH}/churn")[1]["versions"][0]

    assert (version["transport"], version["transport_reason"]) == ("inline", "small")


def test_a_model_is_added_changed_and_removed(fleet: Fixture) -> None:
    status, body = fleet.ask("POST", json={"name": "wine", "spec": {"num_replicas": 3}})
    assert (status, body["origin"], body["ready"]) == (201, "api", False)
    assert fleet.hosted.specs["wine"] == ModelSpec(num_replicas=3)

    status, body = fleet.ask("PUT", f"{PATH}/wine", json={"spec": {"max_batch_size": 8}})
    assert (status, body["spec"]["max_batch_size"]) == (200, 8)
    assert body["spec"]["num_replicas"] is None

    assert fleet.ask("DELETE", f"{PATH}/wine") == (204, None)
    assert fleet.ask("GET", f"{PATH}/wine")[0] == 404
    assert fleet.woken == 3


def test_what_was_added_survives_a_restart_and_another_config(fleet: Fixture) -> None:
    fleet.ask("POST", json={"name": "wine", "spec": {"num_replicas": 3}})

    again = Fixture(fleet.store)
    again.hosted.read()
    again.hosted.configure({"digits": ModelSpec()})

    assert again.hosted.specs == {"wine": ModelSpec(num_replicas=3), "digits": ModelSpec()}


def test_the_config_wins_while_it_lists_a_model(fleet: Fixture) -> None:
    fleet.ask("POST", json={"name": "wine", "spec": {"num_replicas": 3}})

    fleet.hosted.configure({"wine": ModelSpec(num_replicas=5)})
    body = fleet.ask("GET", f"{PATH}/wine")[1]

    assert (body["origin"], body["spec"]["num_replicas"]) == ("config", 5)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_a_model_of_the_config_is_not_the_api_s(fleet: Fixture, method: str) -> None:
    options: dict[str, Any] = {"json": {"spec": {}}} if method == "PUT" else {}

    status, body = fleet.ask(method, f"{PATH}/churn", **options)

    assert (status, body) == (
        409, {"error": "model 'churn' is in the fleet's config, change it there"},
    )  # fmt: skip
    assert fleet.woken == 0


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        pytest.param({"name": "churn"}, 409, "hosted already, by config", id="hosted"),
        pytest.param({"name": "nobody"}, 404, "not in the model registry at sqlite", id="unknown"),
        pytest.param({"name": "a b"}, 400, "'a b' cannot be served", id="name"),
        pytest.param({"name": "wine", "spec": {"num_replica": 2}}, 400, "num_replicas", id="typo"),
        pytest.param(
            {"name": "wine", "spec": {"num_replicas": 0}}, 400, "spec.num_replicas: 0", id="value"
        ),
        pytest.param(
            {"name": "wine", "spec": {"traffic": {"9": 100}}}, 400, "version '9'", id="version"
        ),
        pytest.param({"spec": {}}, 400, "name: is missing", id="no-name"),
        pytest.param(
            {"name": "wine", "x": 1}, 400, "body: unknown key 'x', allowed: name, spec", id="key"
        ),
        pytest.param(
            {"name": "wine", "spec": {"rollout": {"duration_s": 5}}}, 400,
            "rollout.duration_s: 5: is for 'ab'", id="setting-of-another-strategy",
        ),
        pytest.param(
            {"name": "wine", "spec": {"rollout": {
                "analysis": {"signals": {"wrong": {"kind": "mistakes"}}}}}}, 400,
            "spec.feedback: null: should be set", id="mistakes-without-feedback",
        ),
        pytest.param({"name": "wine", "spec": 5}, 400, "spec: 5: should be a mapping", id="5"),
        pytest.param([], 400, "body: []: should be a mapping of keys to values", id="a-list"),
    ],
)  # fmt: skip
def test_what_cannot_be_hosted_is_refused(
    fleet: Fixture, body: Any, status: int, words: str
) -> None:
    found, answer = fleet.ask("POST", json=body)

    assert (found, list(answer)) == (status, ["error"])
    assert words in answer["error"]
    assert fleet.store.load_hosted() == {}


def test_a_registry_that_is_away(fleet: Fixture) -> None:
    fleet.registry.trouble = ConnectionRefusedError("nobody there\nmore")

    answer = fleet.client.post(PATH, json={"name": "wine"})

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {
        "error": "the model registry cannot be reached: ConnectionRefusedError: nobody there"
    }


def test_before_the_store_was_read_nobody_knows_what_is_hosted(fleet: Fixture) -> None:
    fleet.trouble = DependencyError("fleet store", "OperationalError: no")

    answer = fleet.client.get(PATH)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


def test_a_body_that_is_not_called_json_is_told_what_is_missing(fleet: Fixture) -> None:
    answer = fleet.client.post(PATH, content=b'{"name": "wine"}')

    assert answer.status_code == 400
    assert answer.json() == {
        "error": "body: is read with the header Content-Type: application/json"
    }


@pytest.mark.parametrize(
    ("content", "line"),
    [
        pytest.param(
            b'{"name": }', "not valid JSON: character 9: Expecting value", id="a-value-left-out"
        ),
        pytest.param(b"[" * 5000 + b"]" * 5000, "nested too deeply", id="nested"),
        pytest.param(b'{"name": "\xff"}', "is not UTF-8 text", id="latin-1"),
        pytest.param(b"", "is missing", id="empty"),
    ],
)
def test_a_body_that_cannot_be_read_is_told_why(fleet: Fixture, content: bytes, line: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = fleet.client.post(PATH, content=content, headers=headers)

    assert (answer.status_code, answer.json()) == (400, {"error": f"body: {line}"})


def test_a_body_that_nobody_means_seriously(fleet: Fixture) -> None:
    answer = fleet.client.post(PATH, content=b" " * (MAX_BODY_BYTES + 1))

    assert answer.status_code == 413


@pytest.mark.parametrize(("path", "status"), [("/api/v1/x", 404), ("/", 404)])
def test_unknown_paths_answer_in_the_same_form(fleet: Fixture, path: str, status: int) -> None:
    found, body = fleet.ask("GET", path)

    assert (found, list(body)) == (status, ["error"])


def test_a_browser_that_was_led_here_by_another_name_is_refused(fleet: Fixture) -> None:
    answer = fleet.client.get(PATH, headers={"host": "attacker.example"})

    assert answer.status_code == 400


def test_the_page_needs_no_internet(fleet: Fixture) -> None:
    page = fleet.client.get("/docs")

    assert page.status_code == 200
    assert "http://" not in page.text
    assert "https://" not in page.text
    script = next(part for part in page.text.split('"') if part.endswith("swagger-ui-bundle.js"))
    assert len(fleet.client.get(script).content) > 100_000


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("10.0.0.1", False), ("::", False), ("node-1", False)],
)  # fmt: skip
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


DIFFERENCES = f"{PATH}/churn/versions/2/differences"


def test_differences_of_a_version_that_mirrors(fleet: Fixture) -> None:
    shadow = make_route(version="2", weight=0, track=Track.SHADOW, mirror=100)
    fleet.table = make_table(churn=(shadow, make_route()))
    shown: dict[str, list[Any]] = {"x": [["nan", 1.5, None, "a"]]}
    found = Difference("r1", "anna", 5.0, 3, 1, None, shown, shown, shown)
    body = encode_sampled(Sampled(1, (found,)))
    fleet.control.differences.hear("gateway-1", [Report("churn--v2", 1, body)])

    status, answer = fleet.ask("GET", DIFFERENCES)

    assert status == 200
    assert (answer["model"], answer["version"], answer["requests"]) == ("churn", "2", 0)
    assert answer["samples"] == [
        {
            "request_id": "r1", "routing_key": "anna", "at_s": 5.0, "rows": 3,
            "differing_rows": 1, "largest": None, "inputs": shown, "stable": shown,
            "mirrored": shown,
        }
    ]  # fmt: skip
    assert fleet.ask("GET", f"{PATH}/churn")[1]["versions"][0]["track"] == "shadow"


def test_differences_can_be_looked_at_once_the_version_is_gone(fleet: Fixture) -> None:
    shown: dict[str, list[Any]] = {"x": [1]}
    found = Difference("r1", "r1", 5.0, 1, 1, 0.5, shown, shown, shown)
    body = encode_sampled(Sampled(1, (found,)))
    fleet.control.differences.hear("gateway-1", [Report("churn--v2", 1, body)])

    assert fleet.ask("GET", DIFFERENCES)[0] == 200


@pytest.mark.parametrize(
    ("path", "said"),
    [
        pytest.param(DIFFERENCES, "model 'churn' has no version '2', hosted: 1", id="version"),
        pytest.param(
            f"{PATH}/wine/versions/1/differences", "model 'wine' is not hosted", id="model"
        ),
    ],
)
def test_there_are_no_differences_of_what_is_not_hosted(
    fleet: Fixture, path: str, said: str
) -> None:
    fleet.table = make_table(churn=(make_route(),))

    assert fleet.ask("GET", path) == (404, {"error": said})
