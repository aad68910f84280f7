"""Where people ask for rollouts, and are told how they are: each request is one write.

What is asked is stored at once, by whichever controller is asked; the next tick of the one
that holds the lease acts on it.
"""

import time
from collections.abc import Callable
from uuid import uuid4

from deployments.controller.control import reached
from deployments.controller.hosted import HostedModels
from deployments.controller.registry import Registry
from deployments.controller.rolloutrows import event_rows, readable, rollout_of, row_of
from deployments.controller.rolloutshow import event_view, rollout_view
from deployments.controller.rolloutstarts import back_to, first_of, settings_for
from deployments.controller.rolloutviews import (
    CommandName,
    EventView,
    RolloutView,
    StartRequest,
)
from deployments.errors import ConflictError, MalformedRequestError, NotFoundError
from deployments.rollout.commands import Action, Request, command, equal_arms, start
from deployments.rollout.state import Advanced, Rollout
from deployments.rollout.strategies import plan_of, rollback_plan
from deployments.rolloutspec import RolloutSpec, feedback_fault
from deployments.rolloutspec import rollout_of as settings_of
from deployments.schema import CANARY_ALIAS, STABLE_ALIAS, ModelSpec
from deployments.store.rollouts import RolloutRow, RolloutStore
from deployments.traffic.table import RoutingTable

STORE = "fleet store"
REGISTRY = "model registry"

ATTEMPTS = 10
"""Writes that may be refused because the reconciler has just written, before we give up."""


class Desk:
    """See `rolloutviews.RolloutDesk`. For the controller's event loop; calls block in threads."""

    def __init__(
        self,
        hosted: HostedModels,
        registry: Registry,
        rows: RolloutStore,
        table: Callable[[], RoutingTable],
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin.

        Args:
            hosted: The models.
            registry: Where their versions are.
            rows: Where rollouts are.
            table: The routing table in force.
            wake: Has the controller look at once; called from threads.
            clock: Unix seconds.
        """
        self._hosted = hosted
        self._registry = registry
        self._rows = rows
        self._table = table
        self._wake = wake
        self._clock = clock

    async def start(self, model: str, request: StartRequest, by: str) -> RolloutView:
        """Begin a rollout; see the protocol for what it raises."""
        spec = self._hosted.spec(model)
        _require_no_split(model, spec)
        settings = settings_for(request, settings_of(spec, self._hosted.rollouts), self._templates)
        fault = feedback_fault(spec, settings)
        if fault is not None:
            raise MalformedRequestError(f"model {model!r}: {fault}")
        aliases = await self._aliases(model)
        stable = _champion(model, aliases)
        versions = first_of(request, model, aliases, stable)
        await self._require_registered(model, versions)
        asked = Request(
            model=model,
            versions=equal_arms(versions),
            stable=stable,
            plan=plan_of(settings),
            actor=by,
            reason=f"asked for by {by}",
            follows=spec.rollout is not None,
            challenger=aliases.get(CANARY_ALIAS),
        )
        return self._show(await reached(STORE, self._begin, asked))

    async def command(self, model: str, command: CommandName, reason: str, by: str) -> RolloutView:
        """Intervene in the active rollout; see the protocol for what it raises."""
        self._hosted.spec(model)
        done = await reached(STORE, self._command, model, Action(command), by, reason)
        return self._show(done)

    async def rollback(self, model: str, version: str | None, reason: str, by: str) -> RolloutView:
        """Bring an earlier version back; see the protocol for what it raises."""
        spec = self._hosted.spec(model)
        _require_no_split(model, spec)
        aliases = await self._aliases(model)
        stable = _champion(model, aliases)
        said = f": {reason}" if reason else ""
        active = await reached(STORE, self._active, model)
        goes_on = active is None or version not in {None, active.stable}
        if goes_on:  # refused before anything is ended for it
            history = await reached(STORE, self._history, model, 1000)
            target = back_to(version, model, stable, history)
            await self._require_registered(model, [target])
        if active is not None:
            # Its stable version has its requests back with the abort; others come on top.
            why = f"rolled back{said}"
            ended = await reached(STORE, self._command, model, Action.ABORT, by, why)
            if not goes_on:
                return self._show(ended)
        settings = settings_of(spec, self._hosted.rollouts) or RolloutSpec()
        asked = Request(
            model=model,
            versions=equal_arms([target]),
            stable=stable,
            plan=rollback_plan(settings),
            actor=by,
            reason=f"rolled back by {by}{said}",
            follows=False,  # a new challenger waits until the good version is back
            challenger=aliases.get(CANARY_ALIAS),
        )
        return self._show(await reached(STORE, self._begin, asked))

    async def current(self, model: str) -> RolloutView:
        """The active rollout of a model, else its last."""
        self._hosted.spec(model)
        active = await reached(STORE, self._active, model)
        found = active or next(iter(await reached(STORE, self._history, model, 1)), None)
        if found is None:
            raise NotFoundError(f"model {model!r} never had a rollout")
        return self._show(found)

    async def all(self) -> list[RolloutView]:
        """The same of every hosted model that ever had one, by name."""
        found: list[Rollout] = await reached(STORE, self._history, None, 1000)
        found += await reached(STORE, self._unsettled)  # however long ago they began
        hosted, newest = self._hosted.specs, dict[str, Rollout]()
        for rollout in found:
            known = newest.get(rollout.model)
            if known is None or (known.phase.is_final and not rollout.phase.is_final):
                newest[rollout.model] = rollout
        return [self._show(newest[model]) for model in sorted(newest) if model in hosted]

    async def history(self, model: str, limit: int) -> list[RolloutView]:
        """The last rollouts of a model, newest first."""
        self._hosted.spec(model)
        return [self._show(each) for each in await reached(STORE, self._history, model, limit)]

    async def events(self, model: str, rollout: str) -> list[EventView]:
        """What happened to a rollout, oldest first."""
        self._hosted.spec(model)
        row: RolloutRow | None = await reached(STORE, self._rows.get, rollout)
        if row is None or row.model != model:
            raise NotFoundError(f"model {model!r} has no rollout {rollout!r}")
        return [event_view(each) for each in await reached(STORE, self._rows.events, rollout)]

    @property
    def _templates(self) -> dict[str, RolloutSpec]:
        return dict(self._hosted.rollouts)

    def _show(self, rollout: Rollout) -> RolloutView:
        return rollout_view(rollout, self._table().models.get(rollout.model))

    async def _aliases(self, model: str) -> dict[str, str]:
        found: dict[str, str] | None = await reached(REGISTRY, self._registry.aliases_of, model)
        if found is None:
            raise NotFoundError(f"model {model!r} is not in the model registry")
        return found

    async def _require_registered(self, model: str, versions: list[str]) -> None:
        pairs = [(model, version) for version in versions]
        missing = await reached(REGISTRY, self._registry.missing, pairs)
        for _, version in sorted(missing):
            raise NotFoundError(f"model {model!r} has no version {version!r} in the registry")

    def _begin(self, request: Request) -> Rollout:
        created = start(request, uuid4().hex[:12], self._clock())
        rollout = created.rollout
        if not self._rows.begin(row_of(rollout), event_rows(created, rollout.started_at_s)):
            active = self._active(request.model)
            shown = f", to version {active.version}" if active is not None else ""
            raise ConflictError(f"model {request.model!r} has an active rollout{shown}")
        self._wake()
        return rollout

    def _command(self, model: str, action: Action, by: str, reason: str) -> Rollout:
        for _ in range(ATTEMPTS):
            row = self._active_row(model)
            rollout = rollout_of(row) if row is not None else None
            if row is None or rollout is None:
                raise NotFoundError(f"model {model!r} has no active rollout")
            now_s = self._clock()
            done = command(rollout, action, by, now_s, reason)
            if not isinstance(done, Advanced):
                raise ConflictError(f"model {model!r}: {done}")
            if self._rows.save(row_of(done.rollout, row.revision), event_rows(done, now_s)):
                self._wake()
                return done.rollout
        raise ConflictError(f"model {model!r}: its rollout changes too fast, try again")

    def _active_row(self, model: str) -> RolloutRow | None:
        rows = self._rows.unsettled()
        return next((row for row in rows if row.model == model and row.active), None)

    def _active(self, model: str) -> Rollout | None:
        row = self._active_row(model)
        return rollout_of(row) if row is not None else None

    def _history(self, model: str | None, limit: int) -> list[Rollout]:
        return readable(self._rows.history(model, limit))

    def _unsettled(self) -> list[Rollout]:
        return readable(self._rows.unsettled())


def _require_no_split(model: str, spec: ModelSpec) -> None:
    if list(spec.traffic) != [STABLE_ALIAS]:
        shown = ", ".join(f"{key}: {weight}" for key, weight in spec.traffic.items())
        raise ConflictError(
            f"model {model!r} has fixed weights {{{shown}}} in its traffic, leave them out first"
        )


def _champion(model: str, aliases: dict[str, str]) -> str:
    stable = aliases.get(STABLE_ALIAS)
    if stable is None:
        raise ConflictError(f"model {model!r} has no version with the alias {STABLE_ALIAS}")
    return stable
