"""What the controller itself tells in the fleet's metrics: table, rollouts, what it cannot reach.

Nothing of this is stored: endings of rollouts are counted from the controller's start on.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from deployments.rollout.plan import StepKind
from deployments.rollout.state import Phase, Rollout
from deployments.telemetry import (
    CONFIG_REFUSED,
    DEPENDENCY_UP,
    GATEWAYS_WANTED,
    ROLLOUT_ACTIVE,
    ROLLOUT_ALLOWED,
    ROLLOUT_ENDINGS,
    ROLLOUT_STEP,
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


TIMED = frozenset({StepKind.PAUSE, StepKind.ANALYSIS, StepKind.COMPARE})
"""Steps whose value is a time, seconds."""

OUTCOMES = tuple(phase for phase in Phase if phase.is_final)

Place = tuple[int, int, Phase]
"""Where a rollout is: step, epoch, phase."""


class RolloutWatch:
    """For how long each rollout has been where it is, and how those ended that are gone."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._rollouts: Sequence[Rollout] = ()
        self._since: dict[str, tuple[Place, float]] = {}
        self._counted: set[str] = set()
        self._endings: Counter[tuple[str, str]] = Counter()

    def note(self, rollouts: Sequence[Rollout]) -> None:
        """Take what the reconciler holds after a look: those that are active, or not settled.

        None is settled in the look that ends it, so every ending is seen here once at least.
        """
        now_s = self._monotonic()
        since = {}
        for rollout in rollouts:
            place = (rollout.step, rollout.epoch, rollout.phase)
            # What an earlier controller has seen of the step stands in the rollout itself.
            known = self._since.get(rollout.id, (place, now_s - rollout.in_step_s))
            since[rollout.id] = known if known[0] == place else (place, now_s)
            if rollout.phase.is_final and rollout.id not in self._counted:
                self._endings[rollout.model, rollout.phase.value] += 1
        self._rollouts, self._since = rollouts, since
        self._counted = {each.id for each in rollouts if each.phase.is_final}

    def families(self, models: Iterable[str]) -> Mapping[str, tuple[Series, ...]]:
        """What to tell of them.

        Args:
            models: All that are hosted. Their endings are told from 0 on, or Prometheus would not
                see the first one as a rise.
        """
        now_s = self._monotonic()
        active = [each for each in self._rollouts if not each.phase.is_final]
        none = ((model, outcome.value) for model in models for outcome in OUTCOMES)
        endings = {**dict.fromkeys(none, 0), **self._endings}
        return {
            ROLLOUT_ACTIVE.name: _series(((*_who(each), each.phase.value), 1) for each in active),
            ROLLOUT_STEP.name: _series(
                (_who(each), now_s - self._since[each.id][1]) for each in active
            ),
            ROLLOUT_ALLOWED.name: _series(_allowed(active)),
            ROLLOUT_ENDINGS.name: _series(sorted(endings.items())),
        }


def fleet_gauges(
    table: RoutingTable,
    reachable: Mapping[str, bool],
    gateways_wanted: int | None,
    rollouts: RolloutWatch,
    *,
    config_refused: bool,
) -> Snapshot:
    """Describe the fleet as the controller has it.

    Args:
        table: The one in force.
        reachable: Whether the last call of a dependency succeeded; without those that were
            not called yet.
        gateways_wanted: Replicas of the gateway that Serve is to run; None before it was asked.
        rollouts: What the reconciler has told of them.
        config_refused: Whether an older config than the deployed one is in force.
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
        CONFIG_REFUSED.name: _series([((), config_refused)]),
        **rollouts.families(table.models),
    }
    return Snapshot(CONTROLLER, 0, families)


def _is_ready(route: Route) -> bool:
    return route.state is RouteState.READY


def _who(rollout: Rollout) -> Labels:
    return (rollout.model, rollout.version)


def _allowed(rollouts: Iterable[Rollout]) -> Iterator[tuple[Labels, float]]:
    for rollout in rollouts:
        step = rollout.current
        timed_s = step.value if step is not None and step.kind in TIMED else 0.0
        # A comparison without an end waits for its verdict as long as that takes.
        if timed_s is not None or (step is not None and step.kind is not StepKind.COMPARE):
            yield _who(rollout), (timed_s or 0.0) + rollout.plan.progress_deadline_s


def _series(values: Iterable[tuple[Labels, float]]) -> tuple[Series, ...]:
    return tuple(Series(labels, (float(value),)) for labels, value in values)
