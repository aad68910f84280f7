"""Clients that are slow, stop halfway, send too much, or say nothing: others must not notice."""

import asyncio
import json
import resource
from collections import Counter
from contextlib import suppress
from urllib.parse import urlsplit

import psutil
import pytest

from tests.integration.hosting import Fleet, pids_of
from tests.integration.load import Question, read_answer
from tests.malformed import MALFORMED
from tests.soak.conftest import READ_TIMEOUT_S
from tests.soak.memory import MIB, MemoryWatch
from tests.soak.scene import Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

HEAD = "POST /v2/models/wine/infer HTTP/1.1\r\nHost: fleet\r\nContent-Type: application/json\r\n"

LET_GO_S = READ_TIMEOUT_S + 5.0
"""After which the express port must have let go of who does not finish, seconds."""

MAX_GROWTH_MIB = 300.0
"""Of gateways, proxy and replica together."""

REPLICA = "wine--v1#Predictor"

IDLE = 10_000
IDLE_ROOM = 500
"""Handles that the test itself needs beside them."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def test_half_sent_bodies(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    async def stop_halfway() -> Counter[str]:
        async def one() -> str:
            reader, writer = await connect(fleet.express_url)
            writer.write(f'{HEAD}Content-Length: 1000\r\n\r\n{{"inputs"'.encode())
            return await ending(reader, LET_GO_S)

        return Counter(await asyncio.gather(*(one() for _ in range(200))))

    with soak.loaded("half-sent bodies", fleet, questions) as (scene, _):
        for _ in scene.rounds():
            endings = asyncio.run(stop_halfway())
            scene.require("not told that it was too late", 200 - endings["408"], "<=", 0)


def test_slow_clients(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    """A byte at a time, and in time at that: slow is not wrong."""
    row = fleet.models["wine"].holdout_rows[:1]
    tensor = {"name": "input-0", "shape": row.shape, "datatype": "FP32", "data": row.tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()

    async def send_slowly(url: str) -> str:
        reader, writer = await connect(url)
        writer.write(f"{HEAD}Content-Length: {len(body)}\r\n\r\n".encode())
        for byte in body:
            await asyncio.sleep(READ_TIMEOUT_S / 2 / len(body))
            writer.write(bytes([byte]))
        return await ending(reader, LET_GO_S)

    async def everybody() -> Counter[str]:
        doors = [*fleet.doors.values()] * 20
        return Counter(await asyncio.gather(*map(send_slowly, doors)))

    with soak.loaded("slow clients", fleet, questions) as (scene, _):
        for _ in scene.rounds():
            endings = asyncio.run(everybody())
            scene.require("slow ones not answered", endings.total() - endings["200"], "<=", 0)


@pytest.mark.parametrize("door", ["express", "serve"])
def test_bodies_of_100_megabytes(
    soak: Soak, fleet: Fleet, questions: list[Question], door: str
) -> None:
    """Declared and in chunks: told so before they are read, or once the limit is passed."""
    url = fleet.doors[door]

    async def declared() -> str:
        reader, writer = await connect(url)
        writer.write(f"{HEAD}Content-Length: {100 * MIB}\r\n\r\n".encode())
        return await while_sending(reader, writer, bytes(MIB), 100)

    async def chunked() -> str:
        reader, writer = await connect(url)
        writer.write(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode())
        return await while_sending(reader, writer, b"%x\r\n%b\r\n" % (MIB, bytes(MIB)), 100)

    async def everybody() -> Counter[str]:
        return Counter(await asyncio.gather(declared(), declared(), chunked(), chunked()))

    with (
        soak.loaded(f"bodies of 100 MB ({door})", fleet, questions) as (scene, _),
        MemoryWatch(fleet, REPLICA) as memory,
    ):
        for _ in scene.rounds():
            endings = asyncio.run(everybody())
            scene.require("not refused with 413", 4 - endings["413"], "<=", 0)
        scene.require("memory growth, MiB", memory.growth_mib, "<=", MAX_GROWTH_MIB)


def test_idle_connections(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(IDLE, hard - IDLE_ROOM)

    async def stay() -> int:
        before = handles(fleet)
        opened = [await connect(fleet.express_url) for _ in range(count)]
        await asyncio.sleep(5.0)
        scene.require("idle ones accepted", handles(fleet) - before, ">=", 0.99 * count)
        lost = sum(reader.at_eof() for reader, _ in opened)
        for _, writer in opened:
            writer.close()
        return lost

    try:
        with (
            soak.loaded("idle connections", fleet, questions) as (scene, load),
            MemoryWatch(fleet, REPLICA) as memory,
        ):
            scene.require("idle connections", count, ">=", IDLE)
            for _ in scene.rounds():
                scene.mark("they come")
                scene.require("idle ones lost", asyncio.run(stay()), "<=", 0)
                scene.mark("they went")
                load.wait_for_answers(100)
            scene.require("memory growth, MiB", memory.growth_mib, "<=", MAX_GROWTH_MIB)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_malformed_requests(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    with soak.loaded("deep JSON, NaN and overflowing shapes", fleet, questions) as (scene, _):
        for _ in scene.rounds():
            wrong = 0
            for path, body, allowed in MALFORMED.values():
                for url in fleet.doors.values():
                    status = fleet.call(
                        path.format(model="wine"),
                        body,
                        {"Content-Type": "application/json"},
                        door=url,
                    )[0]
                    wrong += status not in allowed
            scene.require("answered otherwise than allowed", wrong, "<=", 0)


def handles(fleet: Fleet) -> int:
    """Open files and connections of all gateways."""
    return sum(psutil.Process(pid).num_fds() for pid in pids_of(fleet, "fleet#Gateway"))


async def connect(url: str) -> Streams:
    parts = urlsplit(url)
    return await asyncio.open_connection(parts.hostname, parts.port)


async def ending(reader: asyncio.StreamReader, within_s: float) -> str:
    """How a connection ends: with a status, without one, or not in time."""
    try:
        async with asyncio.timeout(within_s):
            return str((await read_answer(reader)).status)
    except TimeoutError:
        return "nothing in time"
    except (OSError, EOFError) as error:
        return type(error).__name__


async def while_sending(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, part: bytes, count: int
) -> str:
    """Send a body in parts for as long as it is read; returns how that ends."""

    async def send() -> None:
        with suppress(OSError):
            for _ in range(count):
                writer.write(part)
                await writer.drain()

    sending = asyncio.create_task(send())
    told = await ending(reader, 30.0)
    sending.cancel()
    writer.close()
    return told
