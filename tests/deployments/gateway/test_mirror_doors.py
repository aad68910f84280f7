"""Requests are mirrored however they come in, and clients cannot tell."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pytest

from deployments.errors import PredictionError
from deployments.protocols.tensors import Array, Batch
from deployments.telemetry import MIRRORED
from deployments.traffic.differences import Difference, decode_sampled
from deployments.traffic.table import Mirroring, Track
from tests.deployments.gateway.hosted import INFER, INVOKE, JSON, ROW, Fleet, express_door
from tests.deployments.gateway.rpc import grpc_door, raw_request, typed_request, until
from tests.fakes import make_route, make_table

WITHIN_S = 10.0
PINNED = "/v2/models/churn/versions/{}/infer"
BINARY = json.dumps(
    {
        "inputs": [
            {
                "name": "x",
                "shape": [1, 2],
                "datatype": "FP64",
                "parameters": {"binary_data_size": 16},
            }
        ]
    }
).encode()
TABLE = make_table(
    mirroring=Mirroring(1e-6, 5),
    churn=(make_route(version="2", weight=0, track=Track.SHADOW, mirror=100), make_route()),
)
NAMES = {"X-Request-Id": "mine", "X-Routing-Key": "anna"}


def zeros(batch: Batch) -> Mapping[str, Array]:
    """A shadow that answers something else."""
    (array,) = batch.inputs.values()
    return {"output-0": np.zeros(len(array))}


def fail(_: Batch) -> Mapping[str, Array]:
    raise PredictionError("churn", "2", "no")


def kept(fleet: Fleet) -> Difference:
    (report,) = fleet.inference.mirroring.reports()
    (found,) = decode_sampled(report.body).kept
    return found


async def mirrored(fleet: Fleet, requests: int = 1) -> None:
    """Wait until so many requests were mirrored."""
    await until(lambda: sum(fleet.counted(MIRRORED).values()) >= requests)


def post(fleet: Fleet, path: str, content: bytes, headers: Mapping[str, str]) -> httpx.Response:
    async def run() -> httpx.Response:
        async with asyncio.timeout(WITHIN_S):
            answer = await fleet.ask("POST", path, content=content, headers=headers)
            if answer.status_code == 200 and "versions/2" not in path:
                await mirrored(fleet)
        return answer

    return asyncio.run(run())


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        pytest.param(INFER, json.dumps(ROW).encode(), JSON, id="json"),
        pytest.param(
            INFER,
            json.dumps({**ROW, "parameters": {"priority": 1}}).encode(),
            JSON,
            id="json-that-is-not-flat",
        ),
        pytest.param(PINNED.format(1), json.dumps(ROW).encode(), JSON, id="pinned-to-stable"),
        pytest.param(
            INFER,
            BINARY + np.array([1.5, 2.0]).tobytes(),
            {"Inference-Header-Content-Length": str(len(BINARY))},
            id="binary",
        ),
        pytest.param(INVOKE, b'{"inputs": [[1.5, 2.0]]}', JSON, id="mlflow"),
    ],
)
def test_http(path: str, body: bytes, headers: Mapping[str, str]) -> None:
    fleet = Fleet(TABLE, v2=zeros)
    alone = Fleet(make_table(churn=(make_route(),)))
    named = {**headers, **NAMES}

    answer = post(fleet, path, body, named)

    expected = asyncio.run(alone.ask("POST", path, content=body, headers=named))
    assert (answer.status_code, answer.content) == (200, expected.content)
    assert answer.headers["x-model-version"] == "1"
    assert fleet.counted(MIRRORED) == {("churn", "2", "shadow", "differed"): 1}
    found = kept(fleet)
    assert (found.request_id, found.routing_key) == ("mine", "anna")
    assert (found.inputs, found.largest) == ({"x": [[1.5, 2.0]]}, 3.5)
    assert (found.stable, found.mirrored) == ({"output-0": [3.5]}, {"output-0": [0.0]})


@pytest.mark.usefixtures("door")
def test_the_id_in_a_body_names_a_request_and_is_its_key() -> None:
    fleet = Fleet(TABLE, v2=zeros)

    post(fleet, INFER, json.dumps({**ROW, "id": "body"}).encode(), JSON)

    assert (kept(fleet).request_id, kept(fleet).routing_key) == ("body", "body")


@pytest.mark.usefixtures("door")
def test_a_failing_shadow_is_nobody_s_business() -> None:
    fleet = Fleet(TABLE, v2=fail)

    answer = post(fleet, INFER, json.dumps(ROW).encode(), JSON)

    assert answer.json()["outputs"][0]["data"] == [3.5]
    assert fleet.counted(MIRRORED) == {("churn", "2", "shadow", "failed"): 1}


@pytest.mark.usefixtures("door")
def test_a_shadow_can_be_asked_by_its_version_which_is_not_mirrored() -> None:
    fleet = Fleet(TABLE, v2=zeros)

    answer = post(fleet, PINNED.format(2), json.dumps(ROW).encode(), JSON)

    assert answer.json()["outputs"][0]["data"] == [0.0]
    assert fleet.counted(MIRRORED) == {}


@pytest.mark.ray  # starts a server
def test_flat_requests_on_a_connection_that_is_known() -> None:
    fleet = Fleet(TABLE, v2=zeros)
    numbers = range(1, 31)

    async def run() -> list[list[float]]:
        fleet.apply()
        answers = []
        async with asyncio.timeout(WITHIN_S), express_door(fleet.app) as client:
            for number in numbers:
                row = {**ROW["inputs"][0], "data": [float(number), 0.5]}
                answer = await client.post(INFER, json={"inputs": [row], "id": f"r{number}"})
                answers.append(answer.json()["outputs"][0]["data"])
            await mirrored(fleet, len(numbers))
        return answers

    answers = asyncio.run(run())

    assert answers == [[number + 0.5] for number in numbers]
    assert fleet.counted(MIRRORED) == {("churn", "2", "shadow", "differed"): 30}
    assert [n for rows in fleet.others["v2"].rows for n in rows] == [*map(float, numbers)]


@pytest.mark.ray  # starts a server
@pytest.mark.parametrize("ask", [raw_request, typed_request], ids=["raw", "typed"])
def test_grpc(ask: Any) -> None:
    fleet = Fleet(TABLE, v2=zeros)

    async def run() -> Any:
        async with asyncio.timeout(WITHIN_S), grpc_door(fleet) as client:
            metadata = {name.lower(): value for name, value in NAMES.items()}
            reply = await client.infer(ask((1.5, 2.0)), metadata=metadata)
            await mirrored(fleet)
            return reply

    reply = asyncio.run(run())

    assert (reply.code, reply.message.model_version) == ("OK", "1")
    found = kept(fleet)
    assert (found.request_id, found.routing_key) == ("mine", "anna")
    assert (found.inputs, found.mirrored) == ({"x": [[1.5, 2.0]]}, {"output-0": [0.0]})


@pytest.mark.ray  # starts a server
def test_grpc_streams() -> None:
    fleet = Fleet(TABLE, v2=zeros)

    async def run() -> int:
        async def asking() -> Any:
            for number in range(5):
                yield raw_request((number, 1.0)).SerializeToString()

        async with asyncio.timeout(WITHIN_S), grpc_door(fleet) as client:
            answers = [answer async for answer in client.stream(asking())]
            await mirrored(fleet, 5)
        return len(answers)

    assert asyncio.run(run()) == 5
    assert fleet.counted(MIRRORED) == {("churn", "2", "shadow", "differed"): 5}
