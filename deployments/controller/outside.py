"""What rollouts do and ask outside the fleet, each as an errand: registry, webhooks, Prometheus."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mlflow import MlflowClient

from deployments.controller.checks import Check
from deployments.controller.errands import Errands
from deployments.controller.outcomes import clear_alias, outcome_tags, set_alias, tag_version
from deployments.controller.prometheus import query
from deployments.controller.webhooks import HookType, Told, Webhook, call, payload
from deployments.errors import DependencyError
from deployments.rollout.aftermath import Effect, Task, asked, due
from deployments.rollout.looking import outcome
from deployments.rollout.measurements import Measurement, measure, missed
from deployments.rollout.plan import Hook, RulePlan, Step
from deployments.rollout.seen import Answered, Checked, Heard
from deployments.rollout.state import Event, Rollout
from deployments.schema import CANARY_ALIAS, STABLE_ALIAS
from deployments.traffic.table import ModelRoutes

ASK_S = 5.0
"""Between two questions to one webhook, and two checks without anything to ask, seconds."""

LOOK_S = 5.0
"""Between two looks for versions that were deleted, seconds."""

MISSING = "missing versions"


class Outside:
    """Sends errands for rollouts, and keeps what came of them. For one thread."""

    def __init__(
        self,
        client: Callable[[], MlflowClient],
        find_missing: Callable[[frozenset[tuple[str, str]]], frozenset[tuple[str, str]]],
        errands: Errands,
        registry_errands: Errands,
        run_check: Callable[[Check], Checked],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin.

        Args:
            client: Opens the registry; blocks.
            find_missing: Those of some versions that the registry has no longer; blocks.
            errands: Run the calls to webhooks, Prometheus and versions, which may be slow.
            registry_errands: Run those to the registry, which must not wait for them.
            run_check: Has a version answer what was kept to check it by; blocks.
            clock: Unix seconds.
        """
        self._client = client
        self._find_missing = find_missing
        self._errands = errands
        self._registry_errands = registry_errands
        self._run_check = run_check
        self._clock = clock
        self._told: dict[tuple[str, str, int], Answered] = {}
        self._checked: dict[tuple[str, int], Checked] = {}
        self._measured: dict[str, dict[str, tuple[Measurement, ...]]] = {}
        self._done: dict[str, set[str]] = {}
        self.missing: frozenset[tuple[str, str]] = frozenset()

    def collect(self) -> bool:
        """Take in what errands have brought; tells whether the registry may have changed."""
        changed = False
        for each in (*self._registry_errands.finished(), *self._errands.finished()):
            match each.name:
                case ("effect", str(rollout), str(key)):
                    changed = True
                    if key != Task.PROMOTE:
                        self._done.setdefault(rollout, set()).add(key)
                case ("hook", str(rollout), str(hook), int(step)):
                    self._told[rollout, hook, step] = each.result
                case ("check", str(rollout), int(step)):
                    self._checked[rollout, step] = each.result
                case ("rule", str(rollout), str(rule)):
                    measured = self._measured.setdefault(rollout, {})
                    measured[rule] = (*measured.get(rule, ()), each.result)
                case ("missing",):
                    self.missing = each.result
        return changed

    def told(self, rollout: Rollout) -> dict[str, Answered]:
        """What a rollout's webhooks have said at its present step."""
        return {
            hook: answer
            for (identity, hook, step), answer in self._told.items()
            if identity == rollout.id and step == _step(rollout)
        }

    def checked(self, rollout: Rollout) -> Checked | None:
        """What came of the check at its present step; None while nothing has."""
        return self._checked.get((rollout.id, _step(rollout)))

    def measured(self, rollout: Rollout) -> Mapping[str, tuple[Measurement, ...]]:
        """New measurements of its rules; each is handed out once."""
        return self._measured.pop(rollout.id, {})

    def heard(self, rollout: Rollout) -> Heard:
        """All of these; new measurements are handed out once."""
        return Heard(
            self.missing, self.told(rollout), self.measured(rollout), self.checked(rollout)
        )

    def done(self, rollout: Rollout) -> frozenset[str]:
        """What of its aftermath was carried out."""
        return frozenset(self._done.get(rollout.id, ()))

    def send(self, rollout: Rollout, champion: str | None) -> None:
        """Do and ask what a rollout wants; what is on its way already is left alone."""
        for effect in due(rollout):
            if effect.key not in self.done(rollout):
                name = ("effect", rollout.id, effect.key)
                told = effect.task is Task.TELL
                errands = self._errands if told else self._registry_errands
                errands.begin(name, self._effect(rollout, effect, champion), 1.0)
        for hook in asked(rollout):
            question = ("hook", rollout.id, hook.name, _step(rollout))
            self._errands.begin(question, partial(_ask, rollout, hook), ASK_S)

    def check(self, rollout: Rollout, step: Step, routes: ModelRoutes | None) -> None:
        """Have a version checked, again and again while there is nothing to check it by."""
        known = self.checked(rollout)
        if routes is None or routes.route(rollout.version) is None:
            return  # the table does not have it yet
        if known is None or not known.asked:
            check = Check(rollout.model, rollout.version, step.requests, routes)
            name = ("check", rollout.id, _step(rollout))
            self._errands.begin(name, partial(self._run_check, check), ASK_S)

    def measure(self, rollout: Rollout, plan: RulePlan) -> None:
        """Ask Prometheus for the number of a rule."""
        assert plan.query is not None  # noqa: S101, a rule is on a query or on a signal
        promql = plan.query

        def ask() -> Measurement:
            try:
                value = query(plan.address, promql)
            except DependencyError as error:
                return missed(self._clock(), str(error))
            return measure(plan.rule, value, self._clock())

        self._errands.begin(("rule", rollout.id, plan.name), ask)

    def note(self, rollout: Rollout, rule: str, measurement: Measurement) -> None:
        """Add a measurement of a rule on a signal."""
        measured = self._measured.setdefault(rollout.id, {})
        measured[rule] = (*measured.get(rule, ()), measurement)

    def tell(self, rollout: Rollout, event: Event, number: int) -> None:
        """Call the webhooks that hear of every event."""
        for hook in rollout.plan.hooks_of("event"):
            metadata = {
                "eventMessage": f"{event.kind}: {event.reason}", "before": event.before,
                "after": event.after, "actor": event.actor, "rollout": rollout.id,
            }  # fmt: skip
            name = ("event", rollout.id, hook.name, number)
            self._errands.begin(name, _teller(rollout, hook, metadata, f"{rollout.id}-{number}"))

    def look_for(self, versions: frozenset[tuple[str, str]]) -> None:
        """Have the registry say which of these versions were deleted."""
        if versions:
            self._registry_errands.begin(("missing",), lambda: self._find_missing(versions), LOOK_S)
        else:
            self.missing = frozenset()

    def forget(self, known: frozenset[str]) -> None:
        """Drop everything about rollouts that are settled."""
        self._told = {key: each for key, each in self._told.items() if key[0] in known}
        self._checked = {key: each for key, each in self._checked.items() if key[0] in known}
        self._measured = {key: each for key, each in self._measured.items() if key in known}
        self._done = {key: each for key, each in self._done.items() if key in known}
        for errands in (self._errands, self._registry_errands):
            errands.forget(
                lambda name: isinstance(name, tuple) and len(name) > 1 and name[1] not in known
            )

    def _effect(self, rollout: Rollout, effect: Effect, champion: str | None) -> Callable[[], Any]:
        model, version = rollout.model, rollout.version
        match effect.task:
            case Task.PROMOTE:
                expected = rollout.stable if champion is not None else None
                return lambda: set_alias(self._client(), model, STABLE_ALIAS, version, expected)
            case Task.CLEAR:
                return lambda: clear_alias(self._client(), model, CANARY_ALIAS, version)
            case Task.TAG:
                ended_at_s = rollout.ended_at_s or 0.0
                tags = {
                    each: outcome_tags(rollout.id, *outcome(rollout, each), ended_at_s)
                    for each in rollout.versions
                }
                return lambda: [
                    tag_version(self._client(), model, each, said) for each, said in tags.items()
                ]
            case Task.TELL:
                assert effect.hook is not None  # noqa: S101, as `aftermath.due` makes them
                metadata = {"reason": rollout.reason, "rollout": rollout.id}
                return _teller(rollout, effect.hook, metadata, f"{rollout.id}-end")


def _step(rollout: Rollout) -> int:
    """Tells the questions of one step from those of another."""
    return rollout.step if rollout.begun else -1


def _ask(rollout: Rollout, hook: Hook) -> Answered:
    metadata = {"rollout": rollout.id, "stable": rollout.stable, "weight": rollout.weight}
    told: Told = _teller(rollout, hook, metadata, f"{rollout.id}-{hook.name}-{_step(rollout)}")()
    return Answered(told.yes, told.answered, told.reason)


def _teller(
    rollout: Rollout, hook: Hook, metadata: Mapping[str, Any], delivery: str
) -> Callable[[], Told]:
    whom = Webhook(
        hook.name, HookType(hook.type), hook.url, hook.timeout_s, hook.retries,
        hook.headers, hook.metadata,
    )  # fmt: skip
    message = payload(
        whom,
        model=rollout.model,
        phase=rollout.phase.value,
        checksum=rollout.version,
        metadata=metadata,
    )
    return lambda: call(whom, message, delivery)
