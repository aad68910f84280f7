"""Which versions mirror which, as the routing table has it, and what came of it."""

from collections.abc import Callable, Iterable, Mapping
from random import Random

from deployments.gateway.batching import VersionQueue
from deployments.gateway.mirror import Mirror
from deployments.telemetry import Counters
from deployments.traffic.differences import MOST_BYTES, Report, encode_sampled
from deployments.traffic.table import Route, RoutingTable


class Mirroring:
    """The mirrors of one gateway. One event loop owns it."""

    def __init__(self, counters: Counters, clock: Callable[[], float]) -> None:
        self._counters = counters
        self._clock = clock
        self._mirrors: dict[str, Mirror] = {}
        self._reported: dict[str, int] = {}

    def follow(self, table: RoutingTable, queues: Mapping[str, VersionQueue]) -> None:
        """Have stable's queues copy to the versions that mirror them, and no others.

        Args:
            table: In force.
            queues: Of the versions that are ready, by application.
        """
        before, self._mirrors = self._mirrors, {}
        for routes in table.models.values():
            stable = routes.stable
            for route in routes.routes:
                mirrored = route.mirror > 0 and route is not stable
                if stable is not None and mirrored and route.application in queues:
                    mirror = before.pop(route.application, None) or self._mirror()
                    mirror.follow(queues[route.application], stable.signature, route, routes)
                    self._mirrors[route.application] = mirror
            for route in routes.routes:
                if route.application in queues:
                    seen_by = routes.routes if route is stable else ()
                    queues[route.application].onlookers = self._onlookers(seen_by)
        for name, mirror in before.items():
            mirror.close()
            self._reported.pop(name, None)

    def reports(self) -> list[Report]:
        """Differences that the controller has not heard of, as many as one report takes."""
        unheard = {
            name: mirror.differences
            for name, mirror in self._mirrors.items()
            if mirror.differences.changes != self._reported.get(name, 0)
        }
        reports: list[Report] = []
        left = MOST_BYTES
        # Those first that were not heard of for the longest time.
        order = {name: place for place, name in enumerate(self._reported)}
        for name in sorted(unheard, key=lambda name: order.get(name, -1)):
            body = encode_sampled(unheard[name].sampled())
            left -= len(body)
            if left < 0 and reports:
                break
            reports.append(Report(name, unheard[name].changes, body))
        return reports

    def heard(self, reports: Iterable[Report]) -> None:
        """Take note that the controller has these."""
        for report in reports:
            self._reported.pop(report.application, None)
            self._reported[report.application] = report.changes

    def unheard(self) -> None:
        """Report everything again: the controller may be another one, which knows nothing."""
        self._reported.clear()

    def _mirror(self) -> Mirror:
        return Mirror(self._counters, self._clock, Random())  # noqa: S311, a sample of rows

    def _onlookers(self, routes: Iterable[Route]) -> tuple[Mirror, ...]:
        return tuple(
            self._mirrors[route.application]
            for route in routes
            if route.application in self._mirrors
        )
