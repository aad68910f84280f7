"""Requests byte by byte, on one connection to an express port."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tests.deployments.gateway.hosted import INFER, ROW, Fleet, express_door

BODY = json.dumps(ROW).encode()
WITHIN_S = 10.0


def request(body: bytes = BODY, *, length: str | None = None, headers: str = "") -> bytes:
    said = length if length is not None else str(len(body))
    head = f"POST {INFER} HTTP/1.1\r\nHost: fleet\r\nContent-Length: {said}\r\n{headers}\r\n"
    return head.encode() + body


async def answer_of(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read one answer; returns its status line and the id of its request."""
    head = (await reader.readuntil(b"\r\n\r\n")).splitlines()
    headers = dict(line.split(b": ", 1) for line in head[1:-1])
    await reader.readexactly(int(headers[b"content-length"]))
    return head[0], headers[b"x-request-id"]


async def eventually(what: str, condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline_s, what
        await asyncio.sleep(0.005)


def on_port(
    test: Callable[[asyncio.StreamReader, asyncio.StreamWriter, Fleet], Awaitable[None]],
    fleet: Fleet | None = None,
    **spec: Any,
) -> None:
    """Run a test on one connection to a fleet's express port."""

    async def run() -> None:
        hosted = fleet or Fleet()
        hosted.apply()
        async with express_door(hosted.app, **spec) as client:
            reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            try:
                async with asyncio.timeout(WITHIN_S):
                    await test(reader, writer, hosted)
            finally:
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()

    asyncio.run(run())
