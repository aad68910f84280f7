"""Which models are in a pool, and which application holds a version: pure.

A pooled version has no application of its own: it is as ready as its pool's, whose replicas
load it when it is asked for. A model that moves between a pool and replicas of its own stays
where it is answered until the other place can.

A version that would take traffic from another of its model must be loaded once beforehand: one
that cannot be must not get any. Only what a model begins with is loaded on demand.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from deployments.controller.failures import (
    ApplicationState,
    Failure,
    fingerprint,
    needs_deploying,
    retry_at_s,
)
from deployments.schema import MODEL_NAME, ModelSpec, application_name, parse_application_name
from deployments.traffic.table import Endpoint, ModelRoutes, Route, RouteState, RoutingTable
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


@dataclass(frozen=True, slots=True)
class PoolDeployment:
    """A pool to deploy."""

    pool: str
    fingerprint: str

    @property
    def application(self) -> str:
        """Name of its application."""
        return pool_application(self.pool)


def due_pools(
    pools: Mapping[str, PoolSpec],
    applications: Mapping[str, ApplicationState],
    failures: Mapping[str, Failure],
    now_s: float,
) -> Iterator[PoolDeployment]:
    """The pools to deploy now: those that are not there, or have other settings."""
    for pool, spec in sorted(pools.items()):
        item = PoolDeployment(pool, pool_fingerprint(spec))
        state, failure = applications.get(item.application), failures.get(item.application)
        if needs_deploying(state, failure, item.fingerprint, now_s):
            yield item


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


@dataclass(frozen=True, slots=True)
class Proof:
    """A version that one of a pool's replicas should load."""

    pool: str
    """The pool's application."""

    name: str
    """The version's, as an application."""

    target: tuple[str, str, str, int]
    """See `predictor.pool.Target`."""


def needs_proof(
    version: str, stable: str | None, before: ModelRoutes | None, answers: Callable[[str], bool]
) -> bool:
    """Whether a pooled version must be loaded before it gets traffic.

    Args:
        version: As MLflow numbers it.
        stable: The version that should be the stable one; None while there is none.
        before: The model in the table in force.
        answers: Whether the application that holds a version of the model has a replica.
    """
    route = before.route(version) if before is not None else None
    if route is not None and route.state is RouteState.READY:
        return False
    if version != stable:
        return True
    replaced = before.stable if before is not None else None
    # Ready canaries get nothing without a ready stable version, so nothing is taken from them.
    return replaced is not None and replaced.state is RouteState.READY and answers(replaced.version)


def due_proofs(
    table: RoutingTable,
    applications: Mapping[str, ApplicationState],
    failures: Mapping[str, Failure],
    now_s: float,
) -> tuple[Proof, ...]:
    """The pooled versions that are not ready although their pool is, and may be tried now."""
    due = []
    for model, routes in table.models.items():
        for route in routes.routes:
            if route.pool is None or route.state is RouteState.READY:
                continue
            failure = failures.get(route.application)
            is_time = failure is None or now_s >= retry_at_s(failure)
            if is_time and is_answering(applications.get(route.pool)):
                target = model, route.version, route.runtime, route.size_bytes
                due.append(Proof(route.pool, route.application, target))
    return tuple(due)


def pool_endpoints(
    models: Mapping[str, ModelRoutes], endpoints: Mapping[str, tuple[Endpoint, ...]]
) -> dict[str, tuple[Endpoint, ...]]:
    """The replicas of the pools that models are in."""
    routes = [route for model in models.values() for route in model.routes]
    used = {route.pool for route in routes if route.pool is not None}
    return {pool: endpoints.get(pool, ()) for pool in sorted(used)}


def wanted_mark(
    application: str, specs: Mapping[str, ModelSpec], pools: Mapping[str, PoolSpec]
) -> str | None:
    """The settings that an application should have been deployed with; None if nobody wants it."""
    pool = pools.get(parse_pool_application(application) or "")
    if pool is not None:
        return pool_fingerprint(pool)
    version = parse_application_name(application)
    spec = specs.get(version[0]) if version is not None else None
    return fingerprint(spec) if spec is not None else None


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
