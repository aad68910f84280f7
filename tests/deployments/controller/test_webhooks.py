"""Webhooks, called over real connections."""

import json
import socket

import pytest

from deployments.controller.webhooks import BACKOFF_S, DELIVERY, HookType, Webhook, call, payload
from tests.receivers import Answer, receiver

pytestmark = pytest.mark.ray  # starts servers


def hook(url: str, timeout_s: float = 5.0, retries: int = 2) -> Webhook:
    return Webhook(
        "gate", HookType.CONFIRM_ROLLOUT, url, timeout_s, retries,
        headers={"Authorization": "Bearer x"}, metadata={"team": "wine", "step": "none"},
    )  # fmt: skip


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_it_is_sent_what_flagger_s_receivers_expect() -> None:
    with receiver(lambda _: (200, {}, b"")) as server:
        gate = hook(f"{server.url}/gate?x=1")
        message = payload(
            gate, model="wine", phase="progressing", checksum="abc", metadata={"step": 2}
        )

        told = call(gate, message, "r1-7")

    assert (told.yes, told.answered, told.reason) == (True, True, "webhook 'gate' answered 200")
    (received,) = server.received
    assert received.path == "/gate?x=1"
    assert json.loads(received.body) == {
        "name": "wine", "namespace": "rayfleet", "phase": "progressing", "checksum": "abc",
        "type": "confirm-rollout", "metadata": {"team": "wine", "step": 2},
    }  # fmt: skip
    assert {**received.headers}.items() >= {
        "Content-Type": "application/json", DELIVERY: "r1-7", "Authorization": "Bearer x",
    }.items()  # fmt: skip


@pytest.mark.parametrize(
    ("answers", "yes", "answered", "reason", "attempts"),
    [
        pytest.param([(202, b"")], True, True, "webhook 'gate' answered 202", 1, id="yes"),
        pytest.param(
            [(403, b"not\n yet")], False, True, "webhook 'gate' answered 403: not yet", 1, id="no"
        ),
        pytest.param([(302, b"")], False, True, "webhook 'gate' answered 302", 1, id="redirect"),
        pytest.param(
            [(503, b""), (500, b""), (200, b"ok")],
            True, True, "webhook 'gate' answered 200: ok", 3, id="broken-for-a-while",
        ),
        pytest.param(
            [(503, b"")] * 3, False, False, "webhook 'gate' answered 503", 3, id="broken"
        ),
        pytest.param(
            [(500, b""), (404, b"")], False, True, "webhook 'gate' answered 404", 2, id="then-no"
        ),
    ],
)  # fmt: skip
def test_what_an_answer_means(
    answers: list[tuple[int, bytes]], yes: bool, answered: bool, reason: str, attempts: int
) -> None:
    def answer(turn: int) -> Answer:
        status, text = answers[turn]
        return status, {"Location": "/elsewhere"} if status == 302 else {}, text

    waits: list[float] = []
    with receiver(answer) as server:
        told = call(hook(server.url), {}, "d", waits.append)

    assert (told.yes, told.answered, told.reason) == (yes, answered, reason)
    assert len(server.received) == attempts
    assert len({each.headers[DELIVERY] for each in server.received}) == 1
    assert waits == [BACKOFF_S, 2 * BACKOFF_S][: attempts - 1]


def test_a_receiver_that_does_not_answer_in_time_is_asked_again() -> None:
    with receiver(lambda turn: (200, {}, b"") if turn else None) as server:
        told = call(hook(server.url, timeout_s=0.5), {}, "d", lambda _: None)

    assert told.yes
    assert len(server.received) == 2


def test_nobody_answers() -> None:
    with receiver(lambda _: None) as server:
        told = call(hook(server.url, timeout_s=0.2, retries=0), {}, "d")

    assert (told.yes, told.answered) == (False, False)
    assert told.reason == "the webhook 'gate' cannot be reached: no answer within 0.2 s"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param(f"http://127.0.0.1:{free_port()}", "Connection refused", id="nobody-there"),
        pytest.param("file:///etc/hostname", "no http or https address", id="no-web-address"),
        pytest.param("http://", "no host given", id="no-host"),
        pytest.param("http://127.0.0.1:port/", "nonnumeric port: 'port'", id="no-port"),
    ],
)
def test_an_address_that_leads_nowhere(url: str, reason: str) -> None:
    told = call(hook(url, retries=1), {}, "d", lambda _: None)

    assert (told.yes, told.answered) == (False, False)
    assert reason in told.reason
    assert "\n" not in told.reason
