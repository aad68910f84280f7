"""How long requests had to wait, one observation for each batch."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from deployments.errors import DeadlineExceededError, PredictionError
from deployments.gateway.batching import VersionQueue
from deployments.protocols.tensors import Batch
from deployments.telemetry import ANSWER
from tests.deployments.gateway.queues import ask, make_queue, outcomes
from tests.fakes import FakeTransport, run_virtually, sums


@dataclass(frozen=True, slots=True)
class Client:
    routing_key: str | None = None
    given_id: str = "q1"
    logged_id: bytes = b"q1"
    span: None = None


CLIENT = Client()


def times(queue: VersionQueue) -> list[float]:
    """How many there are, and their sum in seconds."""
    rows = queue.counters.snapshot().families[ANSWER.name]
    return [sum(sum(row.counts) for row in rows), sum(row.total for row in rows)]


def test_the_first_request_of_a_batch_speaks_for_it() -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> list[float]:
        queue = make_queue(transport)
        first = asyncio.ensure_future(queue.answer(ask(0), 30.0, CLIENT))
        await asyncio.sleep(0.25)
        second = asyncio.ensure_future(queue.answer(ask(1), 30.0, CLIENT))
        await asyncio.sleep(0.5)
        await outcomes(first, second, queue.answer(ask(2), 30.0, CLIENT))
        return times(queue)

    assert run_virtually(test) == pytest.approx([2, 0.75 + 2 * transport.predict_s], abs=1e-4)
    assert transport.rows == [[0.0], [1.0, 2.0]]


def test_copies_wait_for_nobody() -> None:
    async def test() -> list[float]:
        queue = make_queue(FakeTransport())
        await queue.answer(ask(0), 30.0)
        return times(queue)

    assert run_virtually(test) == [0, 0.0]


def test_a_batch_that_hangs_counts_once_with_the_time_that_it_was_waited_for() -> None:
    async def hang(batch: Batch) -> Any:
        await asyncio.sleep(1_000)
        return sums(batch)

    async def test() -> tuple[list[Any], list[float]]:
        queue = make_queue(FakeTransport(hang))
        answers = await outcomes(*(queue.answer(ask(n), 2.0, CLIENT) for n in range(3)))
        return answers, times(queue)

    answers, counted = run_virtually(test)

    assert answers == [DeadlineExceededError] * 3
    assert counted == pytest.approx([1, 2.0], abs=0.01)


@pytest.mark.parametrize(
    ("leaves_s", "counted"),
    [pytest.param(0.5, 1, id="before-the-usual-time"), pytest.param(1.5, 2, id="after-it")],
)
def test_a_client_that_leaves_says_something_only_after_the_usual_time(
    leaves_s: float, counted: int
) -> None:
    async def hang_then(batch: Batch) -> Any:
        await asyncio.sleep(1.0 if 0.0 in batch.inputs["x"] else 1_000.0)
        return sums(batch)

    async def test() -> float:
        queue = make_queue(FakeTransport(hang_then))
        await queue.answer(ask(0), 30.0, CLIENT)
        leaving = asyncio.ensure_future(queue.answer(ask(5), 30.0, CLIENT))
        await asyncio.sleep(leaves_s)
        leaving.cancel()
        await outcomes(leaving)
        return times(queue)[0]

    assert run_virtually(test) == counted


def test_what_the_model_raised_for_is_no_quick_answer() -> None:
    def fail(_: Batch) -> Any:
        raise PredictionError("churn", "1", "no")

    async def test() -> list[float]:
        queue = make_queue(FakeTransport(fail))
        await outcomes(queue.answer(ask(0), 30.0, CLIENT))
        return times(queue)

    assert run_virtually(test) == [0, 0.0]
