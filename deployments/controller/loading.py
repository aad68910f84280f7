"""Whether what was asked for a model is what answers for it: pure."""

from deployments.controller.decide import Observation
from deployments.controller.failures import ApplicationState, fingerprint
from deployments.controller.wanted import resolve
from deployments.errors import ModelNotReadyError
from deployments.schema import ModelSpec
from deployments.traffic.table import Route, RouteState, RoutingTable, Track
from deployments.userconfig import pool_application


def is_in_force(model: str, spec: ModelSpec, seen: Observation | None, table: RoutingTable) -> bool:
    """Tell whether a model's settings are in the table and in its replicas, as far as they load.

    Args:
        model: A hosted model.
        spec: Its settings.
        seen: What the controller saw last and acted on; None before that.
        table: What came of it.

    Raises:
        ModelNotReadyError: Replicas of a version cannot be started with these settings.
    """
    if seen is None or seen.specs.get(model) != spec:
        return False
    routes = table.models.get(model)
    if routes is None:
        return False
    # A version that replaces the stable one bears no such name until it is ready.
    stable = routes.route(resolve(seen.registry, model, spec.stable_key) or "")
    if stable is not None and stable.state is RouteState.LOADING:
        return False
    return all(_is(model, spec, seen, route) for route in routes.routes)


def _is(model: str, spec: ModelSpec, seen: Observation, route: Route) -> bool:
    if spec.pool is not None or route.pool is not None:
        return _is_pooled(spec, seen, route)
    mark = fingerprint(spec)
    match route.state:
        case RouteState.LOADING:
            return route.track is not Track.STABLE  # it gets traffic once it is ready, with these
        case RouteState.UNAVAILABLE:
            # With other settings it failed; with these it is still to be tried.
            failure = seen.failures.get(route.application)
            return failure is not None and failure.fingerprint == mark
        case RouteState.READY:
            state = seen.applications.get(route.application)
            return state is not None and _runs_with(model, mark, state)


def _is_pooled(spec: ModelSpec, seen: Observation, route: Route) -> bool:
    wanted = route.application if spec.pool is None else pool_application(spec.pool)
    if route.host != wanted:
        return False  # on its way from a pool or into one
    match route.state:
        case RouteState.LOADING:
            return route.track is not Track.STABLE
        case RouteState.UNAVAILABLE:
            return not seen.failures.keys().isdisjoint({route.application, route.host})
        case RouteState.READY:
            # Its settings are not the replicas': a pool has its own.
            return True


def _runs_with(model: str, mark: str, state: ApplicationState) -> bool:
    if state.fingerprint not in {None, mark}:
        return False
    if state.status == "DEPLOY_FAILED":
        # Replicas of before answer on.
        raise ModelNotReadyError(model, state.message)
    return state.status == "RUNNING"
