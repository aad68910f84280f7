"""What a rollout is going to do: the values that its settings are turned into when it starts.

A rollout keeps its plan, so that a config that changes meanwhile changes the next one only.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from typing import Any

import msgspec

from deployments.rollout.conditions import Condition, parse
from deployments.rollout.measurements import Rule
from deployments.rollout.signals import (
    ALLOWED,
    Counts,
    Kind,
    Signal,
    slow_bucket,
    stable_bucket,
)


class StepKind(StrEnum):
    """What a step does; the first four are Argo Rollouts' words."""

    SET_WEIGHT = "setWeight"
    SET_MIRROR = "setMirror"
    PAUSE = "pause"
    ANALYSIS = "analysis"

    CHECK = "check"
    """Sends the version what was kept to ask it, and waits for its answers."""

    FOLLOW_REPLICAS = "followReplicas"
    """Gives the version the share of its replicas that is ready."""

    COMPARE = "compare"
    """Waits for a verdict on every version, or for the end of the time."""


class Step(msgspec.Struct, frozen=True):
    """One step."""

    kind: StepKind

    value: float | None = None
    """Percent of a weight, a mirror or a surge; seconds of a wait: None is without end; share
    of bad answers that a check allows."""

    requests: str | None = None
    """File of a check; None for the version's own input example."""

    def __str__(self) -> str:
        match self.kind, self.value:
            case ((StepKind.SET_WEIGHT | StepKind.SET_MIRROR), value):
                return f"{self.kind} {value:g}"
            case StepKind.CHECK, _:
                return f"check {self.requests or 'the input example'}"
            case StepKind.PAUSE, None:
                return "pause until approved"
            case StepKind.PAUSE, value:
                return f"pause {value:g} s"
            case _:
                return self.kind.value


class SignalPlan(msgspec.Struct, frozen=True):
    """A signal before stable's past is known; see `analysisspec.SignalSpec`."""

    name: str
    kind: Kind
    allowed: float | None = None
    target_s: float | None = None
    quantile: float | None = None
    low: float = 0.0
    high: float = 1.0
    cluster_size: int = 1
    dry_run: bool = False


class RulePlan(msgspec.Struct, frozen=True):
    """A threshold rule; see `analysisspec.RuleSpec`."""

    name: str
    query: str | None = None
    signal: str | None = None
    address: str = ""
    success: str | None = None
    failure: str | None = None
    interval_s: float | None = None
    count: int | None = None
    failure_limit: int = 0
    inconclusive_limit: int = 0
    consecutive_error_limit: int = 4
    dry_run: bool = False

    @property
    def rule(self) -> Rule:
        """With its conditions read."""
        return _rule(self)


class Hook(msgspec.Struct, frozen=True):
    """Somebody to tell or ask; see `rolloutspec.WebhookSpec`."""

    name: str
    type: str
    url: str
    timeout_s: float = 5.0
    retries: int = 2
    headers: Mapping[str, str] = {}
    metadata: Mapping[str, Any] = {}


class Plan(msgspec.Struct, frozen=True):
    """Everything that was decided when a rollout started."""

    strategy: str
    """A strategy of the config, or `rollback`."""

    steps: tuple[Step, ...] = ()

    promotes: bool = True
    """Whether it ends with the version in stable's place, and not with a report."""

    full_size: bool = False
    """Whether all replicas must be ready before the first step, and not only one."""

    alpha: float = 0.01
    risk: float = 0.05
    background: bool = True
    signals: tuple[SignalPlan, ...] = ()
    rules: tuple[RulePlan, ...] = ()
    hooks: tuple[Hook, ...] = ()
    progress_deadline_s: float = 600.0
    on_deadline: str = "abort"
    keep_previous_s: float = 300.0

    def hooks_of(self, *types: str) -> tuple[Hook, ...]:
        """Those of some types."""
        return tuple(hook for hook in self.hooks if hook.type in types)


def resolve_signals(
    plans: Sequence[SignalPlan], past: Counts, edges: Sequence[float]
) -> tuple[tuple[Signal, ...], tuple[str, ...]]:
    """Fix what the signals of a rollout are, for all of it.

    Args:
        plans: As they were asked for.
        past: What stable counted before the rollout.
        edges: Of the latency histogram's buckets, seconds.

    Returns:
        The signals, and why some of the plans are not among them.
    """
    signals, left_out = [], []
    for plan in plans:
        bucket = _bucket(plan, past, edges)
        if bucket is None:
            left_out.append(
                f"{plan.name} is not judged: stable has too few requests beyond its"
                f" quantile {plan.quantile:g}"
            )
            continue
        allowed = plan.allowed if plan.allowed is not None else ALLOWED[plan.kind]
        signals.append(
            Signal(
                name=plan.name,
                kind=plan.kind,
                allowed=allowed,
                bucket=bucket,
                low=plan.low if plan.kind is Kind.REWARD else 0.0,
                high=plan.high if plan.kind is Kind.REWARD else 1.0,
                cluster_size=plan.cluster_size,
                dry_run=plan.dry_run,
            )
        )
    return tuple(signals), tuple(left_out)


def _bucket(plan: SignalPlan, past: Counts, edges: Sequence[float]) -> int | None:
    if plan.target_s is not None:
        return slow_bucket(plan.target_s, edges)
    return stable_bucket(past.latency, plan.quantile) if plan.quantile is not None else 0


def _condition(text: str | None) -> Condition | None:
    return parse(text) if text is not None else None


@lru_cache(maxsize=1000)
def _rule(plan: RulePlan) -> Rule:
    return Rule(
        name=plan.name,
        success=_condition(plan.success),
        failure=_condition(plan.failure),
        interval_s=plan.interval_s,
        count=plan.count,
        failure_limit=plan.failure_limit,
        inconclusive_limit=plan.inconclusive_limit,
        consecutive_error_limit=plan.consecutive_error_limit,
        dry_run=plan.dry_run,
    )
