"""MLflow's own deliveries are heard, and nobody else's."""

import time
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from mlflow import MlflowClient
from mlflow.entities.webhook import Webhook, WebhookAction, WebhookEntity, WebhookEvent
from mlflow.webhooks import delivery

from deployments.controller.api import make_api
from deployments.controller.registry_events import (
    DELIVERY,
    MOST_AGE_S,
    SIGNATURE,
    TIMESTAMP,
    read_secret,
    registry_router,
    signature,
)
from tests.fakes import FakeClock
from tests.integration.hosting import eventually
from tests.receivers import receiver
from tests.soak.dependencies import MlflowServer

PATH = "/api/v1/registry-events"
SECRET = "größe"
BODY = b'{"entity":"model_version_alias","action":"created","data":{"name":"wine"}}'


class Fixture:
    def __init__(self, secret: str | None = SECRET) -> None:
        self.looks = 0
        self.clock = FakeClock()
        router = registry_router(lambda: secret, self._look, {}, self.clock)
        nothing: Any = None
        api = make_api(nothing, self._ready, None, [router], only_loopback=True)
        self.client = TestClient(api, base_url="http://127.0.0.1")

    async def _ready(self) -> None:
        pass

    def _look(self) -> None:
        self.looks += 1

    def post(self, headers: dict[str, str], body: bytes = BODY) -> int:
        return int(self.client.post(PATH, content=body, headers=headers).status_code)


def signed(at_s: float = 1_000.0, secret: str = SECRET, body: bytes = BODY) -> dict[str, str]:
    sent = f"{at_s:.0f}"
    return {
        DELIVERY: "d1",
        TIMESTAMP: sent,
        SIGNATURE: signature(secret, "d1", sent, body),
    }


@pytest.mark.ray  # starts a server
def test_what_mlflow_sends_is_genuine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOWED_SCHEMES", "http")
    monkeypatch.setenv("MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS", "true")
    event = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
    with receiver(lambda _: (204, {}, b"")) as server:
        webhook = Webhook("w1", "rayfleet", server.url + PATH, [event], 0, 0, secret=SECRET)

        sent = delivery.test_webhook(webhook)

    assert sent.success
    (received,) = server.received
    headers = {name: received.headers[name] for name in (DELIVERY, TIMESTAMP, SIGNATURE)}
    fixture = Fixture()
    fixture.clock.now_s = time.time()
    assert fixture.post(headers, received.body) == 204
    assert fixture.post(headers, received.body.replace(b"alias", b"aliaz")) == 401
    assert fixture.looks == 1


@pytest.mark.ray
@pytest.mark.thorough
def test_a_server_of_mlflow_s_tells_of_an_alias_as_soon_as_it_moves(tmp_path: Path) -> None:
    environment = {
        "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
    }
    server = MlflowServer(tmp_path, environment=environment)
    with receiver(lambda _: (204, {}, b"")) as fleet, server:
        client = MlflowClient(server.url, server.url)
        client.create_webhook(
            name="rayfleet",
            url=fleet.url + PATH,
            events=["model_version_alias.created", "model_version_alias.deleted"],
            secret=SECRET,
        )
        client.create_registered_model("wine")
        client.create_model_version("wine", source="s3://nobody/reads")

        client.set_registered_model_alias("wine", "challenger", "1")
        eventually("the alias is told", lambda: len(fleet.received) == 1)
        client.delete_registered_model_alias("wine", "challenger")
        eventually("its end is told", lambda: len(fleet.received) == 2)

    fixture = Fixture()
    fixture.clock.now_s = time.time()
    statuses = [fixture.post(dict(each.headers), each.body) for each in fleet.received]
    assert statuses == [204, 204]
    assert fixture.looks == 2


@pytest.mark.parametrize("age_s", [0.0, MOST_AGE_S, -MOST_AGE_S])
def test_a_genuine_message_makes_the_controller_look(age_s: float) -> None:
    fixture = Fixture()

    assert fixture.post(signed(1_000.0 - age_s)) == 204
    assert fixture.looks == 1


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="unsigned"),
        pytest.param({**signed(), SIGNATURE: "v1,AAAA"}, id="wrong-signature"),
        pytest.param({**signed(), SIGNATURE: ""}, id="empty-signature"),
        pytest.param(signed(secret="other"), id="another-secret"),
        pytest.param(signed(body=BODY + b" "), id="another-body"),
        pytest.param({**signed(), DELIVERY: "d2"}, id="another-delivery"),
        pytest.param({**signed(), TIMESTAMP: "1001"}, id="another-time"),
        pytest.param(signed(1_000.0 - MOST_AGE_S - 1), id="old"),
        pytest.param(signed(1_000.0 + MOST_AGE_S + 1), id="of-the-future"),
        pytest.param(
            {DELIVERY: "d1", TIMESTAMP: "soon", SIGNATURE: signature(SECRET, "d1", "soon", BODY)},
            id="no-time",
        ),
    ],
)
def test_any_other_is_refused(headers: dict[str, str]) -> None:
    fixture = Fixture()

    assert fixture.post(headers) == 401
    assert fixture.looks == 0


def test_without_a_secret_there_is_no_such_path(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text(" \n")

    for file in (None, str(tmp_path / "missing"), str(empty), str(tmp_path)):
        assert read_secret(file) is None
    fixture = Fixture(secret=None)
    assert fixture.post(signed()) == 404
    assert fixture.looks == 0


def test_a_secret_in_a_file_ends_where_its_line_does(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{SECRET}\n", encoding="utf-8")

    assert read_secret(str(tmp_path / "secret")) == SECRET
