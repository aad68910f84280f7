"""What counts against a version is the same, whichever way its requests come in."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from deployments.controller.counts import counts_of
from deployments.errors import PredictionError
from deployments.protocols.tensors import Array, Batch
from deployments.rollout.signals import Counts
from deployments.telemetry import ERRORS
from tests.deployments.gateway.hosted import INFER, INVOKE, JSON, Fleet, express_door
from tests.deployments.gateway.rpc import grpc_door, raw_request, typed_request

WITHIN_S = 20.0
FINE, NO_NUMBER, RAISES = 1.0, 2.0, 3.0
NUMBERS = (FINE, NO_NUMBER, FINE, RAISES, FINE)


def moody(batch: Batch) -> Mapping[str, Array]:
    (array,) = batch.inputs.values()
    if RAISES in array:
        raise PredictionError("churn", "1", "ValueError: no")
    return {"output-0": np.where(array[:, 0] == NO_NUMBER, np.nan, array.sum(axis=1))}


def judged(fleet: Fleet) -> Counts:
    counts = counts_of([fleet.counters.snapshot()], "churn", "1")
    assert sum(counts.latency) >= counts.requests - counts.errors
    return Counts(requests=counts.requests, errors=counts.errors)


def flat(number: float) -> bytes:
    row = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [number, 0.5]}
    return json.dumps({"inputs": [row]}).encode()


def not_flat(number: float) -> bytes:
    return json.dumps({**json.loads(flat(number)), "parameters": {"priority": 1}}).encode()


def invocation(number: float) -> bytes:
    return json.dumps({"inputs": [[number, 0.5]]}).encode()


@pytest.mark.usefixtures("door")
@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(INFER, flat, id="flat"),
        pytest.param(INFER, not_flat, id="not-flat"),
        pytest.param("/v2/models/churn/versions/1/infer", flat, id="pinned"),
        pytest.param(INVOKE, invocation, id="mlflow"),
    ],
)
def test_http(path: str, body: Any) -> None:
    fleet = Fleet(predict=moody)

    for number in NUMBERS:
        fleet("POST", path, content=body(number), headers=JSON)
    fleet("POST", path, content=b'{"inputs": 5}', headers=JSON)
    fleet("POST", path.replace("churn", "nobody"), content=body(FINE), headers=JSON)

    assert judged(fleet) == Counts(requests=5, errors=2)
    assert sum(fleet.counted(ERRORS).values()) == 4


@pytest.mark.ray  # starts a server
def test_flat_requests_that_share_a_connection_and_batches() -> None:
    fleet = Fleet(predict=moody)

    async def run() -> None:
        fleet.apply()
        async with asyncio.timeout(WITHIN_S), express_door(fleet.app) as client:
            bodies = [flat(number) for number in NUMBERS * 8]
            await asyncio.gather(
                *(client.post(INFER, content=body, headers=JSON) for body in bodies)
            )

    asyncio.run(run())

    counts = counts_of([fleet.counters.snapshot()], "churn", "1")
    assert (counts.requests, counts.errors) == (40, 16)
    # What is answered together is one observation of how long that takes.
    assert 0 < sum(counts.latency) <= counts.requests - counts.errors + 8


@pytest.mark.ray  # starts a server
@pytest.mark.parametrize("ask", [raw_request, typed_request], ids=["raw", "typed"])
def test_grpc(ask: Any) -> None:
    fleet = Fleet(predict=moody)

    async def run() -> None:
        async with asyncio.timeout(WITHIN_S), grpc_door(fleet) as client:
            for number in NUMBERS:
                await client.infer(ask((number, 0.5)))
            await client.infer(ask((FINE, 0.5), model_version="1", model_name="nobody"))
            await client.infer(b"\xff")

    asyncio.run(run())

    assert judged(fleet) == Counts(requests=5, errors=2)


@pytest.mark.ray  # starts a server
def test_grpc_streams() -> None:
    fleet = Fleet(predict=moody)

    async def asking() -> Any:
        for number in NUMBERS:
            yield raw_request((number, 0.5)).SerializeToString()

    async def run() -> int:
        async with asyncio.timeout(WITHIN_S), grpc_door(fleet) as client:
            return len([answer async for answer in client.stream(asking())])

    assert asyncio.run(run()) == 5
    assert judged(fleet) == Counts(requests=5, errors=2)


@pytest.mark.usefixtures("door")
def test_an_answer_that_is_no_number_and_cannot_be_sent_is_one_failure() -> None:
    def unwritable(batch: Batch) -> Mapping[str, Array]:
        objects = np.array([object()] * len(next(iter(batch.inputs.values()))))
        return {"output-0": np.full(len(objects), np.nan), "output-1": objects}

    fleet = Fleet(predict=unwritable)

    answer = fleet("POST", INFER, content=flat(FINE), headers=JSON)

    assert answer.status_code == 500
    assert judged(fleet) == Counts(requests=1, errors=1)
