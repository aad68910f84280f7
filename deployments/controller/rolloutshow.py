"""Rollouts as the control API shows them: pure."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from deployments.controller.rolloutviews import (
    EventView,
    FindingView,
    RolloutView,
    RuleView,
    SideView,
)
from deployments.controller.shares import ARMS, shares_of
from deployments.rollout.aftermath import kept_by
from deployments.rollout.looking import assessments, verdict
from deployments.rollout.plan import StepKind
from deployments.rollout.signals import Counts
from deployments.rollout.state import Phase, Rollout
from deployments.rollout.strategies import SHADOW
from deployments.store.rollouts import EventRow
from deployments.traffic.table import ModelRoutes, RouteState, Track

AWAY = "it has lost its last replica, and stable answers for it"

TIMED = {StepKind.PAUSE, StepKind.COMPARE}


def rollout_view(rollout: Rollout, routes: ModelRoutes | None) -> RolloutView:
    """Show one.

    Args:
        rollout: Which.
        routes: Its model in the routing table; None if it is not hosted.
    """
    kept = kept_by(rollout)
    left_s = rollout.plan.keep_previous_s - rollout.kept_s
    return RolloutView(
        id=rollout.id,
        model=rollout.model,
        version=rollout.version,
        arms=[arm.version for arm in rollout.arms],
        stable=rollout.stable,
        strategy=rollout.plan.strategy,
        phase=rollout.phase.value,
        verdict=_verdict(rollout),
        reason=_reason(rollout),
        actor=rollout.actor,
        step=rollout.step,
        steps=[str(step) for step in rollout.plan.steps],
        weight=_weight(rollout),
        mirror=rollout.mirror,
        step_left_s=_step_left_s(rollout),
        deadline_left_s=_deadline_left_s(rollout),
        started_at_s=rollout.started_at_s,
        ended_at_s=rollout.ended_at_s,
        previous=kept,
        keep_previous_left_s=left_s if kept is not None else None,
        findings=list(_findings(rollout)),
        rules=[
            RuleView(
                name=each.rule, phase=each.phase.value, reason=each.reason, dry_run=each.dry_run
            )
            for each in assessments(rollout)
        ],
        sides=list(_sides(rollout, routes)),
    )


def event_view(row: EventRow) -> EventView:
    """Show one entry of a log."""
    return EventView(
        at_s=row.at_s,
        actor=row.actor,
        kind=row.kind,
        before=row.before,
        after=row.after,
        reason=row.reason,
        numbers=msgspec.json.decode(row.numbers),
    )


def _weight(rollout: Rollout) -> int:
    if not rollout.arms or not rollout.begun or rollout.phase.is_final:
        return rollout.weight
    return sum(arm.weight for arm in rollout.arms)


def _verdict(rollout: Rollout) -> Literal["successful", "failed", "inconclusive"] | None:
    """The judge's at present, or at the end of what is only judged."""
    if not rollout.judgements:
        return None
    if not rollout.phase.is_final:
        return verdict(rollout)[0].value
    if rollout.arms or rollout.plan.promotes or rollout.phase is Phase.ABORTED:
        return None
    return rollout.judgements[rollout.version].verdict.value


def _reason(rollout: Rollout) -> str:
    # Whoever is asked to approve should know.
    is_away = any(each.is_down for each in rollout.health.values()) and not rollout.phase.is_final
    return f"{AWAY}; {rollout.reason}" if is_away else rollout.reason


def _step_left_s(rollout: Rollout) -> float | None:
    step = rollout.current
    timed = rollout.phase is Phase.PROGRESSING and step is not None and step.kind in TIMED
    if not timed or step is None or step.value is None:
        return None
    return max(0.0, step.value - rollout.in_step_s)


def _deadline_left_s(rollout: Rollout) -> float | None:
    if rollout.phase is Phase.PENDING and not rollout.stalled_s:
        return None  # whoever was asked to confirm may take their time
    step = rollout.current
    waits = step is not None and step.kind in {
        StepKind.ANALYSIS,
        StepKind.CHECK,
        StepKind.FOLLOW_REPLICAS,
    }
    if rollout.phase is Phase.PENDING or (rollout.phase is Phase.PROGRESSING and waits):
        return max(0.0, rollout.plan.progress_deadline_s - rollout.stalled_s)
    return None


def _findings(rollout: Rollout) -> Iterator[FindingView]:
    for version, judgement in rollout.judgements.items():
        for finding in judgement.findings:
            named = f"{version}: {finding.signal}" if rollout.arms else finding.signal
            yield FindingView(
                signal=named,
                verdict=finding.verdict.value,
                reason=finding.reason,
                dry_run=finding.dry_run,
                canary=finding.canary,
                n_canary=finding.n_canary,
                stable=finding.stable,
                n_stable=finding.n_stable,
                low=finding.low,
                high=finding.high,
                allowed=finding.allowed,
            )


def _sides(rollout: Rollout, routes: ModelRoutes | None) -> Iterator[SideView]:
    # An arm stays one after the test.
    tracks = {arm.version: ARMS[index] for index, arm in enumerate(rollout.arms)}
    tracks |= {share.version: share.track for share in shares_of(rollout)}
    for version in (rollout.stable, *rollout.versions):
        route = routes.route(version) if routes is not None else None
        tally = rollout.tallies.get(version, Counts())
        track = tracks.get(version)
        if track is None:
            track = route.track if route is not None else _role(rollout, version)
        yield SideView(
            version=version,
            track=track.value,
            weight=route.weight if route is not None else 0,
            state=(route.state if route is not None else RouteState.UNAVAILABLE).value,
            requests=tally.requests,
            errors=tally.errors,
            mirrored=tally.mirrored,
            differing=tally.differing,
            labels=tally.labels,
            mistakes=tally.mistakes,
        )


def _role(rollout: Rollout, version: str) -> Track:
    """What a version was, once it is hosted no longer."""
    if version != rollout.stable:
        return Track.SHADOW if rollout.plan.strategy == SHADOW else Track.CANARY
    promoted = rollout.phase is Phase.SUCCESSFUL and rollout.plan.promotes
    return Track.PREVIOUS if promoted else Track.STABLE
