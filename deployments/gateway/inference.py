"""From a model's name and a routing key to the version that answers, on the table alone."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from deployments.errors import ModelNotReadyError, NotFoundError
from deployments.gateway.batching import VersionQueue
from deployments.gateway.memory import Memory
from deployments.gateway.mirroring import Mirroring
from deployments.gateway.transport import VersionTransport
from deployments.protocols.tensors import Outputs, Request
from deployments.telemetry import REVISION, Counters
from deployments.traffic.split import choose
from deployments.traffic.table import EMPTY, ModelRoutes, Route, RouteState, RoutingTable

if TYPE_CHECKING:
    from deployments.gateway.traces import RequestTraces

TIMER_SLACK_S = 0.001
"""A timer may fire a moment early, and find nothing to do."""

logger = logging.getLogger(__name__)


class Inference:
    """The table in force and a queue for each version in it. One event loop owns it."""

    def __init__(
        self,
        make_transport: Callable[[str], VersionTransport],
        counters: Counters,
        clock: Callable[[], float] = time.perf_counter,
        traces: "RequestTraces | None" = None,
    ) -> None:
        """Begin without a table.

        Args:
            make_transport: Makes the way to an application's replicas.
            counters: This gateway's.
            clock: Seconds.
            traces: Makes spans; None where there are none to make.
        """
        self.traces = traces
        self._make_transport = make_transport
        self._counters = counters
        self._clock = clock
        self._table = EMPTY
        self._applied = asyncio.Event()
        self._queues: dict[str, VersionQueue] = {}
        self._leaving: dict[str, tuple[VersionQueue, float]] = {}
        self._longest_s = 0.0
        self._forgetting: asyncio.TimerHandle | None = None
        self.mirroring = Mirroring(counters, clock)
        self.memory = Memory(counters)

    @property
    def table(self) -> RoutingTable:
        """The table that requests are judged by now."""
        return self._table

    @property
    def longest_deadline_s(self) -> float:
        """Of all models in the table, seconds: as long may a request be under way; 0 for none."""
        return max((model.deadline_s for model in self._table.models.values()), default=0.0)

    def apply(self, table: RoutingTable) -> None:
        """Put a table in force; requests on their way go to the version chosen for them."""
        queues: dict[str, VersionQueue] = {}
        for model, routes in table.models.items():
            for route in routes.routes:
                if route.state is RouteState.READY:
                    queues[route.application] = self._queue(model, routes, route)
        self._keep_leaving(queues, table)
        self.mirroring.follow(table, queues)
        self.memory.follow(table, queues)
        self._queues = queues
        self._table = table
        applied, self._applied = self._applied, asyncio.Event()
        applied.set()
        self._counters.set(REVISION, (), table.revision)

    async def until(self, holds: Callable[[RoutingTable], bool]) -> None:
        """Wait for a table of which something holds."""
        while not holds(self._table):
            await self._applied.wait()

    def model(self, name: str) -> ModelRoutes:
        """The hosted versions of a model.

        Raises:
            NotFoundError: No such model.
        """
        routes = self._table.models.get(name)
        if routes is None:
            raise NotFoundError(f"unknown model {name!r}")
        return routes

    def is_split(self, name: str) -> bool:
        """Whether it depends on the routing key which version of a model answers.

        Raises:
            NotFoundError: No such model.
        """
        return sum(route.weight > 0 for route in self.model(name).routes) > 1

    def pinned(self, name: str, version: str) -> Route:
        """The route of one version, whatever its weight.

        Raises:
            NotFoundError: The model does not exist or does not host this version.
        """
        routes = self.model(name)
        route = routes.route(version)
        if route is None:
            hosted = ", ".join(route.version for route in routes.routes) or "none"
            raise NotFoundError(f"model {name!r} has no version {version!r}, hosted: {hosted}")
        return route

    def choose(self, name: str, key: str) -> Route:
        """The version that answers a request with this routing key.

        Raises:
            NotFoundError: No such model.
            ModelNotReadyError: No version can answer yet.
        """
        routes = self.model(name)
        route = choose(name, routes.routes, key)
        if route is None:
            stable = routes.stable
            reason = stable.reason if stable is not None else "no version has the alias champion"
            raise ModelNotReadyError(name, reason)
        return route

    async def answer(
        self, name: str, route: Route, request: Request, timeout_s: float = math.inf
    ) -> Outputs:
        """Have a version answer a request within the model's deadline.

        Args:
            name: A hosted model.
            route: One of its versions.
            request: Checked against the version's signature.
            timeout_s: How much longer the caller waits, seconds; may be infinite.

        Raises:
            ModelNotReadyError: The version is not ready.
            FleetError: What `VersionQueue.answer` raises.
        """
        queue = self.queue(name, route)
        return await queue.answer(request, min(timeout_s, self.model(name).deadline_s))

    def queue(self, name: str, route: Route) -> VersionQueue:
        """The queue of a version.

        Args:
            name: A hosted model.
            route: One of its versions.

        Raises:
            ModelNotReadyError: The version is not ready.
        """
        queue = self._queues.get(route.application)
        if queue is None and route.state is RouteState.READY:
            queue = self._left(route.application)  # the table changed during decoding
        if queue is None:
            raise ModelNotReadyError(name, f"version {route.version}: {route.reason or 'leaving'}")
        return queue

    def _left(self, application: str) -> VersionQueue | None:
        queue, _ = self._leaving.get(application, (None, 0.0))
        return queue

    def _keep_leaving(self, queues: Mapping[str, VersionQueue], table: RoutingTable) -> None:
        """Remember queues for as long as a request may still be on its way to them.

        The controller keeps their applications for at least as long.
        """
        now_s = self._clock()
        self._longest_s = max((model.deadline_s for model in table.models.values()), default=0.0)
        left = {name: (queue, now_s) for name, queue in self._queues.items()}
        for queue, _ in left.values():
            queue.onlookers = ()
        self._leaving = {
            name: kept for name, kept in (self._leaving | left).items() if name not in queues
        }
        self._forget_left()

    def _forget_left(self) -> None:
        """Let go of the queues whose time is over, and look again when the next one's is."""
        now_s = self._clock()
        for name, (queue, at_s) in list(self._leaving.items()):
            if now_s - at_s >= self._longest_s:
                del self._leaving[name]
                queue.transport.update(None)
        if self._forgetting is not None:
            self._forgetting.cancel()
            self._forgetting = None
        if self._leaving:
            first_s = min(at_s for _, at_s in self._leaving.values())
            delay_s = first_s + self._longest_s - now_s + TIMER_SLACK_S
            loop = asyncio.get_running_loop()
            self._forgetting = loop.call_later(delay_s, self._forget_left)

    def _queue(self, model: str, routes: ModelRoutes, route: Route) -> VersionQueue:
        queue = self._queues.get(route.application) or self._left(route.application)
        if queue is None:
            queue = VersionQueue(
                model=model,
                version=route.version,
                track=route.track,
                transport=self._make_transport(route.application),
                batching=routes.batching,
                replicas=route.replicas,
                counters=self._counters,
                clock=self._clock,
                traces=self.traces,
            )
        else:
            queue.resize(route.track, routes.batching, route.replicas)
        queue.transport.update(route)
        return queue
