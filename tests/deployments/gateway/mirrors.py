"""A gateway with a stable version and one that mirrors it, both of them fakes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from msgspec.structs import replace

from deployments.gateway.inference import Inference
from deployments.gateway.waiting import Sender
from deployments.protocols.tensors import Array, Batch, Outputs, Request
from deployments.telemetry import MIRRORED, Counters
from deployments.traffic.differences import Difference, decode_sampled
from deployments.traffic.table import Mirroring, ModelRoutes, Route, RoutingTable, Track
from tests.fakes import BATCHING, FakeTransport, loop_time, make_route, run_virtually, sums

STABLE = make_route()
SHADOW = make_route(version="2", weight=0, track=Track.SHADOW, mirror=100)
LABELS = ("churn", "2", "shadow")
WHILE_S = 1.0
"""More than a copy takes to be sent and compared."""


class Client:
    """Who sent a request."""

    span = None

    def __init__(self, given_id: str = "id", routing_key: str | None = None) -> None:
        self.given_id = given_id
        self.logged_id = given_id.encode()
        self.routing_key = routing_key


def table(*routes: Route, rows: int = 4, tolerance: float = 1e-6, samples: int = 5) -> RoutingTable:
    batching = replace(BATCHING, max_batch_size=rows)
    hosted = ModelRoutes(routes, batching, 30.0, Mirroring(tolerance, samples))
    return RoutingTable(1, {"churn": hosted}, settled=True)


class Gateway:
    """Two versions' queues; the second is sent copies of the first's."""

    def __init__(self, shadow: Any = sums, takes_s: float = 0.0, **settings: Any) -> None:
        self.stable = FakeTransport()
        self.shadow = FakeTransport(shadow, takes_s)
        self.counters = Counters("a")
        self.inference = Inference(
            lambda name: self.shadow if name.endswith("2") else self.stable,
            self.counters,
            loop_time,
        )
        self._settings = settings

    def apply(self, *routes: Route) -> None:
        """Put a table of these routes in force."""
        self.routes = routes
        self.inference.apply(table(*routes, **self._settings))

    async def ask(
        self, *first: float, rows: int = 1, sender: Sender | None = None, **changes: Any
    ) -> Outputs:
        """Ask stable about rows that all start with the same number."""
        numbers = first or (1.0,)
        inputs = np.array([[number, 1.0] for number in numbers for _ in range(rows)])
        request = replace(Request({"x": inputs}, len(inputs)), **changes)
        queue = self.inference.queue("churn", STABLE)
        return await queue.answer(request, 30.0, sender or Client())

    def outcomes(self) -> dict[str, int]:
        series = self.counters.snapshot().families[MIRRORED.name]
        assert {each.labels[:3] for each in series} <= {LABELS}
        return {each.labels[3]: int(each.counts[0]) for each in series}

    def kept(self) -> tuple[Difference, ...]:
        reports = self.inference.mirroring.reports()
        return decode_sampled(reports[0].body).kept if reports else ()


def mirrored(
    test: Callable[[Gateway], Awaitable[Any]], gateway: Gateway | None = None, *routes: Route
) -> Gateway:
    """Run a test on a gateway, and wait until its copies are through."""
    gateway = gateway or Gateway()

    async def run() -> None:
        gateway.apply(*(routes or (SHADOW, STABLE)))
        await test(gateway)
        await asyncio.sleep(WHILE_S)

    run_virtually(run)
    return gateway


def other(batch: Batch) -> dict[str, Array]:
    """A version that answers 100 more where the first number is negative."""
    (array,) = batch.inputs.values()
    rows = np.asarray(array)
    return {"output-0": rows.sum(axis=1) + 100.0 * (rows[:, 0] < 0)}


async def together(gateway: Gateway, *numbers: float) -> None:
    """Ask about each number in a request of its own, all at once."""
    await asyncio.gather(*[gateway.ask(number) for number in numbers])
