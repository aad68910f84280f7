"""The state machine of a rollout: what was seen at one look leads to its next state.

| phase       | what is seen                                        | next                    |
|-------------|-----------------------------------------------------|-------------------------|
| any active  | model or version gone, champion moved, superseded   | aborted                 |
| not final,  | cannot be loaded, keeps dying, judged worse, a rule | aborted                 |
| not decided | failed, a webhook says no                           |                         |
| pending     | ready, and whoever is asked agrees                  | progressing             |
| progressing | a check's answers are bad                           | aborted                 |
|             | the step is done                                    | next step, then         |
|             |                                                     | promoting or successful |
|             | a pause without end                                 | paused                  |
| paused      | approved, or resumed                                | progressing             |
| promoting   | the champion is the version                         | successful              |
| final       | anything                                            | unchanged               |

What is undecided at `progress_deadline_s` goes as `on_deadline` says.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from deployments.rollout.analysis import Verdict
from deployments.rollout.endings import (
    abort,
    failure,
    finish,
    lost,
    not_agreed,
    undecided,
    unwell,
    with_passed,
)
from deployments.rollout.looking import (
    failing,
    is_dropped,
    is_judged_anew,
    look,
    start_evidence,
    verdict,
)
from deployments.rollout.plan import Step, StepKind
from deployments.rollout.seen import Seen
from deployments.rollout.state import Advanced, Event, Phase, Rollout, changed

SURGE_S = 5.0
"""Between two gains of weight of a rolling version, seconds."""

WHOLE = 100


def advance(rollout: Rollout, seen: Seen) -> Advanced:
    """Return the rollout's next state; the input is never modified.

    Looking twice at the same moment changes nothing the second time.
    """
    now = look(rollout, seen)
    if now.phase.is_final:
        return Advanced(now)
    noted = _noted(rollout, now)
    after = _decide(now, seen)
    return Advanced(after.rollout, noted + after.events)


def _noted(before: Rollout, now: Rollout) -> tuple[Event, ...]:
    """Say that a version lost its last replica, or has one again: its requests move with it."""
    events = []
    for version in now.versions:
        is_down = now.health_of(version).is_down
        if is_down == before.health_of(version).is_down or is_dropped(now, version):
            continue
        kind, what = "back", f"version {version} has a replica again, and its requests"
        if is_down:
            kind = "lost"
            what = f"version {version} lost its last replica: stable has its requests meanwhile"
        events.append(Event(kind, str(before), str(now), what))
    return tuple(events)


def _decide(now: Rollout, seen: Seen) -> Advanced:
    ended = lost(now, seen)
    if ended is not None:
        return ended
    if now.phase is Phase.PROMOTING:
        return _promoted(now, seen)
    why = failure(now, seen)
    if why is not None:
        return abort(now, why, seen, judged=True)
    dropped = _without_failed_arms(now, seen)
    if now.paused_by:
        return dropped
    return _then(dropped, seen) if now.begun else _begin(dropped.rollout, seen)


def _begin(rollout: Rollout, seen: Seen) -> Advanced:
    """Start once the version is there and everybody agrees."""
    rollout = with_passed(rollout, seen)
    waiting = _not_ready(rollout, seen) or not_agreed(rollout, seen, "pre-rollout")
    confirmed = not_agreed(rollout, seen, "confirm-rollout")
    if confirmed is not None:
        # People take their time, and the version can load meanwhile.
        return Advanced(replace(rollout, reason=confirmed, stalled_s=0.0))
    if waiting is None:
        begun, left_out = start_evidence(rollout, seen)
        reason = "; ".join(["ready", *left_out])
        started = changed(
            begun, "started", phase=Phase.PROGRESSING, reason=reason, in_step_s=0.0, stalled_s=0.0
        )
        return _then(started, seen)
    if rollout.stalled_s >= rollout.plan.progress_deadline_s:
        return undecided(rollout, waiting, seen)
    if waiting == rollout.reason:
        return Advanced(rollout)
    return Advanced(replace(rollout, reason=waiting))


def _not_ready(rollout: Rollout, seen: Seen) -> str | None:
    for version in rollout.versions:
        it = seen.version(version)
        if not it.ready:
            return f"version {version} is not ready: {it.reason}"
        if rollout.plan.full_size and it.replicas < it.wanted:
            return f"version {version} has {it.replicas} of {it.wanted} replicas"
    return None


def _without_failed_arms(rollout: Rollout, seen: Seen) -> Advanced:
    """Take the requests from arms that are worse than allowed, or away; the others go on."""
    if not rollout.begun:
        return Advanced(rollout)
    failed = {
        arm.version: why
        for arm in rollout.arms
        if arm.weight and (why := _failed_arm(rollout, arm.version, seen)) is not None
    }
    if not failed:
        return Advanced(rollout)
    arms = tuple(replace(arm, weight=0) if arm.version in failed else arm for arm in rollout.arms)
    return changed(rollout, "dropped", arms=arms, reason="; ".join(failed.values()))


def _failed_arm(rollout: Rollout, version: str, seen: Seen) -> str | None:
    why = unwell(rollout, version, seen)
    if why is not None:
        return f"version {version} is dropped: {why}"
    worse = failing(rollout, version) if rollout.plan.background else None
    return f"version {version} is worse than allowed: {worse}" if worse is not None else None


def _walk(rollout: Rollout, seen: Seen) -> Advanced:
    """Carry out the present step, and those after it, up to one that waits."""
    step = rollout.current
    if step is None:
        reason = "all steps are passed" if rollout.plan.steps else rollout.why or rollout.reason
        return finish(rollout, seen, reason)
    return STEPS[step.kind](rollout, step, seen)


def _then(advanced: Advanced, seen: Seen) -> Advanced:
    """Go on where something was just done."""
    after = _walk(advanced.rollout, seen)
    return Advanced(after.rollout, advanced.events + after.events)


def _next(rollout: Rollout, seen: Seen, reason: str, **changes: Any) -> Advanced:
    following = rollout.step + 1
    passed = changed(
        rollout, "step", phase=Phase.PROGRESSING, step=following, in_step_s=0.0, stalled_s=0.0,
        approved=False, reason=reason, **changes,
    )  # fmt: skip
    return _then(passed, seen)


def _set_weight(rollout: Rollout, step: Step, seen: Seen) -> Advanced:
    weight = round(step.value or 0)
    return _next(rollout, seen, rollout.reason, weight=weight, epoch=rollout.epoch + 1)


def _set_mirror(rollout: Rollout, step: Step, seen: Seen) -> Advanced:
    mirror = round(step.value or 0)
    return _next(rollout, seen, rollout.reason, mirror=mirror, epoch=rollout.epoch + 1)


def _pause(rollout: Rollout, step: Step, seen: Seen) -> Advanced:
    if step.value is not None:
        if rollout.in_step_s >= step.value:
            return _next(rollout, seen, f"paused for {step.value:g} s")
        return Advanced(rollout)
    if rollout.approved:
        return _next(rollout, seen, rollout.reason)
    if rollout.phase is Phase.PAUSED:
        return Advanced(rollout)
    return changed(rollout, "paused", phase=Phase.PAUSED, reason="waits until somebody approves")


def _analysis(rollout: Rollout, step: Step, seen: Seen) -> Advanced:
    if not is_judged_anew(rollout):
        return Advanced(rollout)  # at the next look
    outcome, reason = verdict(rollout)
    if outcome is Verdict.FAILED and not rollout.plan.promotes:
        return finish(rollout, seen, reason)  # with what it found
    asked = not_agreed(rollout, seen, "rollout")
    if outcome is Verdict.SUCCESSFUL and asked is None:
        if rollout.in_step_s >= (step.value or 0.0):
            return _next(rollout, seen, reason)
        return Advanced(rollout)
    reason = asked if outcome is Verdict.SUCCESSFUL and asked is not None else reason
    if rollout.stalled_s >= rollout.plan.progress_deadline_s:
        return undecided(rollout, reason, seen)
    return Advanced(replace(rollout, reason=reason))


def _check(rollout: Rollout, step: Step, seen: Seen) -> Advanced:
    """Wait until the kept requests are answered, and compare with what is allowed."""
    checked, allowed = seen.checked, step.value or 0.0
    if checked is None or not checked.asked:
        reason = f"cannot be checked: {checked.words}" if checked else "is being checked"
        if rollout.stalled_s >= rollout.plan.progress_deadline_s:
            return undecided(rollout, reason, seen)
        return Advanced(replace(rollout, reason=reason))
    reason = f"{checked.asked - checked.bad} of {checked.asked} kept requests are answered well"
    if checked.bad > allowed * checked.asked:
        reason += f", allowed {allowed:.1%} bad: {checked.words}"
        return abort(rollout, reason, seen, judged=True)
    return _next(rollout, seen, reason)


def _follow(rollout: Rollout, step: Step, seen: Seen) -> Advanced:
    """Follow the share of ready replicas: down at once, up by a surge at a time."""
    it = seen.version(rollout.version)
    ready = WHOLE * min(it.replicas, it.wanted) // max(1, it.wanted)
    surge = round(step.value or WHOLE)
    weight = min(ready, rollout.weight + surge)
    is_time = rollout.weight == 0 or rollout.in_step_s >= SURGE_S
    reason = f"{it.replicas} of {it.wanted} replicas are ready"
    if weight < rollout.weight:
        # It still has to get on within its deadline, which is not put off by this.
        return changed(
            rollout, "step", weight=weight, epoch=rollout.epoch + 1, in_step_s=0.0, reason=reason
        )
    if weight > rollout.weight and is_time:
        if weight == WHOLE:
            return _next(rollout, seen, reason, epoch=rollout.epoch + 1)
        return changed(
            rollout, "step", weight=weight, epoch=rollout.epoch + 1, in_step_s=0.0, stalled_s=0.0,
            reason=reason,
        )  # fmt: skip
    if rollout.stalled_s >= rollout.plan.progress_deadline_s:
        return undecided(rollout, reason, seen)
    return Advanced(rollout)


def _compare(rollout: Rollout, step: Step, seen: Seen) -> Advanced:
    """Wait for a verdict on every version, or for the end of the time."""
    outcome, reason = verdict(rollout)
    dropped = [arm.version for arm in rollout.arms if is_dropped(rollout, arm.version)]
    if dropped and len(dropped) == len(rollout.arms):
        return finish(rollout, seen, "every version was dropped")
    if dropped:
        reason += f"; dropped: version {', '.join(dropped)}"
    if step.value is not None and rollout.in_step_s >= step.value:
        return finish(rollout, seen, f"after {step.value:g} s: {reason}")
    if step.value is None and outcome is not Verdict.INCONCLUSIVE:
        return finish(rollout, seen, reason)
    return Advanced(replace(rollout, reason=reason))


STEPS: dict[StepKind, Callable[[Rollout, Step, Seen], Advanced]] = {
    StepKind.SET_WEIGHT: _set_weight,
    StepKind.SET_MIRROR: _set_mirror,
    StepKind.PAUSE: _pause,
    StepKind.ANALYSIS: _analysis,
    StepKind.CHECK: _check,
    StepKind.FOLLOW_REPLICAS: _follow,
    StepKind.COMPARE: _compare,
}


def _promoted(rollout: Rollout, seen: Seen) -> Advanced:
    if seen.champion != rollout.version:
        return Advanced(rollout)
    return changed(rollout, "promoted", phase=Phase.SUCCESSFUL, ended_at_s=seen.now_s)
