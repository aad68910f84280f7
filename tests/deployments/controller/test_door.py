"""The control API's port, with real sockets."""

import asyncio
import signal
import socket
import urllib.request
from typing import Any

import pytest

from deployments.controller import door
from deployments.controller.door import ControlDoor
from deployments.controlspec import ControlSpec
from deployments.haproxy import free_port

WITHIN_S = 10.0

pytestmark = pytest.mark.ray  # starts a server


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


async def asked(port: int) -> bytes:
    """What the port answers, once it does."""

    def ask() -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=WITHIN_S) as answer:
            content: bytes = answer.read()
            return content

    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                return await asyncio.to_thread(ask)
            except OSError:
                await asyncio.sleep(0.02)


def test_it_answers_until_it_is_closed() -> None:
    async def test() -> None:
        port = free_port()
        opened = ControlDoor(hello, ControlSpec(port=port))
        assert await asked(port) == b"hello"

        await opened.close()

        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), WITHIN_S)

    asyncio.run(test())


def test_a_port_that_another_one_leaves_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "RETRY_S", 0.02)

    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            opened = ControlDoor(hello, ControlSpec(port=port))
            await asyncio.sleep(0)
        assert await asked(port) == b"hello"
        await opened.close()

    asyncio.run(test())


def test_it_can_be_closed_before_it_could_listen() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            opened = ControlDoor(hello, ControlSpec(port=taken.getsockname()[1]))
            await asyncio.sleep(0)
            async with asyncio.timeout(WITHIN_S):
                await opened.close()

    asyncio.run(test())


def test_the_process_keeps_its_signal_handlers() -> None:
    async def test() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        port = free_port()
        opened = ControlDoor(hello, ControlSpec(port=port))
        await asked(port)

        after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

        assert after == before
        await opened.close()

    asyncio.run(test())
