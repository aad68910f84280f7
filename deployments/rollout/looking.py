"""How one look changes what a rollout knows, before anything is decided: pure."""

from collections.abc import Mapping
from dataclasses import replace as replaced

from msgspec.structs import replace

from deployments.rollout.analysis import Verdict, combine, judge
from deployments.rollout.evidence import begin, observe
from deployments.rollout.measurements import (
    Assessment,
    Measurement,
    assess,
)
from deployments.rollout.measurements import (
    Phase as RulePhase,
)
from deployments.rollout.plan import StepKind, resolve_signals
from deployments.rollout.seen import Seen
from deployments.rollout.signals import Counts, Kind
from deployments.rollout.state import Health, Phase, Rollout

TICK_S = 0.5
"""Time between two looks at a rollout that is on its way, seconds."""

MOST_ELAPSED_S = 10 * TICK_S
"""Longest time that may seem to have passed between two looks. A clock that jumps, and hours in
which no controller ran, change no duration by more."""

MOST_KEPT = 200
"""Successful measurements of a rule without end that are kept."""


def look(rollout: Rollout, seen: Seen) -> Rollout:
    """Take in how much time has passed, how the version fares, and what was counted."""
    elapsed_s = min(max(0.0, seen.now_s - rollout.clock_s), MOST_ELAPSED_S)
    rollout = _timed(rollout, elapsed_s, seen.now_s)
    if rollout.phase.is_final:
        return rollout
    rollout = _measured(_health(rollout, seen, elapsed_s), seen)
    return _observed(rollout, seen) if rollout.begun else rollout


def start_evidence(rollout: Rollout, seen: Seen) -> tuple[Rollout, tuple[str, ...]]:
    """Fix the signals, and begin with nothing: what was counted before is not evidence.

    Returns:
        The rollout, and why some signals are left out.
    """
    stable = seen.count(rollout.stable)
    signals, left_out = resolve_signals(rollout.plan.signals, stable, seen.edges)
    evidence = {
        version: begin(signals, canary=seen.count(version), stable=stable)
        for version in rollout.versions
    }
    baseline = {each: seen.count(each) for each in (*rollout.versions, rollout.stable)}
    rollout = replace(
        rollout, signals=signals, evidence=evidence, baseline=baseline, tallies={}, begun=True
    )
    return _judged(rollout), left_out


def verdict(rollout: Rollout) -> tuple[Verdict, str]:
    """What everything that can be judged at present comes to.

    Only what can have numbers holds a step up: answers cannot differ where none are mirrored,
    nor be slow where none are given.
    """
    findings = [
        replaced(finding, reason=f"version {version}: {finding.reason}")
        if rollout.arms
        else finding
        for version, judgement in rollout.judgements.items()
        for finding in judgement.findings
        if finding.verdict is Verdict.FAILED or _can_have_numbers(rollout, finding.signal)
        if not is_dropped(rollout, version)
    ]
    if rollout.plan.signals and not rollout.signals and not rollout.plan.rules:
        return Verdict.INCONCLUSIVE, "no signal can be judged: each was left out"
    return combine([*findings, *assessments(rollout)])


def is_judged_anew(rollout: Rollout) -> bool:
    """Whether the judgements are those of the present weights, and not of the last ones."""
    return all(each.step == rollout.epoch for each in rollout.evidence.values())


def outcome(rollout: Rollout, version: str) -> tuple[str, str]:
    """What became of a version, and why: of one that could have been promoted, how it ended.

    What promotes nothing compares, and each version has a verdict of its own.
    """
    judgement = rollout.judgements.get(version)
    if rollout.plan.promotes or rollout.phase is Phase.ABORTED or judgement is None:
        return rollout.phase.value, rollout.reason
    return judgement.verdict.value, judgement.reason


def failing(rollout: Rollout, version: str) -> str | None:
    """Why a version has failed its judgement; None while it has not."""
    judgement = rollout.judgements.get(version)
    if judgement is None or judgement.verdict is not Verdict.FAILED:
        return None
    return judgement.reason


def assessments(rollout: Rollout) -> tuple[Assessment, ...]:
    """What the threshold rules come to."""
    return tuple(
        assess(plan.rule, rollout.measurements.get(plan.name, ())) for plan in rollout.plan.rules
    )


def _timed(rollout: Rollout, elapsed_s: float, now_s: float) -> Rollout:
    kept_s, in_step_s, stalled_s = rollout.kept_s, rollout.in_step_s, rollout.stalled_s
    if rollout.phase is Phase.SUCCESSFUL:
        kept_s += elapsed_s
    if rollout.phase in {Phase.PENDING, Phase.PROGRESSING}:
        in_step_s += elapsed_s
        step = rollout.current
        is_pause = rollout.begun and step is not None and step.kind is StepKind.PAUSE
        stalled_s += 0.0 if is_pause else elapsed_s
    return replace(rollout, clock_s=now_s, kept_s=kept_s, in_step_s=in_step_s, stalled_s=stalled_s)


def _health(rollout: Rollout, seen: Seen, elapsed_s: float) -> Rollout:
    if not rollout.begun:
        return rollout
    health = {
        version: _fared(rollout.health_of(version), elapsed_s, down=seen.version(version).down)
        for version in rollout.versions
    }
    return replace(rollout, health=health)


def _fared(before: Health, elapsed_s: float, *, down: bool) -> Health:
    if not down:
        return replace(before, is_down=False, down_s=0.0)
    if before.is_down:
        return replace(before, down_s=before.down_s + elapsed_s)
    return Health(is_down=True, deaths=before.deaths + 1)


def _measured(rollout: Rollout, seen: Seen) -> Rollout:
    if not seen.measured:
        return rollout
    measurements = dict(rollout.measurements)
    for plan in rollout.plan.rules:
        new = seen.measured.get(plan.name, ())
        known = measurements.get(plan.name, ())
        if new:
            measurements[plan.name] = _kept((*known, *new), endless=plan.rule.wanted is None)
    return replace(rollout, measurements=measurements)


def _kept(measurements: tuple[Measurement, ...], *, endless: bool) -> tuple[Measurement, ...]:
    if not endless or len(measurements) <= MOST_KEPT:
        return measurements
    old, recent = measurements[:-MOST_KEPT], measurements[-MOST_KEPT:]
    return tuple(each for each in old if each.phase is not RulePhase.SUCCESSFUL) + recent


def _observed(rollout: Rollout, seen: Seen) -> Rollout:
    stable = seen.count(rollout.stable)
    evidence = {
        version: observe(
            known, rollout.signals, canary=seen.count(version), stable=stable, step=rollout.epoch
        )
        for version, known in rollout.evidence.items()
    }
    tallies = {
        version: _since(before, seen.count(version)) for version, before in rollout.baseline.items()
    }
    known = replace(rollout, evidence=evidence, tallies=tallies)
    return known if evidence == rollout.evidence else _judged(known)


def _since(before: Counts, now: Counts) -> Counts:
    """What was counted between, of what people look at."""
    return Counts(
        requests=now.requests - before.requests,
        errors=now.errors - before.errors,
        mirrored=now.mirrored - before.mirrored,
        differing=now.differing - before.differing,
        labels=now.labels - before.labels,
        mistakes=now.mistakes - before.mistakes,
    )


def _judged(rollout: Rollout) -> Rollout:
    plan = rollout.plan
    # Several arms share the risk of a false abort, as several signals do.
    alpha = plan.alpha / len(rollout.versions)
    judgements = {
        version: judge(known, rollout.signals, alpha=alpha, risk=plan.risk)
        for version, known in rollout.evidence.items()
    }
    return replace(rollout, judgements=judgements)


def _can_have_numbers(rollout: Rollout, signal: str) -> bool:
    kinds: Mapping[str, Kind] = {each.name: each.kind for each in rollout.signals}
    if kinds.get(signal) is Kind.DIFFERING:
        return rollout.mirror > 0
    return rollout.weight > 0 or bool(rollout.arms)


def is_dropped(rollout: Rollout, version: str) -> bool:
    """Whether a version is an arm that has lost its requests for good."""
    return any(arm.version == version and arm.weight == 0 for arm in rollout.arms)
