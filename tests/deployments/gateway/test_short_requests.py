"""Short requests go a shorter way on the express port; nobody shall be able to tell."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from deployments.gateway.connection import MOST_IN_A_ROW
from deployments.gateway.http_call import SHORT_BODY_BYTES
from deployments.protocols.tensors import Array, Batch
from deployments.telemetry import IN_FLIGHT
from tests.deployments.gateway.hosted import INFER, ROW, Fleet, express_door

pytestmark = pytest.mark.ray  # starts servers

WITHIN_S = 10.0
BODY = json.dumps(ROW).encode()
HEAD = b"Host: fleet\r\nX-Request-Id: mine\r\n"


def post(path: str = INFER, body: bytes = BODY, headers: bytes = b"") -> bytes:
    line = f"POST {path} HTTP/1.1\r\n".encode()
    return line + HEAD + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunked(body: bytes, path: str = INFER, headers: bytes = b"") -> bytes:
    line = f"POST {path} HTTP/1.1\r\n".encode()
    head = line + HEAD + headers + b"Transfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Fleet], Coroutine[Any, Any, Any]]


def on_connection(talk: Talk, fleet: Fleet) -> Any:
    """Run a conversation on one connection to the express port; returns its result."""

    async def run() -> Any:
        fleet.apply()
        async with express_door(fleet.app) as client, asyncio.timeout(WITHIN_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
            try:
                return await talk(reader, writer, fleet)
            finally:
                writer.close()

    return asyncio.run(run())


async def read_answer(reader: asyncio.StreamReader) -> tuple[bytes, dict[bytes, bytes], bytes]:
    """One answer: its status line, its headers but for the date, its body."""
    line, *rest = (await reader.readuntil(b"\r\n\r\n")).splitlines()[:-1]
    headers = dict(each.split(b": ", 1) for each in rest)
    del headers[b"date"]
    return line, headers, await reader.readexactly(int(headers[b"content-length"]))


def answer_to(
    *pieces: bytes, most_bytes: int | None = None
) -> tuple[bytes, dict[bytes, bytes], bytes]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> Any:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await read_answer(reader)

    fleet = Fleet()
    if most_bytes is not None:
        fleet.app.max_body_bytes = most_bytes
    answer: tuple[bytes, dict[bytes, bytes], bytes] = on_connection(talk, fleet)
    return answer


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([post()[:-30], post()[-30:]], id="body-in-two-pieces"),
        pytest.param([bytes([each]) for each in post()], id="byte-by-byte"),
        pytest.param([chunked(BODY)], id="chunked"),
        pytest.param([post(INFER + "/")], id="slash-at-the-end"),
        pytest.param([post(INFER.replace("churn", "%63hurn"))], id="percent-encoded"),
        pytest.param([post(INFER + "?a=b")], id="with-a-query"),
        pytest.param([post("http://fleet" + INFER)], id="absolute"),
        pytest.param([post("/v2/models/churn/versions/1/infer")], id="with-its-version"),
    ],
)
def test_however_it_is_sent_the_answer_is_the_same(pieces: list[bytes]) -> None:
    plain = answer_to(post())

    assert plain[0] == b"HTTP/1.1 200 OK"
    assert json.loads(plain[2])["outputs"][0]["data"] == [3.5]
    assert answer_to(*pieces) == plain


@pytest.mark.parametrize("rows", [1, 30_000, 200_000])
def test_binary_tensors_of_any_size_are_answered_alike(rows: int) -> None:
    array = np.arange(rows * 2, dtype=np.float64).reshape(rows, 2)
    ((name, shape),) = [(each["name"], [rows, 2]) for each in ROW["inputs"]]
    said = {"name": name, "shape": shape, "datatype": "FP64"}
    text = json.dumps(
        {"inputs": [{**said, "parameters": {"binary_data_size": array.nbytes}}]}
    ).encode()
    headers = b"Inference-Header-Content-Length: %d\r\n" % len(text)
    body = text + array.tobytes()

    whole = answer_to(post(body=body, headers=headers), most_bytes=len(body))

    assert whole[0] == b"HTTP/1.1 200 OK"
    assert json.loads(whole[2])["outputs"][0]["data"] == array.sum(axis=1).tolist()
    assert answer_to(chunked(body, headers=headers), most_bytes=len(body)) == whole
    # One byte less, and it is refused, whichever way it goes.
    refused = answer_to(post(body=body, headers=headers), most_bytes=len(body) - 1)
    assert refused[0].split()[1] == b"413"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"{", id="no-json"),
        pytest.param(b"", id="empty"),
        pytest.param(json.dumps({"inputs": []}).encode(), id="no-inputs"),
        pytest.param(b" " * (SHORT_BODY_BYTES - 1), id="long"),
    ],
)
def test_a_bad_request_fails_in_the_same_words(body: bytes) -> None:
    short = answer_to(post(body=body))

    assert short[0].split()[1] in {b"400", b"413"}
    assert answer_to(chunked(body) if body else post(INFER + "/", body=body)) == short


def test_requests_in_a_row_are_answered_in_their_order() -> None:
    many = MOST_IN_A_ROW * 3

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> Any:
        for number in range(many):
            row = {"inputs": [{**ROW["inputs"][0], "data": [float(number), 0.0]}]}
            writer.write(post(body=json.dumps(row).encode()))
        return [json.loads((await read_answer(reader))[2]) for _ in range(many)]

    answers = on_connection(talk, Fleet())

    assert [each["outputs"][0]["data"] for each in answers] == [[float(n)] for n in range(many)]


def test_a_client_that_does_not_read_is_waited_for() -> None:
    wide, many = 20_000, 40

    def much(batch: Batch) -> dict[str, Array]:
        (array,) = batch.inputs.values()
        return {"output-0": np.repeat(array.sum(axis=1, keepdims=True), wide, axis=1)}

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Fleet) -> Any:
        writer.write(post() * many)  # more answers than the kernel's buffers hold
        while sum(fleet.counted().values()) < many // 4:
            await asyncio.sleep(0.001)
        return [len(json.loads((await read_answer(reader))[2])["outputs"][0]["data"])
                for _ in range(many)]  # fmt: skip

    assert on_connection(talk, Fleet(predict=much)) == [wide] * many


def test_nothing_stays_behind_of_answered_requests() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Fleet) -> Any:
        for _ in range(5):
            writer.write(post())
            await read_answer(reader)
        return sum(fleet.counted().values()), sum(fleet.counted(IN_FLIGHT).values())

    assert on_connection(talk, Fleet()) == (5, 0)
