"""What a rollout asks of the world outside the fleet: pure.

Everything may be done twice: what is due follows from the stored state, and is due until the
state says that it was done.
"""

from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from deployments.rollout.measurements import is_due
from deployments.rollout.plan import Hook, RulePlan, Step, StepKind
from deployments.rollout.state import Phase, Rollout

ASKED = ("rollout", "rollback")


class Task(StrEnum):
    """What is to be done in the registry."""

    PROMOTE = "promote"
    """Move the alias `champion` to the version."""

    CLEAR = "clear"
    """Take the alias `challenger` away from it."""

    TAG = "tag"
    """Write onto the version what became of it."""

    TELL = "tell"
    """Call a webhook that is told of the end."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing to do."""

    task: Task
    hook: Hook | None = None

    @property
    def key(self) -> str:
        """Names it among what was done."""
        return self.task.value if self.hook is None else f"{self.task}:{self.hook.name}"


def due(rollout: Rollout) -> tuple[Effect, ...]:
    """What is to be done now."""
    if rollout.phase is Phase.PROMOTING:
        return (Effect(Task.PROMOTE),)
    if not rollout.phase.is_final:
        return ()
    # What was superseded, or lost its alias, says nothing against the version: if `challenger`
    # names it again by now, somebody wants it tried again.
    effects = [Effect(Task.CLEAR)] if rollout.judged else []
    effects.append(Effect(Task.TAG))
    effects += [Effect(Task.TELL, hook) for hook in rollout.plan.hooks_of("post-rollout")]
    return tuple(effect for effect in effects if effect.key not in rollout.done)


def with_done(rollout: Rollout, key: str) -> Rollout:
    """Note that something was done."""
    return rollout if key in rollout.done else replace(rollout, done=(*rollout.done, key))


def kept_by(rollout: Rollout) -> str | None:
    """The version that an ended rollout still keeps warm; None for none."""
    promoted = rollout.phase is Phase.SUCCESSFUL and rollout.plan.promotes
    if promoted and rollout.kept_s < rollout.plan.keep_previous_s:
        return rollout.stable
    return None


def is_settled(rollout: Rollout) -> bool:
    """Whether nothing is left to do."""
    return rollout.phase.is_final and not due(rollout) and kept_by(rollout) is None


def asked(rollout: Rollout) -> tuple[Hook, ...]:
    """Webhooks whose answers decide something at present."""
    if rollout.phase.is_final or rollout.phase is Phase.PROMOTING:
        return ()
    plan, step = rollout.plan, rollout.current
    if rollout.paused_by:
        return plan.hooks_of("rollback")  # whoever has paused it wants to be saved, too
    if not rollout.begun:
        # Who begins asks for leave first, and takes a yes for an answer.
        for kind in ("confirm-rollout", "pre-rollout"):
            left = tuple(each for each in plan.hooks_of(kind) if each.name not in rollout.passed)
            if left:
                return left + plan.hooks_of("rollback")
        return plan.hooks_of("rollback")
    hooks = plan.hooks_of("rollback")
    if step is None:
        return hooks + plan.hooks_of("confirm-promotion")
    return hooks + plan.hooks_of("rollout") if step.kind is StepKind.ANALYSIS else hooks


def checkable(rollout: Rollout) -> Step | None:
    """The present step if it is a check."""
    step = rollout.current
    if not rollout.begun or rollout.phase is not Phase.PROGRESSING or rollout.paused_by:
        return None
    return step if step is not None and step.kind is StepKind.CHECK else None


def measurable(rollout: Rollout, now_s: float) -> tuple[RulePlan, ...]:
    """Threshold rules whose number is due."""
    if not rollout.begun or rollout.phase.is_final or rollout.phase is Phase.PROMOTING:
        return ()
    return tuple(
        plan
        for plan in rollout.plan.rules
        if is_due(plan.rule, rollout.measurements.get(plan.name, ()), now_s)
    )
