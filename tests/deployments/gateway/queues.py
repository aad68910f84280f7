"""A version's queue on a fake transport, and what is asked of it."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import numpy as np
from msgspec.structs import replace

from deployments.gateway.batching import VersionQueue
from deployments.protocols.tensors import Outputs, Request
from deployments.telemetry import Counters, Family
from tests.fakes import BATCHING, FakeTransport, loop_time

LABELS = ("churn", "1", "stable")


def ask(number: float, rows: int = 1, **changes: Any) -> Request:
    """A request whose rows all start with the same number; its answers are number + 1."""
    array = np.full((rows, 2), [number, 1.0])
    return replace(Request({"x": array}, rows), **changes)


def make_queue(transport: FakeTransport, replicas: int = 1, **batching: Any) -> VersionQueue:
    return VersionQueue(
        *LABELS,
        transport=transport,
        batching=replace(BATCHING, **batching),
        replicas=replicas,
        counters=Counters("gateway-1"),
        clock=loop_time,
    )


async def outcomes(*answers: Awaitable[Outputs]) -> list[Any]:
    """What each request got: its numbers, or the class of its error."""
    results = await asyncio.gather(*answers, return_exceptions=True)
    return [
        type(result) if isinstance(result, BaseException) else list(result.arrays["output-0"])
        for result in results
    ]


def value(queue: VersionQueue, family: Family) -> float:
    """A gauge of the queue's version, or the number of observations of a histogram."""
    series = queue.counters.snapshot().families[family.name]
    return sum(sum(item.counts) for item in series if item.labels == LABELS)


async def busy(queue: VersionQueue) -> Awaitable[Outputs]:
    """Put a request in flight, so that the next ones have to wait."""
    first = asyncio.ensure_future(queue.answer(ask(0), 30.0))
    while not queue.transport.sent:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    return first
