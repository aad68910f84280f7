"""What every way to a version's replicas must do, whichever carries the batch."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from deployments.errors import PredictionError
from deployments.gateway.transport import ReplicaGoneError, Transport
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Array, Batch, Form, Layout
from tuning.tracecontext import Parent

RAISE, HANG, DIE = -1.0, -2.0, -3.0
"""First numbers that make the model misbehave; any other batch is answered with its rows' sums."""

WITHIN_S = 30.0

PARENT = Parent("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True, "vendor=1")
"""Span of a batch that is traced."""


class Model:
    """The replica's side. `die` ends its process, or what stands for one."""

    def __init__(self, die: Callable[[], None]) -> None:
        self._die = die
        self._hanging = 0

    @property
    def is_busy(self) -> bool:
        """Whether a call hangs in it."""
        return self._hanging > 0

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        """Answer, or do as the first number says."""
        first = next(iter(batch.inputs.values())).flat[0]
        if first == RAISE:
            raise PredictionError("churn", "1", "ValueError: no such luck")
        if first == DIE:
            self._die()
        if first in {HANG, DIE}:
            self._hanging += 1
            try:
                await asyncio.sleep(3600)
            finally:
                self._hanging -= 1
        outputs: Mapping[str, Array] = {
            "hanging": np.asarray([self._hanging]),
            "depth": np.asarray([depth]),
            "gateway": np.asarray([gateway], dtype=object),
            "request_ids": np.asarray([batch.request_ids], dtype=object),
            "trace": np.asarray([batch.trace and batch.trace.header], dtype=object),
            **{name: np.asarray(array) for name, array in batch.inputs.items()},
        }
        return Prediction(outputs, Form.NAMED, predict_s=0.001, wait_s=0.0)


def batch(*numbers: Any, **more: Array) -> Batch:
    """A batch of one input and perhaps others, of two requests."""
    inputs = {"x": np.asarray(numbers), **more}
    return Batch(inputs, {"threshold": 0.5}, Layout.NAMED_TENSORS, (), b"id-1\nid-2")


class TransportContract(ABC):
    """Subclasses say how a transport to two replicas comes about."""

    @abstractmethod
    def transport(self) -> AbstractAsyncContextManager[Transport]:
        """A transport to two replicas of `Model`, ready."""

    def run(self, test: Callable[[Transport], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with asyncio.timeout(WITHIN_S), self.transport() as transport:
                await test(transport)

        self.execute(whole())

    def execute(self, whole: Coroutine[Any, Any, None]) -> None:
        """Run a test, on a loop of its own unless a subclass has reasons."""
        asyncio.run(whole)

    @pytest.mark.parametrize(
        "array",
        [
            pytest.param(np.arange(6.0).reshape(2, 3), id="float64"),
            pytest.param(np.arange(6, dtype=np.float16).reshape(3, 2), id="float16"),
            pytest.param(
                np.asfortranarray(np.arange(6, dtype=np.int8).reshape(2, 3)), id="fortran"
            ),
            pytest.param(np.arange(12.0)[::2], id="strided"),
            pytest.param(np.zeros((0, 4), np.float32), id="no-rows"),
            pytest.param(np.asarray(["a", "ü", ""], dtype=object), id="text"),
            pytest.param(np.asarray([b"\x00\xff", b""], dtype=object), id="bytes"),
            pytest.param(np.asarray(["2024-02-29", "NaT"], "datetime64[ns]"), id="times"),
            pytest.param(np.asarray([True, False]), id="booleans"),
            pytest.param(np.ones((1000, 1000)), id="eight-megabytes"),
        ],
    )
    def test_arrays_come_back_as_they_went(self, array: Array) -> None:
        async def test(transport: Transport) -> None:
            answer = await transport.predict(batch(1.0, more=array), 1, WITHIN_S)

            got = answer.arrays["more"]
            assert (got.dtype, got.shape) == (array.dtype, array.shape)
            np.testing.assert_array_equal(got, array)

        self.run(test)

    def test_the_replica_hears_who_asks_and_how_many_wait(self) -> None:
        async def test(transport: Transport) -> None:
            answer = await transport.predict(batch(1.0), 17, WITHIN_S)

            assert list(answer.arrays["depth"]) == [17]
            assert list(answer.arrays["gateway"]) == ["gateway-1"]
            assert list(answer.arrays["request_ids"]) == [b"id-1\nid-2"]

        self.run(test)

    @pytest.mark.parametrize("parent", [PARENT, None], ids=["traced", "not-traced"])
    def test_a_batch_s_trace_goes_with_it(self, parent: Parent | None) -> None:
        async def test(transport: Transport) -> None:
            answer = await transport.predict(replace(batch(1.0), trace=parent), 1, WITHIN_S)

            assert list(answer.arrays["trace"]) == [parent and parent.header]

        self.run(test)

    def test_many_at_the_same_time(self) -> None:
        async def test(transport: Transport) -> None:
            asked = [transport.predict(batch(float(n)), n, WITHIN_S) for n in range(50)]

            answers = await asyncio.gather(*asked)

            assert [answer.arrays["x"][0] for answer in answers] == list(range(50))

        self.run(test)

    def test_what_the_model_raises_arrives_as_its_own_error(self) -> None:
        async def test(transport: Transport) -> None:
            with pytest.raises(PredictionError) as raised:
                await transport.predict(batch(RAISE), 1, WITHIN_S)

            assert str(raised.value) == "model 'churn' version 1 failed: ValueError: no such luck"
            assert (await transport.predict(batch(1.0), 1, WITHIN_S)).arrays["x"][0] == 1.0

        self.run(test)

    def test_a_call_that_is_cancelled_ends_at_the_replica(self) -> None:
        async def test(transport: Transport) -> None:
            hanging = [
                asyncio.ensure_future(transport.predict(batch(HANG), 1, WITHIN_S)) for _ in range(4)
            ]
            await self.until(transport, lambda most: most > 0)
            for call in hanging:
                call.cancel()
            await asyncio.gather(*hanging, return_exceptions=True)

            await self.until(transport, lambda most: most == 0)

        self.run(test)

    async def until(self, transport: Transport, holds: Callable[[int], bool]) -> None:
        """Ask both replicas how many calls hang in them, until the most of it is right."""
        while True:
            asked = [transport.predict(batch(1.0), 1, WITHIN_S) for _ in range(8)]
            most = max(int(a.arrays["hanging"][0]) for a in await asyncio.gather(*asked))
            if holds(most):
                return
            await asyncio.sleep(0.01)


class ReplicaTransportContract(TransportContract):
    """What holds in addition where the model has a process of its own."""

    def test_a_replica_that_dies_is_named_so_and_the_other_answers(self) -> None:
        async def test(transport: Transport) -> None:
            with pytest.raises(ReplicaGoneError):
                await transport.predict(batch(DIE), 1, WITHIN_S)

            for number in range(10):
                answer = await transport.predict(batch(float(number)), 1, WITHIN_S)
                assert answer.arrays["x"][0] == number

        self.run(test)
