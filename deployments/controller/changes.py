"""What a new routing table changes, and the one to begin with."""

import logging
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from deployments.traffic.table import (
    EMPTY,
    Route,
    RoutingTable,
    decode_revision,
    decode_table,
)

logger = logging.getLogger(__name__)


def log_changes(before: RoutingTable, after: RoutingTable) -> None:
    """Write a line for each model whose traffic moved."""
    for model, routes in after.models.items():
        was = before.models.get(model)
        old = _weights(was.routes) if was is not None else "nothing"
        new = _weights(routes.routes)
        if old != new:
            logger.info("%s: traffic %s, was %s", model, new, old)
        for route in routes.routes:
            earlier = was.route(route.version) if was is not None else None
            if earlier is None or earlier.transport != route.transport:
                reason = route.transport_reason
                logger.info("%s: v%s goes %s: %s", model, route.version, route.transport, reason)
    for model in set(before.models) - set(after.models):
        logger.info("%s: no longer hosted", model)


def stored_table(body: bytes) -> RoutingTable:
    """Read what an earlier controller left."""
    try:
        return decode_table(body)
    except msgspec.DecodeError as error:
        logger.warning("the stored routing table is of another release: %s", error)
        # Gateways that live on hold that revision, and would ignore an older one.
        return replace(EMPTY, revision=decode_revision(body))


def _weights(routes: Iterable[Route]) -> str:
    return ", ".join(map(_share, routes)) or "nothing"


def _share(route: Route) -> str:
    mirrored = f" and {route.mirror} % mirrored" if route.mirror else ""
    return f"v{route.version} {route.weight} %{mirrored} {route.state}"
