"""Connections to Serve's port that the gateway takes over, and those that it leaves to Serve."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from deployments.gateway.express import HEALTH
from deployments.gateway.past_serve import wish_of
from deployments.protocols.tensors import Batch
from deployments.telemetry import ERRORS, REQUESTS
from tests.deployments.gateway.certificates import Certificates
from tests.deployments.gateway.hosted import (
    INFER,
    INVOKE,
    ROW,
    Fleet,
    ServePort,
    serve_port,
)
from tests.fakes import sums

WITHIN_S = 10.0
BODY = json.dumps(ROW).encode()
RECORDS = json.dumps({"inputs": [[1.5, 2.0]]}).encode()


def post(path: str = INFER, body: bytes = BODY, headers: bytes = b"", missing: int = 0) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: fleet\r\nContent-Type: application/json\r\n".encode()
    whole = head + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body
    return whole[: len(whole) - missing]


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: fleet\r\n\r\n".encode()


class Client:
    """One connection to Serve's port."""

    def __init__(self, port: ServePort, reader: Any, writer: Any) -> None:
        self.port = port
        self.reader: asyncio.StreamReader = reader
        self.writer: asyncio.StreamWriter = writer

    async def ask(self, request: bytes) -> int:
        """Send a request; returns the answer's status."""
        self.writer.write(request)
        return (await self.answer())[0]

    async def answer(self) -> tuple[int, Mapping[bytes, bytes], bytes]:
        line, *lines = (await self.reader.readuntil(b"\r\n\r\n")).splitlines()[:-1]
        headers = dict(each.split(b": ", 1) for each in lines)
        body = await self.reader.readexactly(int(headers[b"content-length"]))
        return int(line.split()[1]), headers, body


def on_connection(
    talk: Callable[[Client], Awaitable[None]],
    fleet: Fleet | None = None,
    tls: ssl.SSLContext | None = None,
    **options: Any,
) -> None:
    async def run() -> None:
        hosted = fleet or Fleet()
        hosted.apply()
        async with serve_port(hosted.app, **options) as port, asyncio.timeout(WITHIN_S):
            where = port.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(*where, ssl=tls)
            try:
                await talk(Client(port, reader, writer))
            finally:
                writer.close()

    asyncio.run(run())


pytestmark = pytest.mark.ray  # starts servers


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(post(), id="inference"),
        pytest.param(post(INVOKE, RECORDS), id="mlflow"),
        pytest.param(get(HEALTH), id="health"),
        pytest.param(get("/nowhere"), id="nowhere"),
    ],
)
def test_serve_sees_the_first_request_and_no_inference_after_it(first: bytes) -> None:
    async def talk(client: Client) -> None:
        await client.ask(first)
        seen = list(client.port.asked)
        for _ in range(3):
            assert await client.ask(post()) == 200
        assert client.port.asked == seen != []

    on_connection(talk)


def test_all_is_counted_whoever_saw_it() -> None:
    fleet = Fleet()

    async def talk(client: Client) -> None:
        for _ in range(3):
            await client.ask(post())

    on_connection(talk, fleet)

    assert list(fleet.counted(REQUESTS).values()) == [3.0]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(post(INVOKE, RECORDS), id="mlflow"),
        pytest.param(get("/v2"), id="page"),
        pytest.param(post(INFER + "?a=b"), id="query"),
        pytest.param(post(headers=b"X-Request-Timeout-Seconds: 5\r\n"), id="serves-timeout"),
        pytest.param(post(headers=b"X-Request-Disconnect-Disabled: ?1\r\n"), id="serves-leaving"),
        pytest.param(post(headers=b"X-Request-Id: a\xff\r\n"), id="no-text"),
    ],
)
def test_what_is_not_short_or_asks_something_of_serve_is_left_to_it(request_: bytes) -> None:
    async def talk(client: Client) -> None:
        await client.ask(post())
        for number in range(2, 5):
            assert await client.ask(request_) == 200
            assert len(client.port.asked) == number
            assert await client.ask(post()) == 200

    on_connection(talk)


def test_requests_in_a_row_are_answered_in_their_order() -> None:
    async def talk(client: Client) -> None:
        client.writer.write(
            b"".join([post(headers=b"X-Request-Id: %d\r\n" % number) for number in range(20)])
        )
        answers = [await client.answer() for _ in range(20)]
        assert [int(headers[b"x-request-id"]) for _, headers, _ in answers] == list(range(20))

    on_connection(talk)


@pytest.mark.parametrize("pieces", [1, 7, 60])
def test_a_request_that_has_begun_before_the_answer_is_not_lost(pieces: int) -> None:
    async def talk(client: Client) -> None:
        client.writer.write(post() + post()[:pieces])
        assert (await client.answer())[0] == 200
        client.writer.write(post()[pieces:])
        assert (await client.answer())[0] == 200
        assert client.port.asked == [INFER, INFER]  # Serve's, since it had begun
        assert await client.ask(post()) == 200
        assert len(client.port.asked) == 2

    on_connection(talk)


def test_an_encrypted_connection_is_taken_over(certificates: Certificates) -> None:
    async def talk(client: Client) -> None:
        for _ in range(3):
            assert await client.ask(post()) == 200
        assert client.port.asked == [INFER]

    trusting = ssl.create_default_context(cafile=str(certificates.authority))
    on_connection(
        talk, tls=trusting,
        ssl_keyfile=str(certificates.key), ssl_certfile=str(certificates.certificate),
    )  # fmt: skip


def test_a_connection_that_ends_is_not_taken_over() -> None:
    async def talk(client: Client) -> None:
        assert await client.ask(post(headers=b"Connection: close\r\n")) == 200
        assert await client.reader.read() == b""

    on_connection(talk)


def test_a_request_keeps_its_id_and_gets_one_if_it_has_none() -> None:
    async def talk(client: Client) -> None:
        await client.ask(post())
        client.writer.write(post(headers=b"X-Request-Id: mine\r\n"))
        assert (await client.answer())[1][b"x-request-id"] == b"mine"
        client.writer.write(post())
        assert len((await client.answer())[1][b"x-request-id"]) == 32

    on_connection(talk)


@pytest.mark.parametrize(
    ("part", "said"),
    [
        pytest.param(post(missing=10), "within 0.2 s", id="half-a-body"),
        pytest.param(post(INVOKE, RECORDS, missing=10), "within 0.2 s", id="half-a-body-for-serve"),
        pytest.param(post()[:30], "in time", id="half-a-head"),
    ],
)
def test_half_a_request_is_given_up(part: bytes, said: str) -> None:
    fleet = Fleet()
    fleet.app._read_timeout_s = 0.2

    async def talk(client: Client) -> None:
        await client.ask(post())
        client.writer.write(part)
        status, _, body = await client.answer()
        assert status == 408
        assert f"the request did not arrive whole {said}" in json.loads(body).values()
        assert await client.reader.read() == b""

    on_connection(talk, fleet, read_timeout_s=0.2)

    late = [labels for labels in fleet.counted(ERRORS) if labels[-2:] == ("408", "caller")]
    assert len(late) == ("within" in said)


def test_serve_s_server_waits_for_what_is_in_flight_then_ends_the_connection() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def predict(batch: Batch) -> Any:
        begun.set()
        await go_on.wait()
        return sums(batch)

    async def talk(client: Client) -> None:
        await client.ask(get(HEALTH))
        client.writer.write(post())
        await begun.wait()
        client.port.server.should_exit = True
        done, _ = await asyncio.wait([client.port.serving], timeout=0.5)
        assert not done
        go_on.set()
        status, headers, _ = await client.answer()
        assert (status, headers[b"connection"]) == (200, b"close")
        assert await client.reader.read() == b""
        await client.port.serving

    on_connection(talk, Fleet(predict=predict))


DETAILS: Mapping[str, Any] = {
    "http_options": {"host": "0.0.0.0", "request_timeout_s": None},
    "applications": {
        "fleet": {"deployments": {"Gateway": {"deployment_config": {"autoscaling_config": None}}}}
    },
}


@pytest.mark.parametrize(
    ("changed", "wish"),
    [
        ({}, None),
        ({"http_options": None}, None),
        ({"http_options": {"request_timeout_s": 5.0}}, "http_options.request_timeout_s"),
        ({"applications": {}}, None),
        (
            {
                "applications": {
                    "fleet": {
                        "deployments": {
                            "Gateway": {"deployment_config": {"autoscaling_config": {"a": 1}}}
                        }
                    }
                }
            },
            "autoscaling_config",
        ),
    ],
)
def test_what_needs_serve_to_see_each_request(changed: Any, wish: str | None) -> None:
    assert wish_of({**DETAILS, **changed}, "fleet", "Gateway") == wish
