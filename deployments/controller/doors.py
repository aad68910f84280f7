"""Which replicas take batches directly, from what they say themselves."""

from collections.abc import Callable, Mapping

from deployments.traffic.table import Endpoint, RoutingTable

SILENT_S = 20.0
"""A replica that says nothing for this long is gone; it speaks every 5 s."""


class Doors:
    """Endpoints by application, as long as they are announced."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._heard: dict[str, dict[str, tuple[Endpoint, float]]] = {}

    def heard(self, application: str, endpoint: Endpoint) -> bool:
        """Take an announcement; tells whether it is news."""
        doors = self._heard.setdefault(application, {})
        known = doors.get(endpoint.replica)
        doors[endpoint.replica] = endpoint, self._clock()
        return known is None or known[0] != endpoint

    def left(self, application: str, replica: str) -> None:
        """Forget a replica that leaves."""
        self._heard.get(application, {}).pop(replica, None)

    def restore(self, table: RoutingTable) -> None:
        """Begin with what an earlier controller had published, until the replicas speak."""
        for model in table.models.values():
            for route in model.routes:
                for endpoint in route.endpoints:
                    self._restore(route.application, endpoint)
        for application, endpoints in table.pools.items():
            for endpoint in endpoints:
                self._restore(application, endpoint)

    def _restore(self, application: str, endpoint: Endpoint) -> None:
        known = self._heard.setdefault(application, {})
        known.setdefault(endpoint.replica, (endpoint, self._clock()))

    def open(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """The endpoints of each application, in a fixed order."""
        horizon_s = self._clock() - SILENT_S
        self._heard = {
            application: {
                replica: (endpoint, at_s)
                for replica, (endpoint, at_s) in doors.items()
                if at_s >= horizon_s
            }
            for application, doors in self._heard.items()
        }
        return {
            application: tuple(endpoint for _, (endpoint, _) in sorted(doors.items()))
            for application, doors in self._heard.items()
            if doors
        }
