"""The Serve shell around `decide`: one replica that observes, decides and applies.

Whatever it holds in memory can be lost at any time: it recomputes everything from the
registry, from Serve's status and from the fleet store.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from msgspec.structs import replace
from ray import serve
from sqlalchemy.exc import SQLAlchemyError

from deployments.controller.applications import Applications
from deployments.controller.changes import log_changes, stored_table
from deployments.controller.control import Control
from deployments.controller.counters import FleetCounters
from deployments.controller.decide import Decision, Observation, decide
from deployments.controller.dependencies import Dependencies
from deployments.controller.door import ControlDoor
from deployments.controller.doors import Doors
from deployments.controller.facts import RegistryView
from deployments.controller.faults import model_faults, pool_faults, rollout_faults
from deployments.controller.feedback import Feedback
from deployments.controller.gauges import RolloutWatch, fleet_gauges
from deployments.controller.hosted import HostedModels
from deployments.controller.loadfailures import LoadFailures
from deployments.controller.moving import is_moving
from deployments.controller.opening import open_door
from deployments.controller.pools import pooled_models, versions_in
from deployments.controller.proofs import Proofs
from deployments.controller.registry import Registry
from deployments.controller.retirements import Retirements
from deployments.controller.rolloutdesk import Desk
from deployments.controller.rollouts import make_rollouts
from deployments.controller.runningconfig import RunningConfig
from deployments.errors import ConfigError, DependencyError
from deployments.logs import log_as_serve_does
from deployments.settings import Settings
from deployments.store.feedback import FeedbackStore
from deployments.store.rollouts import RolloutStore
from deployments.store.store import FleetStore
from deployments.telemetry import Snapshot
from deployments.traffic.differences import Report
from deployments.traffic.feedback import Remembered
from deployments.traffic.table import EMPTY, Endpoint, RoutingTable, encode_table
from deployments.userconfig import ModelsSpec

logger = logging.getLogger(__name__)

MOVING_TICK_S = 0.5
"""Time between two looks at Serve while something is on its way, seconds."""

STEADY_TICK_S = 2.0
"""The same while nothing is: a look costs Serve's controller some milliseconds each time."""

FACTS_S = 0.1
"""Longest that a look waits for what the registry says of new versions, seconds."""

POLL_S = 1.0
"""Longest that a gateway's poll is held back while nothing changes, seconds."""


class Controller:
    """Keeps the cluster's applications and the routing table equal to what is asked for."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        log_as_serve_does()
        self._settings = settings
        self._clock = clock
        self._dependencies = Dependencies()
        self._guarded = self._dependencies.call
        self._registry = Registry(settings.tracking_uri, settings.registry_uri)
        self._registry_view = RegistryView()
        self._registry_due_at_s = 0.0
        self._applications = Applications(serve.get_replica_context().app_name, settings)
        cluster = ray.get_runtime_context().get_session_name()
        self._store = FleetStore(settings.store_url, cluster, clock)
        self._hosted = HostedModels(self._store)
        self._config = RunningConfig(self._store, self._guarded, self._restore_once, self._check)
        self._counters = FleetCounters(self._store, clock)
        self._control = Control(
            self._hosted,
            self._registry,
            settings.registry_uri,
            lambda: self._table,
            self._look_at_once,
            self._counters.merged,
            refusal=lambda: self._config.refusal,
        )
        self._door: ControlDoor | None = None
        feedback = FeedbackStore(self._store.engine)
        self._feedback = Feedback(feedback, lambda: self._hosted.specs, clock)
        self._fingerprints: dict[str, str] = {}
        self._failures = LoadFailures(self._store, self._guarded, clock)
        self._retirements = Retirements(clock)
        self._doors = Doors(clock)
        self._table: RoutingTable = EMPTY
        self._table_body = encode_table(EMPTY)
        self._changed = asyncio.Event()
        self._wake = asyncio.Event()
        self._proofs = Proofs(self._failures.note_proof, self._wake.set)
        self._restored = False
        self._restoring = asyncio.Lock()
        self._loop: asyncio.Task[None] | None = None
        wake = self._look_later
        self._rollouts = make_rollouts(self._store, self._registry, cluster, wake)
        self._watch = RolloutWatch()
        rows = RolloutStore(self._store.engine)
        self._desk = Desk(self._hosted, self._registry, rows, lambda: self._table, wake, clock)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Take a new set of models; nothing restarts for it, and a refused one changes nothing.

        Raises:
            ConfigError: It is refused and there never was a good one; one line for each fault,
                which becomes the status message.
        """
        self._host(await self._config.take(user_config))
        if self._loop is None:
            self._loop = asyncio.get_running_loop().create_task(self._run())
            self._door = open_door(
                self._settings,
                self._control,
                self._feedback,
                self._desk,
                ready=self._require_restored,
                look=self._look_at_once,
            )

    async def poll(
        self, gateway: str, revision: int, snapshot: Snapshot, reports: Sequence[Report] = ()
    ) -> tuple[int, bytes] | None:
        """Hold a gateway's question until there is a newer table, for a second at most.

        Args:
            gateway: Who asks.
            revision: Of the table that it has applied, which is thereby acknowledged.
            snapshot: All that it has counted.
            reports: Of differences that mirroring found.

        Returns:
            Revision and bytes of a newer table; None when there is none.
        """
        self._retirements.acknowledged(gateway, revision)
        self._counters.report(snapshot)
        self._control.differences.hear(gateway, reports)
        if revision > self._table.revision and self._table.settled:
            # The store was lost, and our revisions began anew: gateways would ignore them.
            self._set_table(replace(self._table, revision=revision + 1))
        if self._table.revision <= revision:
            changed = self._changed
            try:
                await asyncio.wait_for(changed.wait(), POLL_S)
            except TimeoutError:
                return None
        return self._table.revision, self._table_body

    async def announce(self, application: str, endpoint: Endpoint) -> frozenset[str] | None:
        """Hear from a replica that it takes batches directly; it says so every few seconds.

        Returns:
            The versions that the table has in this application, if it is a pool; None while
            there is no table.
        """
        if self._doors.heard(application, endpoint):
            self._wake.set()
        return versions_in(self._table, application) if self._table.revision else None

    async def retract(self, application: str, replica: str) -> None:
        """Hear from a replica that it leaves."""
        self._doors.left(application, replica)
        self._wake.set()

    async def load(self, name: str, settings: dict[str, Any] | None) -> int:
        """See `Control.load`; a gateway asks for the repository extension."""
        await self._require_restored()
        return await self._control.load(name, settings)

    async def unload(self, name: str) -> None:
        """See `Control.delete`; a gateway asks for the repository extension."""
        await self._require_restored()
        await self._control.delete(name)

    async def is_applied(self, revision: int) -> bool:
        """Whether every live gateway acts on a table of this revision, or a later one."""
        return self._retirements.all_have(revision)

    async def remember(self, answers: list[Remembered]) -> bool:
        """Keep what a gateway answered for feedback; tells whether the store has it."""
        return await self._guarded("fleet store", self._feedback.remember, answers) is True

    async def counters(self, snapshot: Snapshot) -> list[Snapshot]:
        """Take the asking gateway's snapshot; return every gateway's, persisted, and our own."""
        self._counters.report(snapshot)
        await self._guarded("fleet store", self._counters.flush)
        wanted, reachable = self._applications.gateways_wanted, self._dependencies.reachable
        refused = bool(self._config.refusal)
        own = fleet_gauges(self._table, reachable, wanted, self._watch, config_refused=refused)
        return [*self._counters.merged(), own]

    def check_health(self) -> None:
        """Serve restarts the controller when its loop has ended."""
        if self._loop is not None and self._loop.done():
            raise RuntimeError("the reconciler's loop has ended")

    async def __del__(self) -> None:
        """Serve awaits it when the controller is replaced."""
        if self._door is not None:
            await self._door.close()
        await self._guarded("fleet store", self._rollouts.release)

    def _host(self, spec: ModelsSpec) -> None:
        self._hosted.configure(spec.models, spec.pools, spec.rollouts)
        self._look_at_once()

    def _look_at_once(self) -> None:
        self._registry_due_at_s = 0.0
        self._wake.set()

    def _look_later(self) -> None:
        """Have the loop look at once, from any thread."""
        if self._loop is not None:
            self._loop.get_loop().call_soon_threadsafe(self._wake.set)

    async def _require_restored(self) -> None:
        if not await self._restore_once():
            reason = self._dependencies.trouble("fleet store") or "unknown"
            raise DependencyError("fleet store", reason)

    async def _check(self, spec: ModelsSpec) -> bool:
        """Refuse what cannot be hosted; False while registry or store cannot be asked."""
        view = await self._guarded("registry", self._registry.look, spec.models)
        # What is hosted already may lose its version at any time, and must not stop a
        # controller that starts again.
        if view is None or not await self._restore_once():
            return False
        hosted = self._table.models.keys()
        faults = [
            *model_faults(spec.models, view, self._settings.registry_uri, hosted=hosted),
            *pool_faults(spec.pools),
            *rollout_faults(spec.models, spec.rollouts),
        ]
        if faults:
            raise ConfigError("\n".join(f"user_config.{fault}" for fault in faults))
        return True

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            moving = True
            try:
                moving = await self._tick()
            except Exception:  # the loop must outlive whatever one tick meets
                logger.exception("tick failed; trying again in %s s", MOVING_TICK_S)
            delay_s = MOVING_TICK_S if moving else STEADY_TICK_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), delay_s)

    async def _tick(self) -> bool:
        """Observe, decide, apply; tells whether something is on its way."""
        if not await self._restore_once():
            # Without what an earlier controller left, a table of ours would be older than
            # the one in force, and applications in use would look like leftovers.
            return True
        await self._look_at_registry()
        applications = await asyncio.to_thread(self._applications.look, self._fingerprints)
        if applications is None:
            return False
        observed = Observation(
            specs=self._hosted.specs,
            registry=self._registry_view,
            applications=applications,
            failures=self._failures.known,
            table=self._table,
            retired_at_s=self._retirements.retired_at_s,
            endpoints=self._doors.open(),
            deadline_s=self._settings.request_deadline_s,
            strict_startup=self._settings.strict_startup,
            now_s=self._clock(),
            pools=self._hosted.pools,
            proven=self._proofs.proven,
        )
        templates = self._hosted.rollouts
        if await self._guarded("fleet store", self._rollouts.tick, observed, templates):
            self._look_at_once()
        self._watch.note(self._rollouts.rollouts)
        if not self._rollouts.is_read:
            return True  # nobody knows yet which versions rollouts need
        seen = dataclasses.replace(observed, asked=self._rollouts.asked)
        decision = decide(seen)
        await self._publish(decision.table)
        await self._apply(decision)
        self._proofs.begin(decision.prove)
        self._retirements.note(seen.applications, decision.table)
        self._control.note(seen)
        await self._guarded("fleet store", self._counters.flush)
        return is_moving(seen, decision)

    async def _restore_once(self) -> bool:
        async with self._restoring:
            self._restored = self._restored or await self._restore()
        return self._restored

    async def _restore(self) -> bool:
        """Read what an earlier controller left; the store may be away for a while."""
        await self._guarded("fleet store", self._store.migrate)
        body = await self._guarded("fleet store", self._store.load_table)
        if self._dependencies.trouble("fleet store") is not None:
            return False
        self._fingerprints = await asyncio.to_thread(self._store.load_fingerprints)
        await asyncio.to_thread(self._failures.read)
        await asyncio.to_thread(self._counters.restore)
        await self._control.refresh()
        if body is not None and self._table is EMPTY:
            self._set_table(stored_table(body))
            self._doors.restore(self._table)
        return True

    async def _look_at_registry(self) -> None:
        now_s, poll_s = self._clock(), self._settings.registry_poll_s
        if now_s < self._registry_due_at_s <= now_s + poll_s:  # a clock may be set back
            return
        self._registry_due_at_s = now_s + poll_s
        spec = await self._config.look_again()
        if spec is not None:
            self._host(spec)
        await self._refresh_hosted()
        specs, pools, more = self._hosted.specs, self._hosted.pools, self._rollouts.versions
        # What a fleet begins with must be known in full: a model of which nothing is known yet
        # looks like one that nobody has released.
        wait_s = FACTS_S if self._registry_view.answered else None
        view = await self._guarded("registry", self._registry.look, specs, pools, more, wait_s)
        if view is not None:
            self._registry_view = view
            if not view.complete:
                self._registry_due_at_s = 0.0
        self._match_pools()

    def _match_pools(self) -> None:
        seen = self._registry_view
        # Until the registry has answered once, what served before is all that is known.
        self._hosted.match(seen.aliases if seen.answered else pooled_models(self._table))

    async def _refresh_hosted(self) -> None:
        """Take over models that were added through another cluster's controller."""
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self._control.refresh()

    async def _publish(self, table: RoutingTable) -> None:
        if table is self._table or table.revision == self._table.revision:
            return
        log_changes(self._table, table)
        # Stored first: a gateway that starts without us must not read an older one
        # than its neighbours act on.
        await self._guarded(
            "fleet store", self._store.save_table, table.revision, encode_table(table)
        )
        self._set_table(table)

    def _set_table(self, table: RoutingTable) -> None:
        self._table = table
        self._table_body = encode_table(table)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def _apply(self, decision: Decision) -> None:
        await self._failures.replace(decision.failures)
        for name in decision.delete:
            logger.info("deleting application %s", name)
            await asyncio.to_thread(self._applications.delete, name)
        if not decision.deploy:
            return
        marks = {item.application: item.fingerprint for item in decision.deploy}
        for name in marks:
            logger.info("deploying application %s", name)
        refused = await asyncio.to_thread(
            self._applications.deploy, decision.deploy, self._hosted.specs, self._hosted.pools
        )
        await self._failures.note_refused(refused, marks)
        marks = {name: mark for name, mark in marks.items() if name not in refused}
        self._fingerprints.update(marks)
        await self._guarded("fleet store", self._store.save_fingerprints, marks)
