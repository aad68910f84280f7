"""A fleet whose controller times itself and takes the word of a simulation for some models.

The import path of a config: everything is the shipped fleet's but for two things. What Serve
is asked and told about the applications of simulated models, a class here answers; and two
gateways that do not exist report the requests that those models would have had.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from ray import serve
from ray.serve import Application

from benchmarks.releasing.names import SIMULATED, TICKS, is_simulated
from deployments import fleet
from deployments.controller.applications import Applications
from deployments.controller.controller import Controller
from deployments.controller.decide import Deployment
from deployments.controller.failures import ApplicationState
from deployments.controller.pools import PoolDeployment
from deployments.schema import ModelSpec
from deployments.settings import Settings
from deployments.telemetry import (
    ANSWER,
    BATCH,
    LATENCY,
    MIRRORED,
    PREDICT,
    QUEUE,
    REQUESTS,
    Counters,
    Snapshot,
)
from deployments.traffic.table import Route, RoutingTable
from deployments.userconfig import PoolSpec
from tuning.home import resolve_home

LOADS_S = 3.0
"""From the deployment of a simulated version until it is there, seconds."""

RATE_PER_S = 200.0
"""Requests of each simulated model."""

LONGEST_STEP_S = 5.0
"""Of a simulation that was held up, seconds."""

TAKES_S = 0.003
"""How long a simulated request takes."""

GATEWAYS = ("simulated-gateway-1", "simulated-gateway-2")
PROTOCOL = "open_inference"


Parts = defaultdict[str, float]
"""Seconds by what was called."""


def build(args: dict[str, Any]) -> Application:
    """Assemble the shipped fleet, with the controller below in the place of its own."""
    with mock.patch.object(fleet, "Controller", TimedController):
        return fleet.build(args)


class TimedController(Controller):
    """The shipped controller; each tick leaves a line about how long it took."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._parts: Parts = defaultdict(float)
        name = serve.get_replica_context().app_name
        self._applications = PartlySimulated(name, settings, self._parts)
        self._traffic = Traffic()
        self._lines = (resolve_home().root / TICKS).open("a", buffering=1)
        self._guarded: Callable[..., Any] = self._timed

    async def _timed(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        with _timing(self._parts, call.__qualname__):
            return await self._dependencies.call(what, call, *args)

    async def _tick(self) -> bool:
        for snapshot in self._traffic.until(time.monotonic(), self._table):
            self._counters.report(snapshot)
        self._parts.clear()
        began_s, failed = time.perf_counter(), True
        try:
            moving = await super()._tick()
            failed = False
        finally:
            took_s = time.perf_counter() - began_s
            active = sum(not each.phase.is_final for each in self._rollouts.rollouts)
            line = {"took_s": took_s, "active": active, "failed": failed, "parts": self._parts}
            self._lines.write(json.dumps(line) + "\n")
        return moving


class PartlySimulated(Applications):
    """Serve's interface: some applications are made up, the others are Serve's."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        parts: Parts,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, settings)
        self._parts = parts
        self._monotonic = monotonic
        self._deployed_at_s: dict[str, float] = {}

    def look(self, fingerprints: Mapping[str, str]) -> dict[str, ApplicationState] | None:
        """See `Applications.look`."""
        with _timing(self._parts, "Applications.look"):
            real = super().look(fingerprints)
        return None if real is None else {**real, **self.simulated(fingerprints)}

    def simulated(self, fingerprints: Mapping[str, str]) -> dict[str, ApplicationState]:
        """The state of those that are made up."""
        loaded = ApplicationState("RUNNING", 1)
        loading = ApplicationState("DEPLOYING", 0)
        horizon_s = self._monotonic() - LOADS_S
        return {
            name: replace(
                loaded if at_s < horizon_s else loading, fingerprint=fingerprints.get(name)
            )
            for name, at_s in self._deployed_at_s.copy().items()
        }

    def deploy(
        self,
        deployments: Iterable[Deployment | PoolDeployment],
        specs: Mapping[str, ModelSpec],
        pools: Mapping[str, PoolSpec],
    ) -> dict[str, str]:
        """See `Applications.deploy`."""
        real = []
        for item in deployments:
            if is_simulated(item.application):
                self._deployed_at_s[item.application] = self._monotonic()
            else:
                real.append(item)
        with _timing(self._parts, "Applications.deploy"):
            return super().deploy(real, specs, pools) if real else {}

    def delete(self, name: str) -> None:
        """See `Applications.delete`."""
        if self._deployed_at_s.pop(name, None) is None:
            super().delete(name)


class Traffic:
    """What simulated gateways have counted: all requests are answered, and copies agree."""

    def __init__(self) -> None:
        self._counters = [Counters(name) for name in GATEWAYS]
        self._at_s: float | None = None

    def until(self, now_s: float, table: RoutingTable) -> list[Snapshot]:
        """Let requests flow as a table says; returns all that each gateway has counted."""
        last_s = now_s if self._at_s is None else self._at_s
        elapsed_s, self._at_s = min(now_s - last_s, LONGEST_STEP_S), now_s
        share = RATE_PER_S * elapsed_s / 100 / len(GATEWAYS)
        for name, model in table.models.items():
            if not name.startswith(SIMULATED):
                continue
            for counters in self._counters:
                for route in model.routes:
                    _count(counters, name, route, round(share * route.weight))
                    copies = round(share * route.mirror)
                    labels = (name, route.version, route.track, "agreed")
                    counters.add(MIRRORED, labels, copies)
        return [counters.snapshot() for counters in self._counters]


@contextmanager
def _timing(parts: Parts, name: str) -> Iterator[None]:
    began_s = time.perf_counter()
    try:
        yield
    finally:
        parts[name] += time.perf_counter() - began_s


def _count(counters: Counters, model: str, route: Route, requests: int) -> None:
    version = (model, route.version, route.track)
    counters.add(REQUESTS, (*version, PROTOCOL, "200"), requests)
    counters.observe(LATENCY, (*version, PROTOCOL), TAKES_S, requests)
    for family in (PREDICT, QUEUE, ANSWER):
        counters.observe(family, version, TAKES_S, requests)
    counters.observe(BATCH, version, 1.0, requests)
