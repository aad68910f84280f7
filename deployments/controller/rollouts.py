"""The reconciler of rollouts: reads what is stored, looks, lets the pure parts decide, stores.

Every controller reads the rows and keeps its own cluster's table in step with them; only the
holder of the lease judges. It may crash between any two lines: what is stored says how to go
on, and a write is refused if somebody else has written meanwhile.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import compress
from uuid import uuid4

from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from deployments.controller.challengers import Challengers
from deployments.controller.checks import Checks
from deployments.controller.counts import FleetCounts
from deployments.controller.decide import Observation
from deployments.controller.errands import Errands
from deployments.controller.outside import Outside
from deployments.controller.registry import Registry
from deployments.controller.rolloutlook import seen_of
from deployments.controller.rolloutrows import event_of, event_rows, rollout_of, row_of
from deployments.controller.rules import SignalRules
from deployments.controller.shares import Asked, asked_by, versions_of
from deployments.rollout.advance import advance
from deployments.rollout.aftermath import checkable, is_settled, measurable, with_done
from deployments.rollout.commands import Request, start
from deployments.rollout.seen import Seen
from deployments.rollout.state import Advanced, Rollout
from deployments.rolloutspec import RolloutSpec
from deployments.store.feedback import FeedbackStore
from deployments.store.rollouts import RolloutStore
from deployments.store.store import FleetStore

logger = logging.getLogger(__name__)

LEASE = "rollouts"

RENEW_S = 2.0
"""Between two renewals of the lease, seconds."""

REGISTRY_CALLS = 2
"""Writes to the registry at a time: they compute as much as they wait, and where fifty versions
are promoted at once, more of them hold up the tick."""

SAVE_S = 2.0
"""Longest that new numbers are only in memory, seconds; what was decided is stored at once."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A rollout as this process knows it, maybe a little ahead of the store."""

    rollout: Rollout
    revision: int
    saved_at_s: float


@dataclass(frozen=True, slots=True)
class _Decided:
    """What a look at a rollout has led to."""

    held: _Held
    """As it was before."""

    done: Advanced

    seen: Seen | None
    """What it went by; None where it cannot go on."""


def make_rollouts(
    store: FleetStore, registry: Registry, cluster: str, wake: Callable[[], None]
) -> "Rollouts":
    """Put the reconciler together.

    Args:
        store: The fleet's.
        registry: The models'.
        cluster: Names this cluster.
        wake: Has the controller look at once; called from threads.
    """
    to_registry = Errands(wake, workers=REGISTRY_CALLS)
    outside = Outside(registry.client, registry.missing, Errands(wake), to_registry, Checks().run)
    counts = FleetCounts(store, FeedbackStore(store.engine).totals)
    return Rollouts(RolloutStore(store.engine), counts, outside, cluster)


class Rollouts:
    """All rollouts that are on their way. `tick` blocks, and is for one thread at a time."""

    def __init__(
        self,
        store: RolloutStore,
        counts: FleetCounts,
        outside: Outside,
        holder: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            store: Of all clusters.
            counts: What versions have done, in all clusters.
            outside: Runs what others are asked for.
            holder: Names this cluster's controller; the one that replaces it goes on with
                its lease at once.
            monotonic: Seconds.
        """
        self._store = store
        self._counts = counts
        self._outside = outside
        self._holder = holder
        self._monotonic = monotonic
        self._held: dict[str, _Held] = {}
        self._challengers = Challengers(store)
        self._told: dict[str, int] = {}
        self._known_since_s: dict[str, float] = {}
        self._renew_at_s = 0.0
        self._rules = SignalRules()
        self.leads = False
        """Whether this controller judges."""

        self.is_read = False
        """Whether the store was read once; before, nobody knows what traffic to ask for."""

    @property
    def rollouts(self) -> list[Rollout]:
        """Those that are active, or not settled; oldest first."""
        return [held.rollout for held in self._held.values()]

    @property
    def asked(self) -> dict[str, Asked]:
        """What they ask of the routing table, by model."""
        return asked_by(self.rollouts)

    @property
    def versions(self) -> frozenset[tuple[str, str]]:
        """Versions that they are about, by model and version."""
        return frozenset(versions_of(self.rollouts))

    def tick(self, observed: Observation, templates: Mapping[str, RolloutSpec]) -> bool:
        """Look at all rollouts once, and begin those that are due.

        Args:
            observed: What the controller sees.
            templates: Of the config, by name.

        Returns:
            Whether the registry should be looked at again at once.

        Raises:
            Exception: Whatever the store's driver raises.
        """
        self._read()
        changed = self._outside.collect()
        if not self._lead() or not observed.registry.answered:
            return False
        due = self._challengers.due(observed, templates, self.rollouts)
        begun = self._begin(list(due), observed.now_s)
        self._outside.look_for(self._unnamed(observed))
        if any(not held.rollout.phase.is_final for held in self._held.values()):
            self._counts.read()
        decided = [self._decide(held, observed) for held in self._held.values()]
        self._keep(decided, observed.now_s)
        for each in decided:
            self._act(each, observed)
        self._outside.forget(frozenset(self._held))
        return changed or begun

    def release(self) -> None:
        """Let another cluster's controller judge at once."""
        if self.leads:
            self._store.release(LEASE, self._holder)

    def _read(self) -> None:
        held = {}
        for row in self._store.unsettled():
            known = self._held.get(row.id)
            if known is not None and known.revision == row.revision:
                held[row.id] = known
                continue
            rollout = rollout_of(row)
            if rollout is not None:
                held[row.id] = _Held(rollout, row.revision, self._monotonic())
                self._hear(rollout, row.revision)
        for key in held:
            self._known_since_s.setdefault(key, self._monotonic())
        self._held = held
        self._challengers.note(self.rollouts)
        self._told = {key: told for key, told in self._told.items() if key in held}
        self._known_since_s = {
            key: since_s for key, since_s in self._known_since_s.items() if key in held
        }
        self.is_read = True

    def _hear(self, rollout: Rollout, revision: int) -> None:
        """Pass on what others have written down, such as the commands of people."""
        events = [event_of(row) for row in self._store.events(rollout.id)]
        # What happened before this controller began was for an earlier one to tell.
        told = self._told.setdefault(rollout.id, 0 if revision == 0 else len(events))
        if self.leads:
            self._tell(Advanced(rollout, tuple(events[told:])))
        self._told[rollout.id] = len(events)

    def _lead(self) -> bool:
        now_s = self._monotonic()
        if now_s >= self._renew_at_s or not self.leads:
            led, self.leads = self.leads, self._store.hold(LEASE, self._holder)
            self._renew_at_s = now_s + RENEW_S
            if led != self.leads:
                logger.info("rollouts are %s", "judged here" if self.leads else "judged elsewhere")
        return self.leads

    def _begin(self, requests: Iterable[Request], now_s: float) -> bool:
        created = [start(request, uuid4().hex[:12], now_s) for request in requests]
        rows = [(row_of(each.rollout), event_rows(each, now_s)) for each in created]
        # Those that are not stored another controller was quicker to begin.
        stored = list(compress(created, self._store.begin_all(rows)))
        for each in stored:
            rollout = each.rollout
            logger.info("%s: rollout %s: %s", rollout.model, rollout.id, rollout.reason)
            self._held[rollout.id] = _Held(rollout, 0, self._monotonic())
            self._known_since_s[rollout.id] = 0.0  # the registry's view is what it follows from
            self._tell(each)
        return bool(stored)

    def _decide(self, held: _Held, observed: Observation) -> _Decided:
        before = held.rollout
        try:
            seen = seen_of(
                before,
                observed,
                self._counts.of,
                self._outside.heard(before),
                is_judged=self._challengers.is_judged,
                known_since_s=self._known_since_s.get(before.id, 0.0),
            )
            done = advance(before, seen)
            rollout = done.rollout
            for key in self._outside.done(rollout):
                rollout = with_done(rollout, key)
        except (SQLAlchemyError, OSError):
            raise  # the store is away, for all of them
        except Exception as error:  # noqa: BLE001, one that is broken must not stop the others
            return _stalled(held, error)
        return _Decided(held, Advanced(rollout, done.events), seen)

    def _keep(self, decided: Iterable[_Decided], now_s: float) -> None:
        """Store what was decided at once, and numbers once in a while."""
        due = []
        for each in decided:
            held, rollout = each.held, each.done.rollout
            is_late = self._monotonic() - held.saved_at_s >= SAVE_S and rollout != held.rollout
            if each.done.events or is_late or _decisions(rollout) != _decisions(held.rollout):
                due.append(each)
            else:
                self._held[rollout.id] = _Held(rollout, held.revision, held.saved_at_s)
        rows = [
            (row_of(each.done.rollout, each.held.revision), event_rows(each.done, now_s))
            for each in due
        ]
        for each, is_stored in zip(due, self._store.save_all(rows), strict=True):
            rollout, key = each.done.rollout, each.done.rollout.id
            if not is_stored:
                del self._held[key]  # somebody else has written: what they wrote is read next
                continue
            for event in each.done.events:
                what = f"{event.kind}: {event.after} (was {event.before})"
                logger.info("%s: rollout %s: %s: %s", rollout.model, key, what, event.reason)
            self._tell(each.done)
            if is_settled(rollout):
                del self._held[key]
            else:
                self._held[key] = _Held(rollout, each.held.revision + 1, self._monotonic())

    def _act(self, decided: _Decided, observed: Observation) -> None:
        """Do and ask what a rollout wants, as it was stored."""
        held, seen = self._held.get(decided.done.rollout.id), decided.seen
        if held is None or seen is None:
            return
        rollout = held.rollout
        try:
            self._outside.send(rollout, seen.champion)
            if (step := checkable(rollout)) is not None:
                self._outside.check(rollout, step, observed.table.models.get(rollout.model))
            for plan in measurable(rollout, seen.now_s):
                if plan.query is not None:
                    self._outside.measure(rollout, plan)
                elif (measured := self._rules.measure(rollout, plan, seen)) is not None:
                    self._outside.note(rollout, plan.name, measured)
        except Exception as error:  # noqa: BLE001, as above
            self._keep([_stalled(held, error)], observed.now_s)

    def _tell(self, done: Advanced) -> None:
        """Pass on events that were just stored."""
        number = self._told.get(done.rollout.id, 0)
        for event in done.events:
            self._outside.tell(done.rollout, event, number)
            number += 1
        self._told[done.rollout.id] = number

    def _unnamed(self, observed: Observation) -> frozenset[tuple[str, str]]:
        """Versions on trial that no alias names: only these can have been deleted."""
        aliases = observed.registry.aliases
        return frozenset(
            (model, version)
            for model, version in versions_of(
                each for each in self.rollouts if not each.phase.is_final
            )
            if version not in aliases.get(model, {}).values()
        )


def _stalled(held: _Held, error: Exception) -> _Decided:
    reason = f"cannot go on: {error}"
    if held.rollout.reason != reason:
        logger.error("rollout %s %s", held.rollout.id, reason, exc_info=error)
    return _Decided(held, Advanced(replace(held.rollout, reason=reason)), None)


def _decisions(rollout: Rollout) -> Rollout:
    """All of a rollout but what changes at every look."""
    health = {version: replace(each, down_s=0.0) for version, each in rollout.health.items()}
    return replace(
        rollout, clock_s=0.0, in_step_s=0.0, stalled_s=0.0, health=health, kept_s=0.0,
        evidence={}, judgements={}, tallies={}, reason="",
    )  # fmt: skip
