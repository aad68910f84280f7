"""Large bodies share a bound on memory, whatever carries them; small ones do not ask for it."""

import asyncio
import gc
import gzip
import json
from typing import Any

import numpy as np
import pytest

from deployments.errors import UnavailableError
from deployments.gateway.budget import LEAST_BYTES, SMALL_BYTES, ByteBudget
from tests.deployments.gateway.hosted import INFER, JSON, ROW, Fleet, express_door, plain_door
from tests.deployments.gateway.rpc import on_grpc, raw_request

pytestmark = pytest.mark.ray  # starts servers

WITHIN_S = 10.0
MANY = 2**21
"""Bytes of a large body."""

BLOB = np.ones((MANY // 16, 2)).tobytes()
TEXT = json.dumps(
    {
        "inputs": [
            {
                "name": "x", "shape": [MANY // 16, 2], "datatype": "FP64",
                "parameters": {"binary_data_size": len(BLOB)},
            }
        ]
    }
).encode()  # fmt: skip
BINARY = {"inference-header-content-length": str(len(TEXT))}


def roomy(left_bytes: int = LEAST_BYTES) -> Fleet:
    fleet = Fleet()
    fleet.app.max_body_bytes = fleet.servicer._max_body_bytes = 2**24
    fleet.servicer._budget = fleet.app.budget
    fleet.app.budget.held_bytes = LEAST_BYTES - left_bytes
    return fleet


def test_a_body_takes_its_part_and_gives_it_back() -> None:
    budget = ByteBudget(0)
    first = budget.hold(LEAST_BYTES - 100)
    small = budget.hold(SMALL_BYTES)

    with pytest.raises(UnavailableError, match=f"at most {LEAST_BYTES} may be") as raised:
        budget.hold(SMALL_BYTES + 1)
    assert raised.value.retry_after_s > 0

    small.release()
    first.release()
    first.release()
    assert budget.held_bytes == 0


def test_what_nobody_has_any_more_is_given_back() -> None:
    budget = ByteBudget(0)

    budget.hold(1_000_000)
    gc.collect()

    assert budget.held_bytes == 0


@pytest.mark.parametrize("door", [plain_door, express_door], ids=["plain", "express"])
@pytest.mark.parametrize("kind", ["binary", "text", "chunked", "compressed"])
@pytest.mark.parametrize("left_bytes", [LEAST_BYTES, 100_000], ids=["room", "no-room"])
def test_large_bodies_at_http_doors(door: Any, kind: str, left_bytes: int) -> None:
    fleet = roomy(left_bytes)
    text = json.dumps({**ROW, "more": "x" * MANY}).encode()

    async def pieces() -> Any:
        for at in range(0, len(text), 50_000):
            yield text[at : at + 50_000]

    content, headers = {
        "binary": (TEXT + BLOB, BINARY),
        "text": (text, JSON),
        "chunked": (pieces(), JSON),
        "compressed": (gzip.compress(text), {**JSON, "content-encoding": "gzip"}),
    }[kind]

    async def ask() -> Any:
        fleet.apply()
        async with door(fleet.app) as client:
            answer = await client.post(INFER, content=content, headers=headers)
            small = await client.post(INFER, json=ROW)
            gc.collect()
            return answer, small, fleet.app.budget.held_bytes

    answer, small, held_bytes = asyncio.run(ask())

    has_room = left_bytes == LEAST_BYTES
    assert answer.status_code == (200 if has_room else 503)
    assert ("retry-after" in answer.headers) is not has_room
    assert (small.status_code, held_bytes) == (200, LEAST_BYTES - left_bytes)


def test_a_client_that_leaves_gives_back_what_its_body_took() -> None:
    fleet = roomy()

    async def talk() -> list[int]:
        fleet.apply()
        held = []
        async with express_door(fleet.app) as client, asyncio.timeout(WITHIN_S):
            _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            head = f"POST {INFER} HTTP/1.1\r\nHost: fleet\r\nContent-Length: {len(TEXT + BLOB)}\r\n"
            head += f"Inference-Header-Content-Length: {len(TEXT)}\r\n\r\n"
            writer.write(head.encode() + TEXT)
            while not fleet.app.budget.held_bytes:
                await asyncio.sleep(0.01)
            held.append(fleet.app.budget.held_bytes)
            writer.close()
            while fleet.app.budget.held_bytes:
                await asyncio.sleep(0.01)
        return held

    assert asyncio.run(talk()) == [len(TEXT + BLOB)]


def test_a_length_beyond_the_limit_is_refused_before_it_is_read() -> None:
    fleet = roomy()
    fleet.app.max_body_bytes = 100_000

    async def talk() -> bytes:
        fleet.apply()
        async with express_door(fleet.app) as client, asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            head = f"POST {INFER} HTTP/1.1\r\nHost: fleet\r\nContent-Length: {len(TEXT + BLOB)}\r\n"
            writer.write(f"{head}Inference-Header-Content-Length: {len(TEXT)}\r\n\r\n".encode())
            try:
                return await reader.readline()
            finally:
                writer.close()

    assert b" 413 " in asyncio.run(talk())


@pytest.mark.parametrize("has_room", [True, False])
def test_large_messages_over_grpc(has_room: bool) -> None:
    fleet = roomy(LEAST_BYTES if has_room else 100_000)
    request = raw_request((1.0, 2.0))
    request.inputs[0].shape[:] = [MANY // 16, 2]
    request.raw_input_contents[0] = BLOB

    reply = on_grpc(fleet, lambda client: client.infer(request))

    assert reply.code == ("OK" if has_room else "UNAVAILABLE")
    assert fleet.app.budget.held_bytes == (0 if has_room else LEAST_BYTES - 100_000)
