"""Batching in virtual time: a second in these tests costs nothing."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import PredictionError
from deployments.gateway.batching import VersionQueue
from deployments.gateway.joining import batch_shape, join
from deployments.protocols.tensors import Array, Batch, Layout, Outputs, Request
from deployments.telemetry import BATCH, IN_FLIGHT, PREDICT, QUEUE
from tests.deployments.gateway.mirrors import Client
from tests.deployments.gateway.queues import ask, busy, make_queue, outcomes, value
from tests.fakes import FakeTransport, run_virtually, sums
from tests.properties import examples


def test_an_idle_queue_sends_at_once() -> None:
    transport = FakeTransport()

    async def test() -> list[Any]:
        return await outcomes(make_queue(transport).answer(ask(5), 30.0))

    assert run_virtually(test) == [[6.0]]
    (sent,) = transport.sent
    assert sent.at_s == pytest.approx(0.0, abs=1e-6)
    assert sent.depth == 1


def test_requests_of_one_turn_of_the_loop_share_a_batch() -> None:
    transport = FakeTransport()

    async def test() -> list[Any]:
        queue = make_queue(transport)
        return await outcomes(*(queue.answer(ask(n), 30.0) for n in range(3)))

    assert run_virtually(test) == [[1.0], [2.0], [3.0]]
    assert transport.rows == [[0.0, 1.0, 2.0]]


def test_a_batch_names_the_requests_of_those_who_have_names() -> None:
    transport = FakeTransport()
    senders = [Client("a"), None, Client("b")]

    async def test() -> list[Any]:
        queue = make_queue(transport)
        return await outcomes(*(queue.answer(ask(0), 30.0, sender) for sender in senders))

    run_virtually(test)
    assert [sent.batch.request_ids for sent in transport.sent] == [b"a\nb"]


def test_what_is_tried_again_alone_is_named_alone() -> None:
    def refuse_two(batch: Batch) -> Mapping[str, Array]:
        if batch.inputs["x"][:, 0].max() == 2:
            raise PredictionError("churn", "1", "no twos")
        return sums(batch)

    transport = FakeTransport(refuse_two)

    async def test() -> list[Any]:
        queue = make_queue(transport)
        answers = [queue.answer(ask(n), 30.0, Client(f"id-{n}")) for n in (1, 2)]
        return await outcomes(*answers)

    assert run_virtually(test) == [[2.0], PredictionError]
    names = [sent.batch.request_ids for sent in transport.sent]
    assert names == [b"id-1\nid-2", b"id-1", b"id-2"]


@pytest.mark.parametrize(
    ("rows", "batches"),
    [
        pytest.param([1, 1, 1, 1], [[1, 2, 3, 4]], id="exactly-full"),
        pytest.param([1, 1, 1, 1, 1], [[1, 2, 3, 4], [5]], id="one-too-many"),
        pytest.param([3, 2], [[1, 1, 1], [2, 2]], id="would-not-fit"),
        pytest.param([3, 2, 1], [[1, 1, 1, 3], [2, 2]], id="a-smaller-one-fills-the-gap"),
        pytest.param([9, 1], [[1] * 9, [2]], id="larger-than-a-batch-goes-alone"),
        pytest.param([1, 9, 1], [[1, 3], [2] * 9], id="larger-than-a-batch-waits-its-turn"),
        pytest.param([0, 1], [[2]], id="no-rows"),
    ],
)
def test_requests_gather_while_a_batch_is_in_flight(
    rows: list[int], batches: list[list[float]]
) -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> list[Any]:
        queue = make_queue(transport)
        first = await busy(queue)
        waiting = (queue.answer(ask(n, size), 30.0) for n, size in enumerate(rows, start=1))
        return await outcomes(first, *waiting)

    answers = run_virtually(test)

    assert answers == [[1.0], *([n + 1.0] * size for n, size in enumerate(rows, start=1))]
    assert transport.rows == [[0.0], *batches]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Request({"y": np.zeros((1, 2))}, 1), id="name"),
        pytest.param(Request({"x": np.zeros((1, 3))}, 1), id="columns"),
        pytest.param(Request({"x": np.zeros((1, 2), np.float32)}, 1), id="datatype"),
        pytest.param(ask(0, params={"k": 1}), id="params"),
        pytest.param(ask(0, layout=Layout.TENSOR), id="layout"),
        pytest.param(ask(0, labels=(1, 2)), id="labels"),
    ],
)
def test_requests_of_different_shapes_never_share_a_batch(other: Request) -> None:
    transport = FakeTransport()

    async def test() -> list[Any]:
        queue = make_queue(transport)
        return await outcomes(*(queue.answer(r, 30.0) for r in (ask(0), other, ask(1))))

    run_virtually(test)

    assert [len(rows) for rows in transport.rows] == [2, 1]


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param({"k": 1}, {"k": True}, id="one-and-true"),
        pytest.param({"k": 1}, {"k": 1.0}, id="integer-and-float"),
        pytest.param({"k": "1"}, {"k": 1}, id="text-and-number"),
        pytest.param({"k": None}, {}, id="null-and-absent"),
    ],
)
def test_params_that_only_look_alike_do_not_share_a_batch(
    one: Mapping[str, Any], two: Mapping[str, Any]
) -> None:
    assert batch_shape(ask(0, params=one)) != batch_shape(ask(0, params=two))


def test_a_stream_of_one_shape_does_not_starve_another() -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> None:
        queue = make_queue(transport)
        first = await busy(queue)
        odd = asyncio.ensure_future(queue.answer(ask(9, params={"k": 1}), 30.0))
        await asyncio.sleep(0)
        await outcomes(first, *(queue.answer(ask(n), 30.0) for n in range(1, 13)), odd)

    run_virtually(test)

    assert transport.rows[:2] == [[0.0], [9.0]]


def test_two_shapes_take_turns() -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> None:
        queue = make_queue(transport, max_batch_size=2)
        first = await busy(queue)
        mixed = (ask(n, params={"k": n % 2}) for n in range(1, 9))
        await outcomes(first, *(queue.answer(request, 30.0) for request in mixed))

    run_virtually(test)

    # First in line leads each batch, and the next of its own kind comes along.
    assert transport.rows == [[0], [1, 3], [2, 4], [5, 7], [6, 8]]


@pytest.mark.parametrize(
    ("replicas", "concurrent", "expected"),
    [
        pytest.param(1, 1, 1, id="one-replica"),
        pytest.param(3, 1, 3, id="three-replicas"),
        pytest.param(2, 2, 4, id="two-batches-for-each-of-two"),
        pytest.param(0, 2, 2, id="scaled-to-zero-as-one"),
    ],
)
def test_batches_in_flight(replicas: int, concurrent: int, expected: int) -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> None:
        queue = make_queue(transport, replicas, max_batch_size=1, max_concurrent_batches=concurrent)
        await outcomes(*(queue.answer(ask(n), 30.0) for n in range(10)))

    run_virtually(test)

    assert transport.most_running == expected
    assert len(transport.sent) == 10


def test_a_second_replica_is_used_as_soon_as_the_table_names_it() -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> None:
        queue = make_queue(transport, max_batch_size=1)
        waiting = [asyncio.ensure_future(queue.answer(ask(n), 30.0)) for n in range(3)]
        await asyncio.sleep(0.5)
        queue.resize("stable", queue.batching, 2)
        await outcomes(*waiting)

    run_virtually(test)

    assert [sent.at_s for sent in transport.sent] == pytest.approx([0.0, 0.5, 1.0], abs=1e-6)


@pytest.mark.parametrize(
    ("arrivals_s", "sent_at_s", "batches"),
    [
        pytest.param([0.0], [0.1], [[0]], id="alone-for-the-whole-window"),
        pytest.param([0.0, 0.06], [0.1], [[0, 1]], id="company-does-not-extend-it"),
        pytest.param([0.0, 0.01, 0.02, 0.03], [0.03], [[0, 1, 2, 3]], id="full-goes-at-once"),
        pytest.param([0.0, 0.2], [0.1, 0.3], [[0], [1]], id="each-batch-has-its-own"),
    ],
)
def test_a_window_holds_an_idle_replica_back_for_company(
    arrivals_s: list[float], sent_at_s: list[float], batches: list[list[float]]
) -> None:
    transport = FakeTransport()

    async def test() -> None:
        queue = make_queue(transport, batch_wait_timeout_s=0.1)

        async def later(n: int, delay_s: float) -> Outputs:
            await asyncio.sleep(delay_s)
            return await queue.answer(ask(n), 30.0)

        await outcomes(*(later(n, delay_s) for n, delay_s in enumerate(arrivals_s)))

    run_virtually(test)

    assert transport.rows == batches
    assert [sent.at_s for sent in transport.sent] == pytest.approx(sent_at_s, abs=1e-6)


def test_rows_that_a_lone_request_did_not_ask_for_are_its_own_affair() -> None:
    transport = FakeTransport(lambda _: {"output-0": np.zeros(5)})

    async def test() -> list[Any]:
        return await outcomes(make_queue(transport).answer(ask(1), 30.0))

    assert run_virtually(test) == [[0.0] * 5]


def test_what_is_counted() -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> VersionQueue:
        queue = make_queue(transport)
        first = await busy(queue)
        during = value(queue, IN_FLIGHT)
        await outcomes(first, queue.answer(ask(1, 3), 30.0), queue.answer(ask(2), 30.0))
        assert during == 1
        return queue

    queue = run_virtually(test)
    families = queue.counters.snapshot().families

    # Two batches of 1 and 4 rows, 2 ms each; the second's two requests waited 1 s.
    (rows,) = families[BATCH.name]
    (predict,) = families[PREDICT.name]
    (waited,) = families[QUEUE.name]
    assert [sum(series.counts) for series in (rows, predict, waited)] == [2, 2, 3]
    totals = [series.total for series in (rows, predict, waited)]
    assert totals == pytest.approx([5.0, 0.004, 2.0], abs=1e-5)
    assert value(queue, IN_FLIGHT) == 0


def test_depth_counts_what_waits_and_what_is_in_flight() -> None:
    transport = FakeTransport(takes_s=1.0)

    async def test() -> None:
        queue = make_queue(transport, max_batch_size=2)
        await outcomes(*(queue.answer(ask(n), 30.0) for n in range(5)))
        assert queue.depth == 0

    run_virtually(test)

    assert [sent.depth for sent in transport.sent] == [5, 3, 1]


def test_join_keeps_rows_in_order_and_leaves_a_single_request_untouched() -> None:
    one, two = ask(1, 2), ask(2)

    assert join([one, two]).inputs["x"].tolist() == [[1, 1], [1, 1], [2, 1]]
    assert join([one]).inputs is one.inputs


@examples(40)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 1), st.floats(0, 3), st.booleans()),
        max_size=25,
    ),
    st.integers(1, 3),
    st.sets(st.integers(0, 24), max_size=4),
    st.sampled_from([0.0, 0.2]),
)
def test_every_request_gets_its_own_answer(
    requests: list[tuple[int, int, float, bool]],
    replicas: int,
    bad: set[int],
    window_s: float,
) -> None:
    """Rows, shape, arrival and whether it is cancelled are drawn; some make the model raise."""

    def predict(batch: Batch) -> Mapping[str, Array]:
        if bad.intersection(batch.inputs["x"][:, 0].tolist()):
            raise PredictionError("churn", "1", "bad")
        return sums(batch)

    transport = FakeTransport(predict, takes_s=0.5)

    async def test() -> None:
        queue = make_queue(transport, replicas, batch_wait_timeout_s=window_s)

        async def one(n: int, rows: int, shape: int, delay_s: float, cancel: bool) -> Any:
            await asyncio.sleep(delay_s)
            asked = asyncio.ensure_future(queue.answer(ask(n, rows, params={"k": shape}), 100.0))
            if cancel:
                await asyncio.sleep(0.3)
                asked.cancel()
            return await asked

        answers = await outcomes(*(one(n, *request) for n, request in enumerate(requests)))

        for n, (answer, (rows, *_, cancelled)) in enumerate(zip(answers, requests, strict=True)):
            expected = PredictionError if n in bad and rows else [n + 1.0] * rows
            assert answer == expected or (cancelled and answer is asyncio.CancelledError)
        await asyncio.sleep(1.0)  # a batch goes on when nobody waits for it any more
        assert (queue.depth, value(queue, IN_FLIGHT), transport.running) == (0, 0, 0)

    run_virtually(test)

    assert transport.most_running <= replicas
