"""Slow and broken senders at Serve's port, where HAProxy stands before the gateways."""

import json
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http.client import HTTPResponse
from typing import Any

import pytest

from tests.integration.hosting import (
    READ_TIMEOUT_S,
    SILENCE_S,
    Fleet,
    in_parallel,
    infer_body,
    port_of,
)

pytestmark = pytest.mark.ray

LINE = "POST /v2/models/wine/infer HTTP/1.1\r\nHost: fleet\r\n"
LARGE_ANSWERS = 10
WITHIN_S = 30.0
SLACK_S = 3.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a sender was answered, and when."""

    after_s: float
    status: int
    request_id: str | None
    body: Any


def half(fleet: Fleet, sent: bytes, more: bytes = b"") -> Outcome:
    """Send a part of a request, then nothing, or a little every half second."""
    with socket.create_connection(("127.0.0.1", port_of(fleet.url)), timeout=0.5) as connection:
        connection.sendall(sent)
        began_s = time.monotonic()
        while not answered(connection):
            assert time.monotonic() < began_s + WITHIN_S, "nothing happens"
            connection.sendall(more)
        after_s = time.monotonic() - began_s
        connection.settimeout(WITHIN_S)
        response = HTTPResponse(connection)
        response.begin()
        body = response.read()
        return Outcome(
            after_s,
            response.status,
            response.getheader("x-request-id"),
            json.loads(body) if response.getheader("content-type") == "application/json" else body,
        )


def answered(connection: socket.socket) -> bool:
    """Wait a moment for the first byte of an answer."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except TimeoutError:
        return False


def answers_left(fleet: Fleet) -> int:
    """Ask for more than the kernel holds, begin to read when it is too late; returns how much."""
    asked = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: fleet\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", port_of(fleet.url)))
        connection.sendall(asked * LARGE_ANSWERS)
        time.sleep(SILENCE_S + 1)  # only reading would show what happens
        connection.settimeout(WITHIN_S)
        answer = b""
        try:
            while part := connection.recv(2**20):
                answer += part
        except ConnectionResetError:
            pass
        return answer.count(b"HTTP/1.1 200 OK")


@pytest.fixture(scope="module")
def outcomes(fleet: Fleet) -> Mapping[str, Any]:
    """How each of the senders fared, all at the same time."""
    body = infer_body(fleet.models["wine"].holdout_rows[:1])
    head = f"{LINE}Content-Length: {len(body)}\r\n".encode()
    raw_id = head + b"X-Request-Id: a\xff\xfe\r\n"
    endless = f"{LINE}Content-Length: 1000000\r\n\r\n".encode()
    chunked = f"{LINE}Transfer-Encoding: chunked\r\n\r\n".encode()
    senders: dict[str, Callable[[], Any]] = {
        "half-a-line": partial(half, fleet, LINE[:10].encode()),
        "half-a-head": partial(half, fleet, head),
        "half-a-body": partial(half, fleet, head + b"\r\n" + body[:10]),
        "half-a-chunk": partial(half, fleet, chunked + b"400\r\nabc"),
        "a-byte-now-and-then": partial(half, fleet, endless, b" "),
        "raw-id": partial(half, fleet, raw_id + b"\r\n" + body),
        "not-reading": partial(answers_left, fleet),
    }
    found: dict[str, Any] = {}

    def note(name: str) -> None:
        found[name] = senders[name]()

    in_parallel([partial(note, name) for name in senders])
    assert set(found) == set(senders)
    return found


@pytest.mark.parametrize("sender", ["half-a-line", "half-a-head"])
def test_half_a_head_is_given_up(outcomes: Mapping[str, Any], sender: str) -> None:
    outcome = outcomes[sender]

    assert outcome.status == 408
    assert outcome.after_s < SILENCE_S + SLACK_S


@pytest.mark.parametrize("sender", ["half-a-body", "half-a-chunk", "a-byte-now-and-then"])
def test_half_a_body_is_given_up_by_the_gateway(outcomes: Mapping[str, Any], sender: str) -> None:
    outcome = outcomes[sender]

    assert outcome.status == 408
    assert outcome.body == {"error": "the request did not arrive whole within 4 s"}
    assert outcome.after_s < READ_TIMEOUT_S + SLACK_S


def test_a_client_that_does_not_read_is_let_go(outcomes: Mapping[str, Any]) -> None:
    assert 0 < outcomes["not-reading"] < LARGE_ANSWERS


def test_an_id_of_raw_bytes_is_escaped(outcomes: Mapping[str, Any]) -> None:
    outcome = outcomes["raw-id"]

    assert (outcome.status, outcome.request_id) == (200, r"a\xff\xfe")
    assert outcome.body["id"] == r"a\xff\xfe"
