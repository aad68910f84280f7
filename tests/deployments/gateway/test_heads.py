"""Heads that came before are answered without a parser; nobody shall be able to tell."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from deployments.errors import PredictionError
from deployments.gateway.heads import LONGEST_HEAD_BYTES, MOST_HEADS, Heads, KnownHead, known_head
from deployments.gateway.http import Headers
from deployments.gateway.http_call import SHORT_BODY_BYTES
from deployments.protocols.tensors import Array, Batch
from deployments.telemetry import ERRORS, IN_FLIGHT, REQUESTS
from deployments.traffic.table import Track
from tests.deployments.gateway.hosted import INFER, ROW, Fleet
from tests.deployments.gateway.test_short_requests import (
    BODY,
    chunked,
    on_connection,
    post,
    read_answer,
)
from tests.fakes import make_route, make_table, sums

pytestmark = pytest.mark.ray  # starts servers

TARGET = ("churn", None)


def head(headers: Headers | None = None) -> KnownHead:
    found = known_head(INFER, TARGET, headers or {})
    assert found is not None
    return found


def sent(body: bytes = b"{}", line: bytes = b"A: b", length: bytes | None = None) -> bytes:
    """A request whose length stands before another header."""
    said = b"%d" % len(body) if length is None else length
    return b"POST / HTTP/1.1\r\nContent-Length: %b\r\n%b\r\n\r\n%b" % (said, line, body)


@pytest.mark.parametrize("body", [b"[]", b"[1, 2, 3, 4]", b""])
def test_a_head_is_found_again_with_whatever_body(body: bytes) -> None:
    heads = Heads()
    heads.learn(sent(), b"{}", head())

    assert heads.find(sent(body)) == (head(), body)


@pytest.mark.parametrize("name", [b"Content-Length", b"content-length"])
def test_the_length_may_come_last(name: bytes) -> None:
    heads = Heads()
    heads.learn(b"POST / HTTP/1.1\r\n%b: 2\r\n\r\n{}" % name, b"{}", head())

    assert heads.find(b"POST / HTTP/1.1\r\n%b: 3\r\n\r\n[1]" % name) == (head(), b"[1]")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(sent(line=b"A: c"), id="another-header"),
        pytest.param(sent(b"{", length=b"2"), id="body-to-come"),
        pytest.param(sent(b"{}P", length=b"2"), id="more-behind-it"),
        pytest.param(sent()[:-4], id="head-to-come"),
        pytest.param(sent(length=b"+2"), id="sign"),
        pytest.param(sent(length=b"2 "), id="space"),
        pytest.param(sent(length=b"2, 2"), id="two-lengths"),
        pytest.param(sent(length=b""), id="no-length"),
        pytest.param(sent(line=b"A: b\r\nContent-Length: 2"), id="said-twice"),
        pytest.param(sent().replace(b"Content-Length", b"CONTENT-LENGTH"), id="in-capitals"),
        pytest.param(sent().replace(b"Content-Length: 2\r\n", b""), id="without-one"),
        pytest.param(sent(b"1" * (SHORT_BODY_BYTES + 1)), id="long-body"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_anything_else_is_left_to_the_parser(data: bytes) -> None:
    heads = Heads()
    heads.learn(sent(), b"{}", head())

    assert heads.find(data) is None


@pytest.mark.parametrize(
    ("data", "body"),
    [
        pytest.param(sent(b"\r\n{}", length=b"4")[:-2], b"\r\n{}", id="head-ended-before"),
        pytest.param(sent(line=b"A\n\n.."), b"..\r\n\r\n{}", id="bare-line-feeds"),
        pytest.param(sent() + b"{}", b"{}", id="another-request-behind-it"),
        pytest.param(sent(length=b"3"), b"{}", id="another-length"),
        pytest.param(sent(length=b"02"), b"{}", id="leading-zero"),
        pytest.param(sent(line=b"A" * LONGEST_HEAD_BYTES), b"{}", id="long-head"),
        pytest.param(sent().replace(b"Content-Length", b"Length"), b"{}", id="without-one"),
    ],
)
def test_what_the_parser_read_otherwise_is_not_remembered(data: bytes, body: bytes) -> None:
    heads = Heads()

    heads.learn(data, body, head())

    assert heads.find(data) is None
    assert heads.find(sent()) is None


def test_no_more_are_kept_than_there_is_room_for() -> None:
    heads = Heads()
    for number in range(MOST_HEADS + 1):
        heads.learn(sent(line=b"A: %d" % number), b"{}", head())

    assert heads.find(sent(line=b"A: 0")) is None
    assert heads.find(sent(line=b"A: %d" % MOST_HEADS)) is not None


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({b"content-encoding": b"gzip"}, id="compressed"),
        pytest.param({b"inference-header-content-length": b"10"}, id="binary"),
        pytest.param({b"x-request-timeout-ms": b"soon"}, id="bad-timeout"),
    ],
)
def test_heads_that_need_a_closer_look_are_not_known(headers: Headers) -> None:
    assert known_head(INFER, TARGET, headers) is None


Answers = list[tuple[bytes, dict[bytes, bytes], bytes]]


def answers_to(fleet: Fleet, request: bytes, times: int) -> Answers:
    """Send a request several times on one connection, each after the answer before it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> Any:
        answers = []
        for _each in range(times):
            writer.write(request)
            answers.append(await read_answer(reader))
        return answers

    answers: Answers = on_connection(talk, fleet)
    return answers


def wide(batch: Batch) -> Mapping[str, Array]:
    """Answers that are long enough to be compressed."""
    return {"output-0": np.tile(sums(batch)["output-0"][:, None], (1, 900))}


def torn(batch: Batch) -> Mapping[str, Array]:
    raise PredictionError("churn", "1", "ValueError: torn")


def no_number(batch: Batch) -> Mapping[str, Array]:
    return {"output-0": sums(batch)["output-0"] * np.nan}


def several(batch: Batch) -> Mapping[str, Array]:
    return {**sums(batch), "rows": np.asarray(batch.inputs["x"]), "text": np.asarray(["a"])}


SPLIT = make_table(
    churn=(make_route(version="2", weight=50, track=Track.CANARY), make_route(weight=50))
)


def body(**fields: Any) -> bytes:
    return json.dumps({**ROW, **fields}).encode()


NESTED = {"inputs": [{**ROW["inputs"][0], "data": [[1.5, 2.0]]}]}


@pytest.mark.parametrize("predict", [sums, wide, torn, no_number, several])
@pytest.mark.parametrize(
    ("path", "text", "headers"),
    [
        pytest.param(INFER, BODY, b"", id="flat"),
        pytest.param(INFER, body(id="mine"), b"", id="with-an-id"),
        pytest.param(INFER, body(id=""), b"", id="with-an-empty-id"),
        pytest.param(INFER, body(**NESTED), b"", id="nested"),
        pytest.param(INFER, body(inputs=[]), b"", id="malformed"),
        pytest.param(INFER, body(outputs=[{"name": "output-0"}]), b"", id="outputs"),
        pytest.param("/v2/models/churn/versions/1/infer", BODY, b"", id="its-version"),
        pytest.param("/v2/models/churn/versions/9/infer", BODY, b"", id="no-such-version"),
        pytest.param("/v2/models/nobody/infer", BODY, b"", id="no-such-model"),
        pytest.param(INFER, BODY, b"X-Routing-Key: a\r\n", id="routing-key"),
        pytest.param(INFER, BODY, b"Accept-Encoding: gzip\r\n", id="compressible"),
        pytest.param(INFER, BODY, b"X-Request-Timeout-Ms: 5000\r\n", id="timeout"),
        pytest.param(INFER, BODY, b"Connection: keep-alive\r\n", id="keep-alive"),
    ],
)
def test_a_known_head_changes_no_answer_and_no_count(
    path: str, text: bytes, headers: bytes, predict: Any
) -> None:
    known, general = Fleet(SPLIT, predict), Fleet(SPLIT, predict)
    request = post(path, text, headers)

    answers = answers_to(known, request, 3)

    # A chunked body never is a known head's.
    expected = answers_to(general, chunked(text, path, headers), 3)
    assert answers == expected
    for family in (REQUESTS, ERRORS, IN_FLIGHT):
        assert known.counted(family) == general.counted(family)


def test_the_version_follows_the_id_as_on_the_general_way() -> None:
    def versions(send: Any) -> list[bytes]:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> Any:
            answers = []
            for number in range(40):
                writer.write(send(body(id=f"request-{number:03}")))
                answers.append((await read_answer(reader))[1][b"x-model-version"])
            return answers

        found: list[bytes] = on_connection(talk, Fleet(SPLIT))
        return found

    known = versions(lambda text: post(body=text))

    assert set(known) == {b"1", b"2"}
    assert known == versions(chunked)


def test_a_new_table_is_followed() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Fleet) -> Any:
        versions = []
        for version in ("1", "2"):
            fleet.apply(make_table(churn=(make_route(version=version),)))
            for _ in range(3):
                writer.write(post())
                versions.append((await read_answer(reader))[1][b"x-model-version"])
        fleet.apply(make_table())
        writer.write(post())
        return versions, (await read_answer(reader))[0]

    assert on_connection(talk, Fleet()) == (
        [b"1"] * 3 + [b"2"] * 3,
        b"HTTP/1.1 404 Not Found",
    )


def test_a_client_that_leaves_is_not_computed_for() -> None:
    async def hang(batch: Batch) -> Mapping[str, Array]:
        if batch.inputs["x"][0, 0] == 0:
            await asyncio.sleep(3600)
        return sums(batch)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fleet: Fleet) -> Any:
        writer.write(post())
        await read_answer(reader)
        writer.write(post(body=BODY.replace(b"1.5", b"0.0")))
        while not fleet.transport.running:
            await asyncio.sleep(0)
        writer.close()
        while fleet.transport.running:
            await asyncio.sleep(0)
        return sum(fleet.counted(IN_FLIGHT).values())

    assert on_connection(talk, Fleet(predict=hang)) == 0


def test_requests_behind_a_known_one_wait_for_their_turn() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> Any:
        writer.write(post())
        await read_answer(reader)
        for number in range(1, 5):
            writer.write(post(body=BODY.replace(b"1.5", b"%d.0" % number)))
            await asyncio.sleep(0)  # so that they come one by one
        return [json.loads((await read_answer(reader))[2])["outputs"][0]["data"] for _ in range(4)]

    assert on_connection(talk, Fleet()) == [[3.0], [4.0], [5.0], [6.0]]


def test_bodies_of_all_lengths_are_answered_on_one_connection() -> None:
    numbers = [1, 1.5, 123456789, 0.1 + 0.2, -7, 1e300, 10]

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: Fleet) -> Any:
        found = []
        for number in numbers:
            writer.write(post(body=BODY.replace(b"1.5", json.dumps(number).encode())))
            found.append(json.loads((await read_answer(reader))[2])["outputs"][0]["data"])
        return found

    assert on_connection(talk, Fleet()) == [[number + 2.0] for number in numbers]
