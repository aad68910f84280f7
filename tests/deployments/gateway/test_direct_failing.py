"""A replica that fails at once is spared while another one does not."""

import asyncio
from typing import Any

import pytest

from deployments.errors import FleetError, PredictionError
from deployments.gateway import wire
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch, Form
from tests.contracts.transport import batch
from tests.deployments.gateway.test_direct import replicas, run


class Fickle:
    """A replica's model that raises at once, answers after a while, or never does."""

    def __init__(self) -> None:
        self.asked = 0
        self.does = "answer"

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        self.asked += 1
        if self.does == "raise":
            raise PredictionError("churn", "1", "RuntimeError: out of order")
        await asyncio.sleep(3600 if self.does == "hang" else 0.001)
        return Prediction(dict(batch.inputs), Form.NAMED, 0.0, 0.0)


async def ask(transport: Any, times: int) -> int:
    """Ask with four at a time; returns how many batches failed."""
    failed = 0

    async def some() -> None:
        nonlocal failed
        for _ in range(times // 4):
            try:
                await transport.predict(batch(1.0), 1, 1.0)
            except FleetError:
                failed += 1

    await asyncio.gather(*[some() for _ in range(4)])
    return failed


def fickle(found: list[Any]) -> list[Fickle]:
    models = [Fickle() for _ in found]
    for each, model in zip(found, models, strict=True):
        each.door._predict = model.predict
        for peer in each.door._peers:
            peer._predict = model.predict
    return models


def test_one_that_always_fails_gets_few_batches_more() -> None:
    async def test() -> None:
        async with replicas(n=2) as (transport, found, _):
            good, bad = fickle(found)
            bad.does = "raise"

            assert await ask(transport, 400) <= wire.MOST_FAILURES + 3
            assert good.asked >= 380

    run(test)


def test_it_is_tried_again_with_one_batch_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SPARED_S", 0.05)

    async def test() -> None:
        async with replicas(n=2) as (transport, found, _):
            _, bad = fickle(found)
            bad.does = "raise"
            await ask(transport, 100)

            await asyncio.sleep(0.06)
            before = bad.asked
            assert await ask(transport, 8) == 1
            assert bad.asked == before + 1

            bad.does = "answer"
            await asyncio.sleep(0.06)
            assert await ask(transport, 100) == 0
            assert bad.asked > before + 10

    run(test)


def test_where_all_fail_all_are_asked() -> None:
    async def test() -> None:
        async with replicas(n=2) as (transport, found, _):
            models = fickle(found)
            for model in models:
                model.does = "raise"

            assert await ask(transport, 200) == 200
            assert min(model.asked for model in models) > 50

    run(test)


def test_one_that_hangs_in_a_batch_is_spared_once_nobody_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(wire, "LEAST_OVERDUE_S", 0.02)

    async def test() -> None:
        async with replicas(n=2) as (transport, found, _):
            models = fickle(found)
            models[0].does = models[1].does = "hang"
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(transport.predict(batch(1.0), 1, 0.04), 0.04)
            (hung,) = [model for model in models if model.asked]
            next(model for model in models if model is not hung).does = "answer"

            for _ in range(20):
                await transport.predict(batch(1.0), 1, 1.0)

            assert hung.asked == 1

    run(test)
