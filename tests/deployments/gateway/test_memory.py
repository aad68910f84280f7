"""Answers are remembered whichever way requests come in, and reach the controller once."""

import asyncio
import json
from typing import Any

import pytest

from deployments.gateway import memory
from deployments.telemetry import REMEMBERED
from deployments.traffic.feedback import Prediction, Remembered, decode_prediction
from deployments.traffic.table import Remembering, Track
from tests.deployments.gateway.hosted import INFER, INVOKE, JSON, ROW, Fleet, express_door
from tests.deployments.gateway.rpc import grpc_door, raw_request
from tests.fakes import make_route, make_table

WITHIN_S = 10.0
PINNED = "/v2/models/churn/versions/1/infer"
ALL = Remembering(1.0)
TABLE = make_table(feedback=ALL, churn=(make_route(),))


def flat(rows: int = 1, **fields: Any) -> bytes:
    tensor = {"name": "x", "shape": [rows, 2], "datatype": "FP64", "data": [1.5, 2.0] * rows}
    return json.dumps({"inputs": [tensor], **fields}).encode()


def held(fleet: Fleet) -> list[tuple[str, str, str, Prediction]]:
    return [
        (each.model, each.request, each.version, decode_prediction(each.prediction))
        for each in fleet.inference.memory.due()
    ]


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        pytest.param(INFER, flat(), "mine", id="flat"),
        pytest.param(INFER, flat(id="body"), "body", id="flat-with-an-id"),
        pytest.param(INFER, flat(parameters={"priority": 1}), "mine", id="not-flat"),
        pytest.param(INFER, flat(id="body", parameters={"priority": 1}), "body", id="with-an-id"),
        pytest.param(PINNED, flat(), "mine", id="pinned"),
        pytest.param(INVOKE, b'{"inputs": [[1.5, 2.0]]}', "mine", id="mlflow"),
    ],
)
def test_http(path: str, body: bytes, name: str) -> None:
    fleet = Fleet(TABLE)

    answer = fleet("POST", path, content=body, headers={**JSON, "X-Request-Id": "mine"})

    assert answer.status_code == 200
    assert answer.json().get("id", name) == name
    assert held(fleet) == [("churn", name, "1", Prediction(1, [3.5]))]


@pytest.mark.usefixtures("door")
def test_the_rows_of_a_request_are_its_own() -> None:
    fleet = Fleet(TABLE)

    fleet("POST", INFER, content=flat(3, id="three"), headers=JSON)

    assert held(fleet) == [("churn", "three", "1", Prediction(3, [3.5] * 3))]


@pytest.mark.ray  # starts a server
def test_requests_that_share_batches() -> None:
    fleet = Fleet(TABLE)

    async def run() -> None:
        fleet.apply()
        async with asyncio.timeout(WITHIN_S), express_door(fleet.app) as client:
            bodies = [
                {"inputs": [{**ROW["inputs"][0], "data": [float(n), 0.5]}], "id": f"q{n}"}
                for n in range(20)
            ]
            await asyncio.gather(*(client.post(INFER, json=body) for body in bodies))

    asyncio.run(run())

    assert {name: answer.values for _, name, _, answer in held(fleet)} == {
        f"q{n}": [n + 0.5] for n in range(20)
    }


@pytest.mark.ray  # starts a server
def test_grpc() -> None:
    fleet = Fleet(TABLE)

    async def asking() -> Any:
        yield raw_request((1.5, 2.0), id="in-a-stream").SerializeToString()

    async def run() -> str:
        async with asyncio.timeout(WITHIN_S), grpc_door(fleet) as client:
            reply = await client.infer(raw_request((1.5, 2.0)))
            assert [answer async for answer in client.stream(asking())]
            return str(reply.message.id)

    name = asyncio.run(run())

    assert held(fleet) == [
        ("churn", name, "1", Prediction(1, [3.5])),
        ("churn", "in-a-stream", "1", Prediction(1, [3.5])),
    ]


@pytest.mark.usefixtures("door")
def test_copies_failures_and_models_without_feedback_are_not_remembered() -> None:
    shadow = make_route(version="2", weight=0, track=Track.SHADOW, mirror=100)
    fleet = Fleet(make_table(feedback=ALL, churn=(shadow, make_route())))
    plain = Fleet(make_table(churn=(make_route(),)))

    fleet("POST", INFER, content=flat(id="q1"), headers=JSON)
    fleet("POST", INFER, content=b"{", headers=JSON)
    plain("POST", INFER, content=flat(id="q1"), headers=JSON)

    assert [(name, version) for _, name, version, _ in held(fleet)] == [("q1", "1")]
    assert held(plain) == []


def test_feedback_may_be_switched_on_and_off() -> None:
    fleet = Fleet(TABLE)
    plain = make_table(revision=2, churn=(make_route(),))
    again = make_table(revision=3, feedback=ALL, churn=(make_route(),))

    async def run() -> None:
        for number, table in enumerate([TABLE, plain, again, again]):
            fleet.apply(table)
            await fleet.ask("POST", INFER, content=flat(id=f"q{number}"), headers=JSON)

    asyncio.run(run())

    assert [name for _, name, _, _ in held(fleet)] == ["q0", "q2", "q3"]


def test_a_share_is_remembered() -> None:
    fleet = Fleet(make_table(feedback=Remembering(0.25), churn=(make_route(),)))

    async def run() -> None:
        for number in range(200):
            await fleet.ask("POST", INFER, content=flat(id=f"q{number}"), headers=JSON)

    asyncio.run(run())

    assert 26 <= len(held(fleet)) <= 74  # four standard deviations
    names = [name for _, name, _, _ in held(fleet)]
    assert len(set(names)) == len(names)


def test_what_was_not_taken_is_sent_again_and_what_was_is_not() -> None:
    fleet = Fleet(TABLE)
    taken: list[str] = []
    away = True

    async def send(answers: list[Remembered]) -> bool:
        if not away:
            taken.extend(each.request for each in answers)
        return not away

    async def ask(*names: str) -> None:
        for name in names:
            await fleet.ask("POST", INFER, content=flat(id=name), headers=JSON)

    async def run() -> None:
        nonlocal away
        await ask("q1", "q2")
        await fleet.inference.memory.ship(send)
        away = False
        await ask("q3")
        await fleet.inference.memory.ship(send)
        await fleet.inference.memory.ship(send)

    asyncio.run(run())

    assert taken == ["q1", "q2", "q3"]
    assert fleet.inference.memory.due() == []


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MOST_HELD", 3)
    monkeypatch.setattr(memory, "MOST_SHIPPED", 2)
    fleet = Fleet(TABLE)
    calls: list[list[str]] = []

    async def send(answers: list[Remembered]) -> bool:
        calls.append([each.request for each in answers])
        return True

    async def run() -> None:
        for name in ("q1", "q2", "q3", "q4", "x" * 300):
            await fleet.ask("POST", INFER, content=flat(id=name), headers=JSON)
        await fleet.inference.memory.ship(send)

    asyncio.run(run())

    assert calls == [["q1", "q2"], ["q3"]]
    labels = ("churn", "1", "stable")
    assert fleet.counted(REMEMBERED) == {(*labels, "kept"): 3, (*labels, "dropped"): 1}
