"""Since when no gateway can send to an application any more, so that it may be deleted."""

from collections.abc import Callable, Iterable, Mapping

from deployments.traffic.table import RoutingTable

LIVE_S = 10.0
"""A gateway that has not polled for this long no longer holds up a deletion, seconds."""


class Retirements:
    """What the gateways have acknowledged. All times are Unix seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_at_s = clock()
        self._gateways: dict[str, tuple[int, float]] = {}
        self._retired_at_s: dict[str, float] = {}

    @property
    def retired_at_s(self) -> Mapping[str, float]:
        """By application: since when every live gateway has acknowledged a table without it."""
        return self._retired_at_s

    def acknowledged(self, gateway: str, revision: int) -> None:
        """Hear from a gateway which table it has applied."""
        self._gateways[gateway] = revision, self._clock()

    def all_have(self, revision: int) -> bool:
        """Whether every live gateway has applied a table of this revision, or a later one."""
        horizon_s = self._clock() - LIVE_S
        return all(
            applied >= revision
            for applied, polled_at_s in self._gateways.values()
            if polled_at_s > horizon_s
        )

    def note(self, applications: Iterable[str], table: RoutingTable) -> None:
        """Compare the applications that there are with those that the table names."""
        routed = {route.host for model in table.models.values() for route in model.routes}
        now_s = self._clock()
        self._gateways = {
            name: (revision, polled_at_s)
            for name, (revision, polled_at_s) in self._gateways.items()
            if now_s - polled_at_s < LIVE_S
        }
        # A controller that has just started does not know yet which gateways there are.
        known = now_s - self._started_at_s >= LIVE_S
        all_know = known and all(
            revision >= table.revision for revision, _ in self._gateways.values()
        )
        present = set(applications)
        for name in present:
            if name in routed:
                self._retired_at_s.pop(name, None)
            elif all_know:
                self._retired_at_s.setdefault(name, now_s)
        for name in set(self._retired_at_s) - present:
            del self._retired_at_s[name]
