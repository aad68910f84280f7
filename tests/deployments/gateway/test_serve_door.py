"""Serve's own door: bodies that take for ever, and headers that are no text."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import pytest

from deployments.errors import SlowRequestError
from deployments.gateway.app import GatewayApp
from deployments.gateway.serve_door import limited, middlewares
from deployments.telemetry import ERRORS, REQUESTS
from tests.deployments.gateway.hosted import INFER, INVOKE, Fleet
from tests.fakes import run_virtually

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def sender(*parts: bytes, every_s: float) -> Receive:
    """A body that comes in parts; there is always more to come."""
    coming = iter(parts)

    async def receive() -> MutableMapping[str, Any]:
        await asyncio.sleep(every_s)
        return {"type": "http.request", "body": next(coming), "more_body": True}

    return receive


def test_what_arrives_in_time_is_passed_on() -> None:
    async def test() -> list[bytes]:
        receive = limited(sender(b"a", b"b", every_s=4.0), 10.0)
        return [(await receive())["body"], (await receive())["body"]]

    assert run_virtually(test) == [b"a", b"b"]


@pytest.mark.parametrize("every_s", [3600.0, 4.0], ids=["silence", "a-byte-now-and-then"])
def test_the_whole_body_has_one_time_limit(every_s: float) -> None:
    async def test() -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        receive = limited(sender(*[b"x"] * 100, every_s=every_s), 10.0)
        try:
            while True:
                await receive()
        except SlowRequestError:
            return loop.time() - began_s

    assert run_virtually(test) == pytest.approx(10.0, abs=0.1)


async def dawdle(app: GatewayApp, path: str) -> tuple[int, dict[bytes, bytes], Mapping[str, Any]]:
    """Send half a body to the application as Serve does; returns its answer."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"100")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    await app(scope, sender(b"{", every_s=40.0), send)
    start, body = sent
    return start["status"], dict(start["headers"]), json.loads(body["body"])


@pytest.mark.parametrize("path", [INFER, INVOKE])
def test_half_a_body_is_given_up(path: str) -> None:
    fleet = Fleet()

    async def test() -> tuple[int, dict[bytes, bytes], Mapping[str, Any]]:
        fleet.apply()
        return await dawdle(fleet.app, path)

    status, headers, body = run_virtually(test)

    assert (status, headers[b"connection"]) == (408, b"close")
    assert "the request did not arrive whole within 60 s" in body.values()
    ((labels, _),) = fleet.counted(ERRORS).items()
    assert (labels[0], labels[-2], labels[-1]) == ("churn", "408", "caller")
    assert [labels[-1] for labels in fleet.counted(REQUESTS)] == ["408"]
    assert fleet.transport.sent == []


@pytest.mark.parametrize(
    ("name", "sent", "seen"),
    [
        pytest.param(b"x-request-id", b"r-1", b"r-1", id="ascii"),
        pytest.param(b"x-request-id", "ä".encode(), "ä".encode(), id="utf-8"),
        pytest.param(b"x-request-id", b"a\xff\xfe", rb"a\xff\xfe", id="raw"),
        pytest.param(b"x-request-timeout-seconds", b"\xff", rb"\xff", id="another-of-serve-s"),
        pytest.param(b"x-routing-key", b"\xff", b"\xff", id="not-serve-s"),
    ],
)
def test_serve_sees_text_where_it_wants_text(name: bytes, sent: bytes, seen: bytes) -> None:
    found: list[tuple[bytes, bytes]] = []

    async def serve(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        found.extend(scope["headers"])

    app: Any = serve
    for middleware in middlewares():
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    nobody: Any = None

    async def ask() -> None:
        await app({"type": "http", "headers": [(name, sent)]}, nobody, nobody)

    asyncio.run(ask())

    assert found == [(name, seen)]
