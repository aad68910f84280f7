"""Which models are in a pool, and which application holds a version: pure.

A pooled version has no application of its own: it is as ready as its pool's, whose replicas
load it when it is asked for. A model that moves between a pool and replicas of its own stays
where it is answered until the other place can.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping

from deployments.controller.failures import ApplicationState
from deployments.schema import MODEL_NAME, ModelSpec, application_name, parse_application_name
from deployments.traffic.table import Route, RouteState, RoutingTable
from deployments.userconfig import PoolSpec, parse_pool_application, pool_application

DEPLOYED = {"memory_mib", "num_replicas", "autoscaling_config", "ray_actor_options"}
"""Settings of a pool that only a new deployment can change."""


def matched_specs(pools: Mapping[str, PoolSpec], registered: Iterable[str]) -> dict[str, ModelSpec]:
    """Settings of the models that the pools' patterns take; the first pool that fits has it."""
    specs = {name: pool.settings.model_copy(update={"pool": name}) for name, pool in pools.items()}
    taken = {}
    for model in registered:
        fits = (name for name, pool in pools.items() if pool.takes(model))
        name = next(fits, None) if MODEL_NAME.match(model) else None
        if name is not None:
            taken[model] = specs[name]
    return taken


def pooled_models(table: RoutingTable) -> list[str]:
    """Models that a table has in a pool."""
    return [
        model
        for model, routes in table.models.items()
        if any(route.pool is not None for route in routes.routes)
    ]


def versions_in(table: RoutingTable, application: str) -> frozenset[str]:
    """Names of the versions that a table has in a pool's application."""
    return frozenset(
        route.application
        for routes in table.models.values()
        for route in routes.routes
        if route.pool == application
    )


def pool_fingerprint(spec: PoolSpec) -> str:
    """Name the settings that only a new deployment can change."""
    settings = spec.model_dump_json(include=DEPLOYED)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def host_of(
    model: str,
    version: str,
    pool: str | None,
    before: Route | None,
    can_answer: Callable[[str], bool],
) -> str:
    """The application that answers for a version.

    Args:
        model: Its model.
        version: As MLflow numbers it.
        pool: Where it should be; None for replicas of its own.
        before: Its route in the table in force, if it has one.
        can_answer: Whether an application has a running replica, or wakes.
    """
    wanted = pool_application(pool) if pool is not None else application_name(model, version)
    if before is None or before.host == wanted or before.state is not RouteState.READY:
        return wanted
    return before.host if can_answer(before.host) and not can_answer(wanted) else wanted


def longest_deadline_s(application: str, table: RoutingTable, default_s: float) -> float:
    """How long the last request to an application that has left the table may take, seconds."""
    version = parse_application_name(application)
    if version is None:
        return max([default_s, *(routes.deadline_s for routes in table.models.values())])
    hosted = table.models.get(version[0])
    return hosted.deadline_s if hosted is not None else default_s


def is_ours(application: str) -> bool:
    """Whether an application's name is a version's or a pool's."""
    return bool(parse_application_name(application) or parse_pool_application(application))


def is_wanted_pool(application: str, pools: Mapping[str, PoolSpec]) -> bool:
    """Whether an application is a pool that the config asks for."""
    return parse_pool_application(application) in pools


def is_answering(state: ApplicationState | None) -> bool:
    """Whether requests to an application are answered."""
    return (
        state is not None
        and state.status != "DELETING"
        and (state.status == "RUNNING" or state.running_replicas > 0)
    )
