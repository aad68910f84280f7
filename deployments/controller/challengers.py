"""Which rollouts the alias `challenger` asks for, and which versions are not tried again."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from deployments.controller.decide import Observation
from deployments.controller.rolloutrows import rollout_of
from deployments.rollout.aftermath import Task, due
from deployments.rollout.analysis import Verdict
from deployments.rollout.commands import Request, equal_arms
from deployments.rollout.looking import outcome
from deployments.rollout.state import Phase, Rollout
from deployments.rollout.strategies import plan_of
from deployments.rolloutspec import RolloutSpec
from deployments.rolloutspec import rollout_of as settings_of
from deployments.schema import CANARY_ALIAS, STABLE_ALIAS
from deployments.store.rollouts import RolloutRow

logger = logging.getLogger(__name__)

MOST_LOOKED_AT = 1000
"""Rollouts of one model in which a version is looked for."""


class History(Protocol):
    """Rollouts that there were."""

    def history(self, model: str, limit: int) -> list[RolloutRow]:
        """The last ones of a model, newest first."""
        ...


class Challengers:
    """Remembers which versions were judged, so that each is looked up once."""

    def __init__(self, store: History) -> None:
        self._store = store
        self._judged: set[tuple[str, str]] = set()

    def note(self, rollouts: Iterable[Rollout]) -> None:
        """Take in what is being tried now, whatever came of it before."""
        for each in rollouts:
            if not each.phase.is_final:
                self._judged -= {(each.model, version) for version in each.versions}

    def due(
        self,
        observed: Observation,
        templates: Mapping[str, RolloutSpec],
        rollouts: Sequence[Rollout],
    ) -> Iterable[Request]:
        """Rollouts to begin.

        Args:
            observed: What the controller sees.
            templates: Of the config, by name.
            rollouts: Those that are active, or not settled.

        Raises:
            Exception: Whatever the store's driver raises.
        """
        # An alias that is about to be taken away asks for nothing.
        active = {each.model for each in rollouts if not each.phase.is_final or _clears(each)}
        for model, spec in observed.specs.items():
            settings = settings_of(spec, templates)
            aliases = observed.registry.aliases.get(model, {})
            stable, version = aliases.get(STABLE_ALIAS), aliases.get(CANARY_ALIAS)
            if settings is None or model in active or stable is None or version is None:
                continue
            if version == stable or self.is_judged(model, version):
                continue
            yield Request(
                model=model,
                versions=equal_arms([version]),
                stable=stable,
                plan=plan_of(settings),
                actor=CANARY_ALIAS,
                reason=f"{CANARY_ALIAS} was moved to version {version}",
                follows=True,
                challenger=version,
            )

    def is_judged(self, model: str, version: str) -> bool:
        """Whether a version is not tried again by itself.

        Raises:
            Exception: Whatever the store's driver raises.
        """
        if (model, version) in self._judged:
            return True
        row = self._latest(model, version)
        if row is None:
            return False
        rollout = rollout_of(row)
        if rollout is not None and not _has_judged(rollout, version):
            return False
        self._judged.add((model, version))
        if row.settled:
            what = f"which was judged ({row.phase}): start it by name to try it again"
            logger.info("%s: %s names version %s, %s", model, CANARY_ALIAS, version, what)
        return True

    def _latest(self, model: str, version: str) -> RolloutRow | None:
        """The last rollout that was about a version."""
        for row in self._store.history(model, MOST_LOOKED_AT):
            rollout = rollout_of(row)
            if version in ((row.version,) if rollout is None else rollout.versions):
                return row
        return None


def _clears(rollout: Rollout) -> bool:
    return any(effect.task is Task.CLEAR for effect in due(rollout))


def _has_judged(rollout: Rollout, version: str) -> bool:
    """Whether a rollout has said that a version is not to be tried again by itself."""
    if rollout.plan.promotes or rollout.phase is not Phase.SUCCESSFUL:
        return rollout.judged
    # A comparison promotes nothing: what was not worse may well be rolled out after it.
    return outcome(rollout, version)[0] == Verdict.FAILED
