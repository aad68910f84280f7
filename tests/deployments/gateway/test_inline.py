"""A copy in the gateway's process, beside replicas that live in the test."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from deployments.gateway.batching import VersionQueue
from deployments.gateway.direct import DirectTransport
from deployments.gateway.inline import LARGE_BATCH_BYTES, Copy, InlineTransport
from deployments.gateway.transport import Transport
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch, Form
from deployments.telemetry import Counters
from deployments.traffic.table import Route, TransportKind
from tests.contracts.transport import HANG, Model, TransportContract, batch
from tests.deployments.gateway.queues import ask
from tests.deployments.gateway.test_direct import HERE, Fallback, Replica, run
from tests.fakes import BATCHING, FakeTransport, make_route

WITHIN_S = 10.0


def route(kind: TransportKind = TransportKind.INLINE, **changes: Any) -> Route:
    return replace(make_route(), transport=kind, **{"runtime": "sklearn", **changes})


class Named:
    """A model that says who answered."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_busy = False

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        return Prediction({"by": np.asarray([self.name])}, Form.NAMED, 0.0, 0.0)


class Handle:
    """Serve's handle to replicas that answer."""

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        return Prediction({"by": np.asarray(["replica"])}, Form.NAMED, 0.0, 0.0)


def inline(load: Callable[[Route], Copy]) -> InlineTransport:
    return InlineTransport("gateway-1", DirectTransport("gateway-1", HERE, Handle()), load)


async def loaded(transport: InlineTransport) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not transport.own_copies:
            await asyncio.sleep(0.002)


async def who(transport: Transport, rows: int = 1) -> str:
    answer = await transport.predict(batch(*np.zeros(rows)), 1, WITHIN_S)
    return str(answer.arrays["by"][0])


class TestContract(TransportContract):
    """The copy answers, and one replica of the same model where it is busy."""

    def transport(self) -> AbstractAsyncContextManager[Transport]:
        return self._beside_a_replica()

    @asynccontextmanager
    async def _beside_a_replica(self) -> AsyncIterator[Transport]:
        model = Model(die=lambda: None)
        with tempfile.TemporaryDirectory() as folder:
            replica = Replica("replica-1", Path(folder), model)
            endpoint = await replica.open()
            direct = DirectTransport("gateway-1", HERE, Fallback())
            transport = InlineTransport("gateway-1", direct, lambda _: model)
            transport.update(route(endpoints=(endpoint,)))
            await loaded(transport)
            async with asyncio.timeout(WITHIN_S):
                while not direct.is_direct:
                    await asyncio.sleep(0.002)
            try:
                yield transport
            finally:
                transport.update(None)
                await replica.door.drain(0.0)


def test_the_replicas_answer_until_the_copy_is_there() -> None:
    async def test() -> None:
        may_load = asyncio.Event()
        loop = asyncio.get_running_loop()

        def load(_: Route) -> Named:
            asyncio.run_coroutine_threadsafe(may_load.wait(), loop).result(WITHIN_S)
            return Named("copy")

        transport = inline(load)
        transport.update(route())

        assert await who(transport) == "replica"
        may_load.set()
        await loaded(transport)
        assert await who(transport) == "copy"

    run(test)


def test_a_copy_that_cannot_be_loaded_is_tried_again(monkeypatch: Any) -> None:
    monkeypatch.setattr("deployments.gateway.inline.FIRST_RETRY_S", 0.01)
    attempts = []

    def load(wanted: Route) -> Named:
        attempts.append(wanted.runtime)
        if len(attempts) < 3:
            raise ConnectionError("the registry is away")
        return Named("copy")

    async def test() -> None:
        transport = inline(load)
        transport.update(route())
        assert await who(transport) == "replica"

        await loaded(transport)

        assert attempts == ["sklearn"] * 3

    run(test)


def test_a_busy_copy_leaves_batches_to_the_replicas() -> None:
    async def test() -> None:
        copy = Named("copy")
        transport = inline(lambda _: copy)
        transport.update(route())
        await loaded(transport)

        copy.is_busy = True

        assert await who(transport) == "replica"

    run(test)


def test_a_large_batch_goes_to_the_replicas() -> None:
    async def test() -> None:
        transport = inline(lambda _: Named("copy"))
        transport.update(route())
        await loaded(transport)
        rows = LARGE_BATCH_BYTES // 8

        assert await who(transport, rows) == "copy"
        assert await who(transport, rows + 1) == "replica"

    run(test)


def test_a_version_that_is_stable_no_longer_leaves_the_process() -> None:
    async def test() -> None:
        transport = inline(lambda _: Named("copy"))
        transport.update(route())
        await loaded(transport)

        transport.update(route(TransportKind.DIRECT))

        assert transport.own_copies == 0
        assert await who(transport) == "replica"

    run(test)


def test_another_runtime_is_another_copy() -> None:
    async def test() -> None:
        transport = inline(lambda wanted: Named(wanted.runtime))
        transport.update(route())
        await loaded(transport)
        transport.update(route(runtime="pyfunc"))
        await loaded(transport)

        assert await who(transport) == "pyfunc"

    run(test)


def test_replicas_asleep_are_woken_once_a_whole_batch_is_left_in_line() -> None:
    """Before that, the copy in the gateway takes one batch after the other."""

    async def most(asked: int) -> int:
        transport = FakeTransport(takes_s=0.01)
        transport.own_copies = 1
        queue = VersionQueue(
            "churn", "1", "stable", transport, BATCHING, 0, Counters("a"), lambda: 0.0
        )
        await asyncio.gather(*(queue.answer(ask(1), WITHIN_S) for _ in range(asked)))
        return transport.most_running

    async def test() -> None:
        size = BATCHING.max_batch_size or 0
        assert await most(size - 1) == 1
        assert await most(2 * size) == 2

    run(test)


def test_a_hanging_copy_does_not_hold_up_the_next_request() -> None:
    async def test() -> None:
        model = Model(die=lambda: None)
        transport = inline(lambda _: model)
        transport.update(route())
        await loaded(transport)
        hanging = asyncio.ensure_future(transport.predict(batch(HANG), 1, WITHIN_S))
        await asyncio.sleep(0)

        assert await who(transport) == "replica"

        hanging.cancel()

    run(test)
