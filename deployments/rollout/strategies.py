"""From the settings of a rollout to its plan: each strategy is a list of steps."""

from collections.abc import Iterator, Mapping

from deployments.analysisspec import AnalysisSpec, RuleSpec, SignalSpec, interval_s
from deployments.rollout.conditions import ConditionError, parse
from deployments.rollout.plan import Hook, Plan, RulePlan, SignalPlan, Step, StepKind
from deployments.rollout.signals import Kind
from deployments.rolloutspec import RolloutSpec, StepSpec

ROLLBACK = "rollback"
AB = "ab"
SHADOW = "shadow"

REPORTS = (AB, SHADOW)
"""Strategies that end with a report and promote nothing."""

ANALYSIS = Step(StepKind.ANALYSIS, 0.0)

CANARY = (
    Step(StepKind.SET_WEIGHT, 5), ANALYSIS,
    Step(StepKind.SET_WEIGHT, 25), ANALYSIS,
    Step(StepKind.SET_WEIGHT, 50), ANALYSIS,
)  # fmt: skip
"""What a canary does unless somebody says."""

MIRRORED_CHECK = (Step(StepKind.SET_MIRROR, 100), ANALYSIS)

ERRORS = SignalPlan("errors", Kind.ERRORS)
DIFFERING = SignalPlan("differing", Kind.DIFFERING)


def plan_of(spec: RolloutSpec) -> Plan:
    """Turn settings into a plan."""
    steps = tuple(map(_step, spec.steps)) or _own_steps(spec)
    return Plan(
        strategy=spec.strategy,
        steps=steps,
        promotes=spec.strategy not in REPORTS,
        full_size=spec.strategy == "blueGreen",
        alpha=spec.analysis.alpha,
        risk=spec.analysis.risk,
        background=spec.analysis.background,
        signals=_signals(spec.analysis, steps),
        rules=tuple(map(_rule, spec.analysis.rules)),
        hooks=tuple(
            Hook(
                hook.name, hook.type, hook.url, hook.timeout_s, hook.retries,
                hook.headers, hook.metadata,
            )
            for hook in spec.webhooks
        ),
        progress_deadline_s=spec.progress_deadline_s,
        on_deadline=spec.on_deadline,
        keep_previous_s=spec.keep_previous_s,
    )  # fmt: skip


def rollback_plan(spec: RolloutSpec) -> Plan:
    """The plan of a rollback: no steps, and nothing is asked; whoever wants to be told, is."""
    told = ("post-rollout", "event")
    hooks = tuple(hook for hook in plan_of(spec).hooks if hook.type in told)
    return Plan(
        strategy=ROLLBACK,
        hooks=hooks,
        progress_deadline_s=spec.progress_deadline_s,
        keep_previous_s=spec.keep_previous_s,
    )


def faults(spec: RolloutSpec) -> Iterator[str]:
    """Find rules that cannot be followed, as `analysis.rules[0]...: what is wrong`."""
    for index, rule in enumerate(spec.analysis.rules):
        if spec.strategy == AB and rule.signal is not None:
            yield (
                f"analysis.rules[{index}].signal: {rule.signal!r}: a rule on a signal is about one"
                " version, and ab has several, allowed: a query, or the signal alone"
            )
        for key, text in (
            ("successCondition", rule.success_condition),
            ("failureCondition", rule.failure_condition),
        ):
            if text is None:
                continue
            try:
                parse(text)
            except ConditionError as error:
                yield f"analysis.rules[{index}].{key}: {error}"


def _own_steps(spec: RolloutSpec) -> tuple[Step, ...]:
    own: Mapping[str, tuple[Step, ...]] = {
        "canary": CANARY,
        "blueGreen": MIRRORED_CHECK,
        "rolling": (Step(StepKind.FOLLOW_REPLICAS, spec.max_surge),),
        AB: (Step(StepKind.COMPARE, spec.duration_s),),
        SHADOW: (Step(StepKind.SET_MIRROR, 100), Step(StepKind.COMPARE, spec.duration_s)),
    }
    return own[spec.strategy]


def _step(spec: StepSpec) -> Step:
    if spec.set_weight is not None:
        return Step(StepKind.SET_WEIGHT, spec.set_weight)
    if spec.set_mirror is not None:
        return Step(StepKind.SET_MIRROR, spec.set_mirror)
    if spec.check is not None:
        return Step(StepKind.CHECK, spec.check.allowed, spec.check.requests)
    if spec.pause is not None:
        return Step(StepKind.PAUSE, spec.pause.duration_s)
    return Step(StepKind.ANALYSIS, spec.analysis.at_least_s if spec.analysis else 0.0)


def _signals(spec: AnalysisSpec, steps: tuple[Step, ...]) -> tuple[SignalPlan, ...]:
    if spec.signals:
        return tuple(_signal(name, signal) for name, signal in spec.signals.items())
    mirrors = any(step.kind is StepKind.SET_MIRROR and step.value for step in steps)
    return (ERRORS, DIFFERING) if mirrors else (ERRORS,)


def _signal(name: str, spec: SignalSpec) -> SignalPlan:
    return SignalPlan(
        name=name,
        kind=Kind(spec.kind),
        allowed=spec.allowed,
        target_s=spec.target_s,
        quantile=spec.quantile,
        low=spec.low,
        high=spec.high,
        cluster_size=spec.cluster_size,
        dry_run=spec.dry_run,
    )


def _rule(spec: RuleSpec) -> RulePlan:
    return RulePlan(
        name=spec.name,
        query=spec.query,
        signal=spec.signal,
        address=spec.address,
        success=spec.success_condition,
        failure=spec.failure_condition,
        interval_s=interval_s(spec.interval) if spec.interval is not None else None,
        count=spec.count,
        failure_limit=spec.failure_limit,
        inconclusive_limit=spec.inconclusive_limit,
        consecutive_error_limit=spec.consecutive_error_limit,
        dry_run=spec.dry_run,
    )
