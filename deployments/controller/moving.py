"""Whether the controller should look again soon: pure."""

from deployments.controller.decide import Decision, Observation
from deployments.controller.pools import is_wanted_pool
from deployments.traffic.table import RouteState


def is_moving(seen: Observation, decision: Decision) -> bool:
    """Whether the next observation is likely to differ without anybody asking for it."""
    routes = [route for model in decision.table.models.values() for route in model.routes]
    leaving = set(seen.applications) - {route.host for route in routes}
    return bool(
        any(asked.shares for asked in seen.asked.values())
        or not seen.registry.complete
        or decision.deploy
        or decision.delete
        or decision.table != seen.table
        or any(route.state is RouteState.LOADING for route in routes)
        or any(state.status == "DEPLOYING" for state in seen.applications.values())
        or any(not is_wanted_pool(name, seen.pools) for name in leaving)
    )
