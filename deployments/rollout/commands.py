"""What people ask of rollouts: start, pause, resume, approve, promote, abort. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from deployments.rollout.endings import aborted, promote
from deployments.rollout.plan import Plan
from deployments.rollout.state import Advanced, Arm, Event, Phase, Rollout, changed
from deployments.rollout.strategies import AB

MOST_ARMS = 8


class Action(StrEnum):
    """What may be asked of an active rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    APPROVE = "approve"
    PROMOTE = "promote"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class Request:
    """A rollout that somebody asks for."""

    model: str

    versions: tuple[Arm, ...]
    """The new one; or the arms of an A/B test."""

    stable: str
    """The champion."""

    plan: Plan
    actor: str
    reason: str

    follows: bool
    """Whether the alias `challenger` starts rollouts of this model."""

    challenger: str | None
    """What that alias names now."""


def start(request: Request, identity: str, now_s: float) -> Advanced:
    """Begin a rollout.

    Args:
        request: What was asked for.
        identity: Of the rollout; nobody else's.
        now_s: Unix time.
    """
    rollout = Rollout(
        id=identity,
        model=request.model,
        version=request.versions[0].version,
        stable=request.stable,
        plan=request.plan,
        actor=request.actor,
        started_at_s=now_s,
        arms=request.versions if request.plan.strategy == AB else (),
        follows=request.follows,
        challenger=request.challenger,
        clock_s=now_s,
        why=request.reason,
        reason=request.reason,
    )
    shown = ", ".join(arm.version for arm in request.versions)
    before = f"version {request.stable}"
    event = Event("created", before, f"version {shown}", request.reason, request.actor)
    return Advanced(rollout, (event,))


def equal_arms(versions: Sequence[str]) -> tuple[Arm, ...]:
    """Arms that have as many requests as stable, which keeps what does not divide."""
    return tuple(Arm(version, 100 // (len(versions) + 1)) for version in versions)


def command(
    rollout: Rollout, action: Action, by: str, now_s: float, reason: str = ""
) -> Advanced | str:
    """Do what somebody asks.

    Args:
        rollout: Of whom.
        action: What.
        by: Who asks.
        now_s: Unix time.
        reason: Why, in their words.

    Returns:
        The rollout afterwards, or why it cannot be.
    """
    if rollout.phase.is_final:
        return f"its rollout is over: {rollout.phase}, {rollout.reason}"
    if rollout.phase is Phase.PROMOTING:
        return "it is being promoted already; roll it back when it is"
    said = f": {reason}" if reason else ""
    if action is Action.ABORT:
        return aborted(rollout, f"aborted by {by}{said}", now_s, judged=True, actor=by)
    return COMMANDS[action](rollout, by, f"{PAST[action]} by {by}{said}")


def _pause(rollout: Rollout, by: str, reason: str) -> Advanced | str:
    if rollout.paused_by:
        return f"it was paused already, by {rollout.paused_by}"
    return changed(rollout, "paused", by, phase=Phase.PAUSED, paused_by=by, reason=reason)


def _resume(rollout: Rollout, by: str, reason: str) -> Advanced | str:
    if not rollout.paused_by:
        hint = "; it waits to be approved" if rollout.waits_for_approval else ""
        return f"nobody has paused it{hint}"
    phase = Phase.PROGRESSING if rollout.begun else Phase.PENDING
    return changed(rollout, "resumed", by, phase=phase, paused_by="", reason=reason, stalled_s=0.0)


def _approve(rollout: Rollout, by: str, reason: str) -> Advanced | str:
    if not rollout.waits_for_approval:
        return "its present step waits for no approval"
    if rollout.paused_by:
        # Whoever paused it has yet to say `resume`, and had a reason.
        reason = f"{reason}; still {rollout.reason}"
    return changed(rollout, "approved", by, approved=True, reason=reason)


def _promote(rollout: Rollout, by: str, reason: str) -> Advanced | str:
    if rollout.arms:
        return "an A/B test promotes nothing: start a rollout of the version that won"
    if not rollout.begun:
        return f"its rollout has not begun yet: {rollout.reason}"
    return promote(rollout, reason, by)


COMMANDS: Mapping[Action, Callable[[Rollout, str, str], Advanced | str]] = {
    Action.PAUSE: _pause,
    Action.RESUME: _resume,
    Action.APPROVE: _approve,
    Action.PROMOTE: _promote,
}
PAST = {
    Action.PAUSE: "paused",
    Action.RESUME: "resumed",
    Action.APPROVE: "approved",
    Action.PROMOTE: "promoted",
}
