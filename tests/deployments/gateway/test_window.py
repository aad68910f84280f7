"""What the queue learns, in virtual time: crowds of clients that wait for their answers."""

import asyncio

import pytest

from deployments.gateway.batching import VersionQueue
from deployments.gateway.window import FRACTION, SHORTEST_S, AdaptiveWindow
from tests.deployments.gateway.queues import ask, make_queue
from tests.fakes import FakeTransport, loop_time, run_virtually

CALL_S = 0.004
"""What the dear model takes, however many rows."""

BACK_S = 0.0005
"""Latest that a client comes back after its answer, seconds."""


async def come_back(queue: VersionQueue, client: int, clients: int, times: int) -> None:
    """Ask, wait for the answer, come back a moment later: another moment for each client."""
    for _ in range(times):
        await asyncio.sleep(BACK_S * client / clients)
        await queue.answer(ask(client), 30.0)


def crowd(queue: VersionQueue, clients: int, times: int) -> asyncio.Future[list[None]]:
    return asyncio.gather(*(come_back(queue, each, clients, times) for each in range(clients)))


def sizes(transport: FakeTransport) -> list[int]:
    return [len(rows) for rows in transport.rows]


@pytest.mark.parametrize(
    ("window_s", "expected"),
    [
        pytest.param(None, {8}, id="adaptive"),
        pytest.param(0.0, {1, 7}, id="no-window"),
    ],
)
def test_a_crowd_that_comes_back_together_shares_every_batch(
    window_s: float | None, expected: set[int]
) -> None:
    transport = FakeTransport(takes_s=CALL_S)

    async def test() -> None:
        queue = make_queue(transport, max_batch_size=32, batch_wait_timeout_s=window_s)
        await crowd(queue, clients=8, times=20)

    run_virtually(test)

    learned = sizes(transport)[4:-2]
    assert set(learned) == expected


def test_a_lone_client_never_waits() -> None:
    transport = FakeTransport(takes_s=CALL_S)

    async def test() -> float:
        queue = make_queue(transport, batch_wait_timeout_s=None)
        await crowd(queue, clients=1, times=10)
        return loop_time()

    assert run_virtually(test) == pytest.approx(10 * CALL_S, abs=1e-5)


def test_a_crowd_that_left_is_forgotten() -> None:
    transport = FakeTransport(takes_s=CALL_S)

    async def test() -> list[float]:
        queue = make_queue(transport, max_batch_size=32, batch_wait_timeout_s=None)
        await crowd(queue, clients=8, times=10)
        took_s = []
        for _ in range(60):
            started_s = loop_time()
            await queue.answer(ask(0), 30.0)
            took_s.append(loop_time() - started_s)
        return took_s

    took_s = run_virtually(test)

    assert max(took_s) <= CALL_S * (1 + FRACTION) + 1e-5
    assert took_s[-1] == pytest.approx(CALL_S, abs=1e-5)


def test_replicas_share_a_crowd() -> None:
    transport = FakeTransport(takes_s=CALL_S)

    async def test() -> None:
        queue = make_queue(transport, 2, max_batch_size=32, batch_wait_timeout_s=None)
        await crowd(queue, clients=8, times=40)

    run_virtually(test)

    assert transport.most_running == 2
    assert min(sizes(transport)[8:-4]) >= 3


@pytest.mark.parametrize(
    ("took_s", "waits"),
    [
        pytest.param(SHORTEST_S / FRACTION / 2, False, id="cheap"),
        pytest.param(SHORTEST_S / FRACTION * 2, True, id="dear"),
    ],
)
def test_only_a_dear_call_is_worth_a_wait(took_s: float, waits: bool) -> None:
    window = AdaptiveWindow()
    window.arrived(8)
    window.answered(took_s, took_s)

    assert (window.length_s(waiting=1, in_flight=0, slots=1) > 0) is waits


@pytest.mark.parametrize(
    ("waiting", "in_flight", "slots", "waits"),
    [
        pytest.param(1, 0, 1, True, id="seven-are-missing"),
        pytest.param(8, 0, 1, False, id="all-are-back"),
        pytest.param(3, 5, 1, False, id="the-rest-is-in-flight"),
        pytest.param(3, 0, 2, True, id="less-than-a-replica-s-share"),
        pytest.param(4, 0, 2, False, id="a-replica-s-share"),
    ],
)
def test_it_ends_when_nobody_else_is_expected(
    waiting: int, in_flight: int, slots: int, waits: bool
) -> None:
    window = AdaptiveWindow()
    window.arrived(8)
    window.answered(CALL_S, CALL_S)

    assert (window.length_s(waiting, in_flight, slots) > 0) is waits


@pytest.mark.parametrize(
    ("is_cheap", "predict_s", "most"),
    [
        pytest.param(True, 0.0005, 2, id="direct-and-quick"),
        pytest.param(True, 0.0025, 1, id="direct-and-dear"),
        pytest.param(False, 0.0005, 1, id="by-the-handle"),
    ],
)
def test_a_quick_model_gets_the_next_batch_while_one_is_under_way(
    is_cheap: bool, predict_s: float, most: int
) -> None:
    transport = FakeTransport(takes_s=CALL_S)
    transport.is_cheap, transport.predict_s = is_cheap, predict_s

    async def test() -> None:
        queue = make_queue(transport, max_concurrent_batches=None, batch_wait_timeout_s=None)
        await crowd(queue, clients=8, times=20)

    run_virtually(test)

    assert transport.most_running == most


def test_a_quick_model_s_requests_do_not_wait_for_company() -> None:
    transport = FakeTransport(takes_s=CALL_S)
    transport.is_cheap, transport.predict_s = True, 0.0005
    waits = []

    async def test() -> None:
        queue = make_queue(transport, max_concurrent_batches=None, batch_wait_timeout_s=None)
        await crowd(queue, clients=2, times=5)
        for _ in range(10):
            asked_s = loop_time()
            await queue.answer(ask(1), 30.0)
            waits.append(transport.sent[-1].at_s - asked_s)
            await asyncio.sleep(BACK_S)

    run_virtually(test)

    assert max(waits) < SHORTEST_S
