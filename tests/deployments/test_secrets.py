"""What nobody may read stands in no line of the logs, and in no reason that is shown."""

import asyncio
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from ray._common.formatters import JSONFormatter

from deployments.controller.dependencies import Dependencies
from deployments.controller.registry import Registry
from deployments.gateway.http_call import HttpCall
from deployments.gateway.request_log import RequestLog
from deployments.store.store import FleetStore
from tests.lines import kept_lines

SECRET = "hunter2"


@pytest.fixture
def closed_port() -> int:
    """One at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def said_of(what: str, function: Callable[[], Any]) -> str:
    """All that is written and shown when a dependency does not answer."""
    dependencies = Dependencies()
    with kept_lines("deployments.controller.dependencies") as lines:
        assert asyncio.run(dependencies.call(what, function)) is None
    (line,) = lines
    return f"{JSONFormatter().format(line)} {dependencies.trouble(what)}"


def test_the_password_in_the_address_of_the_store(closed_port: int) -> None:
    store = FleetStore(f"postgresql://me:{SECRET}@127.0.0.1:{closed_port}/x", "c", lambda: 0.0)

    said = said_of("fleet store", store.migrate)

    assert str(closed_port) in said
    assert SECRET not in said


def test_what_mlflow_is_asked_with(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)
    address = f"http://127.0.0.1:{closed_port}"
    registry = Registry(address, address)

    said = said_of("registry", lambda: registry.client().get_registered_model("wine"))

    assert address in said
    assert SECRET not in said


def test_the_password_in_the_address_of_mlflow(
    closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address = f"http://me:{SECRET}@127.0.0.1:{closed_port}"
    registry = Registry(address, address)

    said = said_of("registry", lambda: registry.client().get_registered_model("wine"))

    assert str(closed_port) in said
    assert SECRET not in said


@pytest.mark.parametrize("name", [b"authorization", b"cookie", b"x-api-key", b"x-routing-key"])
def test_headers_of_a_request(name: bytes) -> None:
    headers = {name: SECRET.encode(), b"x-request-id": b"id-1"}
    call = HttpCall(
        method="POST", path="/", headers=headers, body=SECRET.encode(),
        model="wine", version="3", track="stable", error="PredictionError", origin="version",
    )  # fmt: skip

    with kept_lines("deployments.gateway.request_log") as lines:
        RequestLog("failed").note(call, "500", 0.01)

    (line,) = (JSONFormatter().format(each) for each in lines)
    assert json.loads(line)["request_id"] == "id-1"
    assert SECRET not in line
