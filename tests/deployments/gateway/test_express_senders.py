"""Slow and broken senders at the express port."""

import asyncio
import json
from contextlib import suppress

import pytest

from deployments.gateway.connection import DISCARD_S, MOST_AT_ONCE
from tests.deployments.gateway.hosted import INFER, MAX_BODY, Fleet
from tests.deployments.gateway.wire import BODY, answer_of, on_port, request

pytestmark = pytest.mark.ray  # starts servers


@pytest.mark.parametrize(
    ("part", "said"),
    [
        pytest.param(b"POST /v2/models/churn/inf", "in time", id="half-a-line"),
        pytest.param(request(b"{", length="100"), "within 0.2 s", id="half-a-body"),
    ],
)
def test_half_a_request_is_given_up(part: bytes, said: str) -> None:
    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        writer.write(part)
        answer = await reader.read()  # to the end: the connection is closed
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {
            "error": f"the request did not arrive whole {said}"
        }

    on_port(dawdle, read_timeout_s=0.2)


def test_a_slow_request_that_arrives_is_answered() -> None:
    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        for byte in request():
            writer.write(bytes([byte]))
            await writer.drain()
        assert (await reader.readline()) == b"HTTP/1.1 200 OK\r\n"

    on_port(dawdle, read_timeout_s=5.0)


def test_a_client_that_says_nothing_is_let_go() -> None:
    async def wait(reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: Fleet) -> None:
        assert await reader.read() == b""

    on_port(wait, keep_alive_timeout_s=1.0)


def test_a_body_that_never_ends_is_refused_and_closed() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        head = f"POST {INFER} HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        answer = asyncio.create_task(reader.readline())
        with suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"400\r\n" + bytes(1024) + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0)
        assert await answer == b"HTTP/1.1 413 Request Entity Too Large\r\n"

    on_port(pour)


@pytest.mark.parametrize("blanks", [" ", "\t  "], ids=["space", "tab"])
def test_blanks_behind_a_length_are_no_part_of_it(blanks: str) -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        for path in (INFER, f"{INFER}?a=b"):  # the short way and the longer one
            asked = request(length=f"{len(BODY)}{blanks}").replace(INFER.encode(), path.encode())
            writer.write(asked)
            assert (await answer_of(reader))[0] == b"HTTP/1.1 200 OK"

    on_port(send)


def test_a_body_that_says_it_is_too_long_is_refused_before_it_is_sent() -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        writer.write(request(b"{", length=str(MAX_BODY + 1)))
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")

    on_port(send)


@pytest.mark.parametrize("length", ["-1", "1e3", "9" * 5000], ids=["negative", "float", "huge"])
def test_an_absurd_content_length_is_refused(length: str) -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        writer.write(request(length=length))
        assert (await reader.read()).startswith(b"HTTP/1.1 400 Bad Request\r\n")

    on_port(send)


def test_half_a_request_after_an_answer_is_given_up() -> None:
    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        writer.write(request())
        assert (await answer_of(reader))[0] == b"HTTP/1.1 200 OK"
        writer.write(b"POST /v2/mod")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 Request Timeout\r\n")

    on_port(dawdle, read_timeout_s=0.2)


def test_an_endless_head_is_refused() -> None:
    async def pour(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Fleet
    ) -> None:
        writer.write(b"GET / HTTP/1.1\r\nX-Long: ")
        with suppress(ConnectionError):
            for _ in range(100):  # 400 KiB
                writer.write(b"a" * 4096)
                await writer.drain()
                await asyncio.sleep(0)
        assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")

    on_port(pour)


def test_an_empty_line_is_no_request() -> None:
    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        writer.write(b"\r\n")
        assert await reader.read() == b""

    on_port(wait, keep_alive_timeout_s=1.0)


def test_a_client_that_does_not_read_is_let_go() -> None:
    async def stuff(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Fleet) -> None:
        # A megabyte and a half each, so that the kernel's buffers are full soon.
        page = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: f\r\n\r\n"

        async def ask_for_ever() -> None:
            while True:
                writer.write(page * 100)
                await writer.drain()

        with pytest.raises(ConnectionError):  # from the kernel, when the server hangs up
            await ask_for_ever()

    on_port(stuff, read_timeout_s=0.5)


def test_of_too_many_requests_at_once_the_first_are_answered() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        page = b"GET /v2/health/live HTTP/1.1\r\nHost: f\r\n\r\n"
        writer.write(page * 2 * MOST_AT_ONCE)
        heads = (await reader.read()).split(b"HTTP/1.1 200 OK\r\n")[1:]
        # The one that is answered first waits for nobody.
        assert len(heads) == MOST_AT_ONCE + 1
        assert [b"connection: close" in head for head in heads] == [False] * MOST_AT_ONCE + [True]

    on_port(pour)


def test_a_request_behind_an_answered_one_may_take_its_time() -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> None:
        second = request(headers="X-Request-Id: second\r\n")
        writer.write(request(headers="X-Request-Id: first\r\n") + second[:-20])
        assert await answer_of(reader) == (b"HTTP/1.1 200 OK", b"first")
        await asyncio.sleep(DISCARD_S + 0.1)
        writer.write(second[-20:])
        assert await answer_of(reader) == (b"HTTP/1.1 200 OK", b"second")

    on_port(send)
