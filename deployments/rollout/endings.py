"""How a rollout ends, and for what reasons: pure."""

from msgspec.structs import replace

from deployments.rollout.analysis import Verdict
from deployments.rollout.looking import assessments, failing
from deployments.rollout.plan import StepKind
from deployments.rollout.seen import Seen
from deployments.rollout.state import CONTROLLER, Advanced, Phase, Rollout, changed

NOT_READY_S = 30.0
"""Longest time that a version may be without a replica before its rollout is aborted, seconds."""

MOST_DEATHS = 2
"""Losses of the last replica that are forgiven: a node may go, and once more by bad luck."""

WHOLE = 100


def abort(
    rollout: Rollout, reason: str, seen: Seen, *, judged: bool, actor: str = CONTROLLER
) -> Advanced:
    """Give all requests back to stable.

    Args:
        rollout: An active one.
        reason: Why.
        seen: When.
        judged: Whether it says something of the version.
        actor: Who did it.
    """
    return aborted(rollout, reason, seen.now_s, judged=judged, actor=actor)


def aborted(
    rollout: Rollout, reason: str, now_s: float, *, judged: bool, actor: str = CONTROLLER
) -> Advanced:
    """As `abort`, at a moment."""
    return changed(
        rollout, "aborted", actor, phase=Phase.ABORTED, weight=0, mirror=0, reason=reason,
        judged=judged, ended_at_s=now_s, paused_by="",
    )  # fmt: skip


def lost(rollout: Rollout, seen: Seen) -> Advanced | None:
    """End a rollout that has lost its subject; None while it has one.

    | what happened                                 | outcome                         |
    |-----------------------------------------------|---------------------------------|
    | the model is hosted no longer                 | aborted                         |
    | the model was deleted from the registry       | aborted                         |
    | somebody made the version champion            | successful, "promoted by hand"  |
    | somebody made another version champion        | aborted                         |
    | a version was deleted from the registry       | aborted                         |
    | `challenger` names another version            | aborted, that one comes next    |
    | `challenger` was taken away from the version  | aborted, may come again         |
    """
    if not seen.hosted:
        return abort(rollout, "the model is no longer hosted", seen, judged=True)
    if not seen.registered:
        return abort(rollout, "the model was deleted from the registry", seen, judged=True)
    moved = seen.champion not in {None, rollout.stable}
    if moved and seen.champion != rollout.version:
        return abort(rollout, f"champion was moved to {seen.champion}", seen, judged=True)
    if moved and rollout.phase is not Phase.PROMOTING:
        reason = "champion was moved to it by hand"
        return changed(
            rollout, "promoted", phase=Phase.SUCCESSFUL, weight=WHOLE, mirror=0, reason=reason,
            judged=True, ended_at_s=seen.now_s,
        )  # fmt: skip
    gone = [each for each in (*rollout.versions, rollout.stable) if each in seen.missing]
    if gone and not moved:
        return abort(rollout, f"version {gone[0]} was deleted", seen, judged=True)
    why = _unfollowed(rollout, seen)
    return abort(rollout, why, seen, judged=False) if why is not None else None


def _unfollowed(rollout: Rollout, seen: Seen) -> str | None:
    if not rollout.follows or rollout.phase is Phase.PROMOTING:
        return None
    if seen.challenger in {rollout.version, rollout.challenger}:
        return None
    if seen.challenger not in {None, rollout.stable}:
        why = f"superseded by version {seen.challenger}"
        again = ", which was judged before: start it by name to try it again"
        return why + again if seen.challenger_judged else why
    if rollout.challenger == rollout.version:
        return "the alias challenger was taken away"
    return None


def failure(rollout: Rollout, seen: Seen) -> str | None:
    """Why a rollout must be aborted now; None where nothing speaks for it."""
    # Of an A/B test that goes on, an arm that is not well is dropped, and the others stay.
    if not (rollout.arms and rollout.begun):
        for version in rollout.versions:
            why = unwell(rollout, version, seen)
            if why is not None:
                return why
    return _judged_worse(rollout) or _told_to_stop(rollout, seen)


def unwell(rollout: Rollout, version: str, seen: Seen) -> str | None:
    """Why a version cannot be tried any longer, whatever it answers; None while it can."""
    it, health = seen.version(version), rollout.health_of(version)
    last_words = it.reason or "its replicas died"
    if it.failed:
        return f"version {version} could not be loaded: {it.reason}"
    if health.deaths > MOST_DEATHS:
        return f"it died {health.deaths} times: {last_words}"
    if health.down_s >= NOT_READY_S:
        return f"it had no replica for {health.down_s:.0f} s: {last_words}"
    return None


def _judged_worse(rollout: Rollout) -> str | None:
    step = rollout.current
    is_analysis = step is not None and step.kind is StepKind.ANALYSIS
    if not rollout.begun or not (rollout.plan.background or is_analysis):
        return None
    # Of an A/B test, an arm that fails loses its requests and the others go on; a shadow
    # that differs is what its report is about.
    if rollout.plan.promotes:
        why = failing(rollout, rollout.version)
        if why is not None:
            return why
    for outcome in assessments(rollout):
        if outcome.verdict is Verdict.FAILED and not outcome.dry_run:
            return outcome.reason
    return None


def _told_to_stop(rollout: Rollout, seen: Seen) -> str | None:
    for hook in rollout.plan.hooks_of("rollback"):
        told = seen.told.get(hook.name)
        if told is not None and told.yes:
            return f"told to roll back: {told.reason}"
    kinds = ["pre-rollout"] if not rollout.begun else ["rollout"]
    for hook in rollout.plan.hooks_of(*kinds):
        told = seen.told.get(hook.name)
        if told is not None and told.answered and not told.yes:
            return told.reason
    return None


def undecided(rollout: Rollout, waiting: str, seen: Seen) -> Advanced:
    """Do what `on_deadline` says with a version that is neither good nor bad."""
    deadline_s = rollout.plan.progress_deadline_s
    reason = f"no progress within {deadline_s:g} s: {waiting}"
    # What never took requests cannot be given all of them.
    action = rollout.plan.on_deadline if rollout.begun else "abort"
    if action == "promote":
        # Past all steps, which is where those are asked who have to agree.
        return finish(replace(rollout, step=len(rollout.plan.steps)), seen, reason)
    if action == "hold":
        if rollout.reason.startswith(reason.partition(":")[0]):
            return Advanced(rollout)
        return changed(rollout, "held", reason=reason)
    return abort(rollout, reason, seen, judged=True)


def finish(rollout: Rollout, seen: Seen, reason: str, actor: str = CONTROLLER) -> Advanced:
    """Promote the version, or close with the report."""
    if not rollout.plan.promotes:
        return changed(
            rollout, "reported", actor, phase=Phase.SUCCESSFUL, weight=0, mirror=0, judged=True,
            step=len(rollout.plan.steps), ended_at_s=seen.now_s, reason=reason,
        )  # fmt: skip
    waiting = not_agreed(rollout, seen, "confirm-promotion")
    if waiting is not None:
        if _is_waiting(rollout):
            # It says why, which may be another reason at each call: the log has the first one.
            return Advanced(replace(rollout, reason=waiting))
        return changed(rollout, "waiting", reason=waiting)
    return promote(rollout, reason, actor)


def _is_waiting(rollout: Rollout) -> bool:
    hooks = rollout.plan.hooks_of("confirm-promotion")
    return any(f"webhook {hook.name!r}" in rollout.reason for hook in hooks)


def promote(rollout: Rollout, reason: str, actor: str) -> Advanced:
    """Give the version all requests; the alias follows."""
    return changed(
        rollout, "promoting", actor, phase=Phase.PROMOTING, weight=WHOLE, mirror=0, judged=True,
        reason=reason, paused_by="",
    )  # fmt: skip


def with_passed(rollout: Rollout, seen: Seen) -> Rollout:
    """Note which webhooks have said yes before the rollout began: it is not taken back."""
    kinds = ("confirm-rollout", "pre-rollout")
    said_yes = [
        hook.name
        for hook in rollout.plan.hooks_of(*kinds)
        if hook.name not in rollout.passed
        if (told := seen.told.get(hook.name)) is not None and told.yes
    ]
    return replace(rollout, passed=(*rollout.passed, *said_yes)) if said_yes else rollout


def not_agreed(rollout: Rollout, seen: Seen, kind: str) -> str | None:
    """Which webhook of a type has yet to say yes; None where all have."""
    for hook in rollout.plan.hooks_of(kind):
        told = seen.told.get(hook.name)
        if hook.name in rollout.passed:
            continue
        if told is None or not told.yes:
            return f"waiting for webhook {hook.name!r}" if told is None else told.reason
    return None
