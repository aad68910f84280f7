"""Who gets which share of a model's requests, from who is ready: pure."""

from collections.abc import Mapping

from deployments.traffic.table import RouteState


def effective_weights(
    wanted: Mapping[str, int],
    states: Mapping[str, tuple[RouteState, str]],
    stable: str | None,
) -> dict[str, int]:
    """Give each ready canary its weight and stable the rest; nothing while stable is not ready.

    A canary is on trial, so it never inherits the traffic of a stable version that is away.
    """
    ready = {version for version in wanted if states[version][0] is RouteState.READY}
    if stable is None or stable not in ready:
        return dict.fromkeys(wanted, 0)
    given = {
        version: weight if version in ready else 0
        for version, weight in wanted.items()
        if version != stable
    }
    return {**given, stable: 100 - sum(given.values())}
