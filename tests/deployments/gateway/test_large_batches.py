"""Batches that a frame can hardly carry, or not at all."""

import asyncio
from typing import Any

import numpy as np
import pytest

from deployments.errors import RequestTooLargeError
from deployments.gateway import wire
from tests.contracts.transport import batch
from tests.deployments.gateway.test_direct import replicas, run

WITHIN_S = 20.0


def test_more_arrays_than_a_frame_s_head_counts() -> None:
    rows = np.empty(70_000, dtype=object)
    rows[:] = [np.array([float(n)]) for n in range(70_000)]
    counted: list[int] = []

    async def test() -> None:
        async with replicas(n=1) as (transport, (replica,), _):
            (peer,) = replica.door._peers
            original = peer._predict

            async def predict(asked: Any, *others: Any) -> Any:
                counted.append(int(asked.inputs["rows"][69_999][0]))
                return await original(batch(1.0), *others)

            peer._predict = predict
            await transport.predict(batch(1.0, rows=rows), 1, WITHIN_S)

    run(test)

    assert counted == [69_999]


def test_a_batch_that_no_frame_can_carry_is_refused_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replica would close the connection, and the batch go to the next one as if that died."""
    monkeypatch.setattr(wire, "MAX_BYTES", 1_000_000)

    async def test() -> None:
        async with replicas(n=1) as (transport, _, _):
            with pytest.raises(RequestTooLargeError, match="at most 1000000 are accepted"):
                await transport.predict(batch(1.0, rows=np.ones(200_000)), 1, WITHIN_S)

            await asyncio.sleep(0)
            assert transport.is_direct
            (link,) = transport.ready
            assert link.in_flight == 0

    run(test)
