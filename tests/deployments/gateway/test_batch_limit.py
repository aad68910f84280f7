"""Batches as large as a latency target allows, learned from how long they take."""

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.batch_limit import SHARE, BatchLimit, suited
from deployments.gateway.batching import VersionQueue
from deployments.protocols.tensors import Array, Batch
from tests.deployments.gateway.queues import ask, busy, make_queue
from tests.fakes import FakeTransport, loop_time, run_virtually, sums
from tests.properties import examples

ROW_S = 0.001
"""What the model takes for each row."""


def learn(limit: BatchLimit, row_s: float, target_s: float, batches: int) -> list[int]:
    """Sizes of batches that are always full, of a model that takes so long for each row."""
    sizes = []
    for _ in range(batches):
        rows = limit.most_rows(10_000, target_s)
        limit.answered(rows, rows * row_s, target_s)
        sizes.append(rows)
    return sizes


def test_without_a_target_the_spec_alone_decides() -> None:
    assert BatchLimit().most_rows(32, None) == 32


@examples(100)
@given(fitting=st.integers(1, 2000), seed=st.floats(1e-5, 1.0))
def test_the_limit_finds_what_fits_and_stays_near_it(fitting: int, seed: float) -> None:
    limit = BatchLimit()
    target_s = fitting * seed / SHARE

    sizes = learn(limit, seed, target_s, 4000)[2000:]

    assert max(sizes) <= fitting + 1
    assert min(sizes) >= int(0.85 * fitting)


def test_a_model_that_is_too_slow_for_its_target_answers_row_by_row() -> None:
    limit = BatchLimit()

    assert set(learn(limit, row_s=1.0, target_s=0.5, batches=50)) == {1}


def test_a_model_that_becomes_slower_gets_smaller_batches() -> None:
    limit = BatchLimit()
    before = learn(limit, 0.001, 0.1, 500)[-1]

    after = learn(limit, 0.01, 0.1, 500)[-1]

    assert before == pytest.approx(48, abs=5)
    assert after == pytest.approx(5, abs=1)


async def rows_take_time(batch: Batch) -> Mapping[str, Array]:
    await asyncio.sleep(ROW_S * len(batch.inputs["x"]))
    return sums(batch)


@pytest.mark.parametrize(
    ("target_s", "largest"),
    [pytest.param(None, 20, id="no-target"), pytest.param(0.02, 10, id="twenty-milliseconds")],
)
def test_batches_keep_to_the_target(target_s: float | None, largest: int) -> None:
    transport = FakeTransport(rows_take_time)

    async def client(queue: VersionQueue, number: int) -> None:
        for _ in range(60):
            await queue.answer(ask(number), 30.0)

    async def test() -> None:
        queue = make_queue(transport, max_batch_size=32, latency_target_s=target_s)
        await asyncio.gather(*(client(queue, number) for number in range(20)))

    run_virtually(test)

    sizes = [len(rows) for rows in transport.rows][40:-4]
    # One more is how it finds out.
    assert largest <= max(sizes) <= largest + 1


def test_a_wait_for_company_ends_with_half_of_the_target() -> None:
    transport = FakeTransport()

    async def test() -> float:
        queue = make_queue(transport, batch_wait_timeout_s=1.0, latency_target_s=0.05)
        for _ in range(3):  # from one row on, the limit doubles
            await asyncio.gather(*(queue.answer(ask(n), 30.0) for n in range(4)))
        began_s = loop_time()
        await queue.answer(ask(1), 30.0)
        return loop_time() - began_s

    assert run_virtually(test) == pytest.approx(0.025, abs=0.001)


@pytest.mark.parametrize(
    ("waiting_rows", "slots", "rows"),
    [
        pytest.param(0, 1, 32, id="nobody"),
        pytest.param(64, 2, 32, id="no-more-than-the-usual-batches"),
        pytest.param(200, 2, 50, id="half-of-what-each-slot-could-take"),
        pytest.param(200, 1, 100, id="one-slot"),
        pytest.param(10_000, 1, 256, id="never-more-than-the-largest"),
    ],
)
def test_batches_grow_with_the_line_where_nobody_fixed_them(
    waiting_rows: int, slots: int, rows: int
) -> None:
    assert suited(waiting_rows, slots, predict_s=0.001) == rows


def test_batches_of_a_slow_model_do_not_grow() -> None:
    assert suited(10_000, 1, predict_s=0.02) == 32


def test_many_rows_that_wait_share_few_calls() -> None:
    transport = FakeTransport()

    async def test() -> None:
        queue = make_queue(transport, max_batch_size=None)
        first = await busy(queue)
        await asyncio.gather(first, *(queue.answer(ask(n, rows=10), 30.0) for n in range(60)))

    run_virtually(test)

    assert [len(rows) for rows in transport.rows] == [1, 250, 170, 90, 40, 30, 20]
