"""What the controller itself tells in the fleet's metrics: its table, and what it cannot reach.

It tells gauges alone, and only of the present: nothing of this is stored.
"""

from collections.abc import Iterable, Mapping

from deployments.telemetry import (
    DEPENDENCY_UP,
    GATEWAYS_WANTED,
    VERSION_READY,
    VERSION_REPLICAS,
    VERSION_WEIGHT,
    Labels,
    Series,
    Snapshot,
)
from deployments.traffic.table import Route, RouteState, RoutingTable

CONTROLLER = "controller"
"""What the label `gateway` says where the controller has counted."""

DEPENDENCIES: Mapping[str, str] = {"registry": "registry", "fleet store": "store"}
"""How the label `dependency` calls what the controller calls so."""


def fleet_gauges(
    table: RoutingTable, reachable: Mapping[str, bool], gateways_wanted: int | None
) -> Snapshot:
    """Describe the fleet as the controller has it.

    Args:
        table: The one in force.
        reachable: Whether the last call of a dependency succeeded; without those that were
            not called yet.
        gateways_wanted: Replicas of the gateway that Serve is to run; None before it was asked.
    """
    routes = [
        ((model, route.version, route.track.value), route)
        for model, hosted in sorted(table.models.items())
        for route in hosted.routes
    ]
    wanted = () if gateways_wanted is None else (Series((), (gateways_wanted,)),)
    families = {
        VERSION_WEIGHT.name: _series((labels, route.weight) for labels, route in routes),
        VERSION_READY.name: _series((labels, _is_ready(route)) for labels, route in routes),
        VERSION_REPLICAS.name: _series((labels, route.replicas) for labels, route in routes),
        DEPENDENCY_UP.name: _series(
            ((DEPENDENCIES[what],), up) for what, up in sorted(reachable.items())
        ),
        GATEWAYS_WANTED.name: wanted,
    }
    return Snapshot(CONTROLLER, 0, families)


def _is_ready(route: Route) -> bool:
    return route.state is RouteState.READY


def _series(values: Iterable[tuple[Labels, float]]) -> tuple[Series, ...]:
    return tuple(Series(labels, (float(value),)) for labels, value in values)
