import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

from deployments.errors import (
    DeadlineExceededError,
    ModelNotReadyError,
    OverloadedError,
    PredictionError,
    ReplicaLostError,
    RequestTooLargeError,
)
from deployments.gateway.batching import VersionQueue
from deployments.gateway.transport import ReplicaGoneError
from deployments.protocols.tensors import Array, Batch, Outputs
from deployments.telemetry import IN_FLIGHT, PREDICT
from tests.deployments.gateway.queues import ask, busy, make_queue, outcomes, value
from tests.fakes import FakeTransport, loop_time, run_virtually, sums


def test_a_full_queue_refuses_and_keeps_what_it_has() -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> list[Any]:
        queue = make_queue(transport, max_queued_requests=2)
        first = await busy(queue)
        return await outcomes(first, *(queue.answer(ask(n), 30.0) for n in range(1, 5)))

    assert run_virtually(test) == [[1.0], [2.0], [3.0], OverloadedError, OverloadedError]


@pytest.mark.parametrize(
    "deadline_s",
    [pytest.param(0.5, id="the-line-outlasts-deadlines"), pytest.param(30.0, id="it-does-not")],
)
def test_three_times_too_many_requests_cost_no_answers(deadline_s: float) -> None:
    """Four rows each 20 ms are 200 a second at most; 600 a second come for four seconds."""
    transport = FakeTransport(takes_s=0.02)

    async def test() -> float:
        queue = make_queue(transport, max_queued_requests=500)
        answers = []
        while loop_time() < 4.0:
            answers.append(asyncio.ensure_future(outcomes(queue.answer(ask(1), deadline_s))))
            await asyncio.sleep(1 / 600)
        answered = [answer.result() == [[2.0]] for answer in answers if answer.done()]
        for answer in answers:
            answer.cancel()
        return sum(answered) / 4.0

    assert run_virtually(test) >= 0.9 * 200


@pytest.mark.parametrize("how", ["cancelled", "expired"])
def test_requests_that_nobody_waits_for_leave_their_place_in_the_queue(how: str) -> None:
    transport = FakeTransport(takes_s=10.0)

    async def test() -> tuple[int, list[Any]]:
        queue = make_queue(transport, max_queued_requests=2)
        first = await busy(queue)
        gone = [asyncio.ensure_future(outcomes(queue.answer(ask(n), 1.0))) for n in (7, 8)]
        await asyncio.sleep(0.5)
        for task in gone if how == "cancelled" else ():
            task.cancel()
        await asyncio.sleep(1.0)
        depth = queue.depth
        return depth, await outcomes(first, *(queue.answer(ask(n), 30.0) for n in (1, 2)))

    depth, answers = run_virtually(test)

    assert depth == 1
    assert answers == [[1.0], [2.0], [3.0]]
    assert transport.rows == [[0.0], [1.0, 2.0]]


def test_a_call_belongs_to_no_client_in_particular() -> None:
    client = ContextVar("client", default="nobody")
    seen: list[str] = []

    def note(batch: Batch) -> Mapping[str, Array]:
        seen.append(client.get())
        return sums(batch)

    async def test() -> None:
        client.set("the first")
        await outcomes(make_queue(FakeTransport(note)).answer(ask(1), 30.0))

    run_virtually(test)

    # Serve keeps its requests in context variables, and cancels a leaving client's calls.
    assert seen == ["nobody"]


def test_a_deadline_ends_the_wait_and_frees_the_replica() -> None:
    async def hang(batch: Batch) -> Mapping[str, Array]:
        if batch.inputs["x"][0, 0] == 0:
            await asyncio.sleep(1_000)
        return sums(batch)

    transport = FakeTransport(hang)

    async def test() -> tuple[list[Any], float]:
        queue = make_queue(transport)
        answers = await outcomes(queue.answer(ask(0), 2.0), later(queue))
        return answers, value(queue, IN_FLIGHT)

    async def later(queue: VersionQueue) -> Outputs:
        await asyncio.sleep(1.0)
        return await queue.answer(ask(1), 30.0)

    answers, in_flight = run_virtually(test)

    assert answers == [DeadlineExceededError, [2.0]]
    assert transport.sent[1].at_s == pytest.approx(2.0, abs=0.01)
    assert (transport.running, in_flight) == (0, 0)


def test_a_batch_is_given_up_only_when_its_last_request_has_expired() -> None:
    transport = FakeTransport(takes_s=3.0)

    async def test() -> list[Any]:
        queue = make_queue(transport)
        return await outcomes(queue.answer(ask(0), 2.0), queue.answer(ask(1), 4.0))

    assert run_virtually(test) == [DeadlineExceededError, [2.0]]


def test_a_cancelled_request_in_flight_does_not_disturb_its_companions() -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> tuple[list[Any], float]:
        queue = make_queue(transport)
        asked = [asyncio.ensure_future(queue.answer(ask(n), 30.0)) for n in range(2)]
        await asyncio.sleep(0.5)
        asked[0].cancel()
        return await outcomes(*asked), value(queue, IN_FLIGHT)

    answers, in_flight = run_virtually(test)

    assert answers == [asyncio.CancelledError, [2.0]]
    assert in_flight == 0


def raising(
    when: Callable[[list[float], int], bool], error: Exception
) -> tuple[FakeTransport, list[list[float]]]:
    """A transport that raises for a batch, judged by its rows and how many came before."""
    seen: list[list[float]] = []

    def predict(batch: Batch) -> Mapping[str, Array]:
        rows = [float(number) for number in batch.inputs["x"][:, 0]]
        seen.append(rows)
        if when(rows, len(seen)):
            raise error
        return sums(batch)

    return FakeTransport(predict), seen


async def three(transport: FakeTransport) -> tuple[list[Any], VersionQueue]:
    queue = make_queue(transport)
    answers = await outcomes(*(queue.answer(ask(n), 30.0) for n in (1, 2, 3)))
    return answers, queue


def test_a_lost_batch_is_sent_once_more_one_request_at_a_time() -> None:
    transport, seen = raising(lambda _, n: n == 1, ReplicaGoneError("died"))

    answers, queue = run_virtually(lambda: three(transport))

    assert answers == [[2.0], [3.0], [4.0]]
    assert seen == [[1, 2, 3], [1], [2], [3]]
    assert value(queue, IN_FLIGHT) == 0


def test_a_request_that_kills_replicas_takes_no_other_along() -> None:
    transport, seen = raising(lambda rows, _: 2.0 in rows, ReplicaGoneError("died"))

    answers, _ = run_virtually(lambda: three(transport))

    assert answers == [[2.0], ReplicaLostError, [4.0]]
    assert seen == [[1, 2, 3], [1], [2], [3]]


def test_a_single_request_is_retried_once_and_no_more() -> None:
    transport, seen = raising(lambda *_: True, ReplicaGoneError("died"))

    async def test() -> list[Any]:
        return await outcomes(make_queue(transport).answer(ask(1), 30.0))

    assert run_virtually(test) == [ReplicaLostError]
    assert seen == [[1], [1]]


def test_a_retry_ends_at_the_request_s_own_deadline() -> None:
    async def die_late(_: Batch) -> Mapping[str, Array]:
        await asyncio.sleep(1.5)
        raise ReplicaGoneError("died")

    transport = FakeTransport(die_late)

    async def test() -> tuple[list[Any], float]:
        answers = await outcomes(make_queue(transport).answer(ask(1), 2.0))
        return answers, loop_time()

    answers, at_s = run_virtually(test)

    assert answers == [DeadlineExceededError]
    assert at_s == pytest.approx(2.0, abs=0.01)


def test_when_the_model_raises_in_a_batch_only_the_bad_request_fails() -> None:
    error = PredictionError("churn", "1", "ValueError: bad row")
    transport, seen = raising(lambda rows, _: 2.0 in rows, error)

    answers, queue = run_virtually(lambda: three(transport))

    assert answers == [[2.0], PredictionError, [4.0]]
    assert seen == [[1, 2, 3], [1], [2, 3], [2], [3]]
    assert (value(queue, PREDICT), value(queue, IN_FLIGHT)) == (2, 0)


def test_one_bad_row_among_many_costs_few_calls() -> None:
    """One by one, the others would be without batching, and a percent of bad rows undo it."""
    error = PredictionError("churn", "1", "ValueError: bad row")
    transport, seen = raising(lambda rows, _: 100.0 in rows, error)

    async def test() -> list[Any]:
        queue = make_queue(transport, max_batch_size=256, max_queued_requests=300)
        return await outcomes(*(queue.answer(ask(n), 30.0) for n in range(256)))

    answers = run_virtually(test)

    assert answers == [PredictionError if n == 100 else [n + 1.0] for n in range(256)]
    assert len(seen) == 1 + 2 * 8


def test_halves_are_joined_by_nobody_else() -> None:
    error = PredictionError("churn", "1", "no")
    transport, seen = raising(lambda rows, _: 2.0 in rows, error)
    transport.takes_s = 1.0

    async def test() -> list[Any]:
        queue = make_queue(transport, max_batch_size=8)
        early = [queue.answer(ask(n), 30.0) for n in (1, 2, 3, 4)]

        async def late() -> Outputs:
            await asyncio.sleep(0.5)
            return await queue.answer(ask(5), 30.0)

        return await outcomes(*early, late())

    assert run_virtually(test) == [[2.0], PredictionError, [4.0], [5.0], [6.0]]
    assert seen == [[1, 2, 3, 4], [1, 2], [1], [2], [3, 4], [5]]


def test_a_batch_that_is_too_large_to_be_sent_goes_in_halves() -> None:
    transport, seen = raising(lambda rows, _: len(rows) > 1, RequestTooLargeError(9, 8))

    answers, _ = run_virtually(lambda: three(transport))

    assert answers == [[2.0], [3.0], [4.0]]
    assert seen == [[1, 2, 3], [1], [2, 3], [2], [3]]


def test_requests_that_run_alone_stay_ahead_of_later_ones() -> None:
    error = PredictionError("churn", "1", "no")
    transport, seen = raising(lambda rows, _: len(rows) > 1, error)

    async def test() -> list[Any]:
        queue = make_queue(transport, max_batch_size=2)
        return await outcomes(*(queue.answer(ask(n), 30.0) for n in range(1, 5)))

    assert run_virtually(test) == [[2.0], [3.0], [4.0], [5.0]]
    assert seen == [[1, 2], [1], [2], [3, 4], [3], [4]]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(np.zeros(1), id="too-few"),
        pytest.param(np.zeros(7), id="too-many"),
        pytest.param(np.float64(0.5), id="a-scalar"),
    ],
)
def test_an_answer_that_is_not_one_row_each_belongs_to_nobody(answer: Any) -> None:
    def predict(batch: Batch) -> Mapping[str, Array]:
        return {"output-0": answer} if len(batch.inputs["x"]) > 1 else sums(batch)

    transport = FakeTransport(predict)

    answers, _ = run_virtually(lambda: three(transport))

    assert answers == [[2.0], [3.0], [4.0]]
    assert transport.rows == [[1, 2, 3], [1], [2], [3]]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ModelNotReadyError("churn", "leaving"), id="ours"),
        pytest.param(ValueError("surprise"), id="unexpected"),
        pytest.param(TimeoutError("not our deadline"), id="a-timeout-below"),
    ],
)
def test_any_other_error_reaches_all_callers_and_the_queue_goes_on(error: Exception) -> None:
    transport, _ = raising(lambda _, n: n == 1, error)

    async def test() -> tuple[list[Any], list[Any], float, float]:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        queue = make_queue(transport)
        failed = await outcomes(*(queue.answer(ask(n), 30.0) for n in (1, 2)))
        at_s = loop_time()
        after = await outcomes(queue.answer(ask(5), 30.0))
        return failed, after, at_s, value(queue, IN_FLIGHT)

    failed, after, at_s, in_flight = run_virtually(test)

    assert failed == [type(error)] * 2
    assert (after, in_flight) == ([[6.0]], 0)
    assert at_s < 1.0


@pytest.mark.parametrize("deadline_s", [0.0, 1e-9])
def test_a_deadline_that_passes_as_the_batch_leaves_costs_no_slot(deadline_s: float) -> None:
    async def run() -> tuple[list[object], int]:
        queue = make_queue(FakeTransport())
        late = await outcomes(queue.answer(ask(1), deadline_s))
        return late + await outcomes(queue.answer(ask(2), 1.0)), queue.depth

    assert run_virtually(run) == ([DeadlineExceededError, [3.0]], 0)
