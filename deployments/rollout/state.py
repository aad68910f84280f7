"""A rollout: everything that the store keeps of it, and nothing else is kept anywhere."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from deployments.rollout.analysis import Judgement
from deployments.rollout.evidence import Evidence
from deployments.rollout.measurements import Measurement
from deployments.rollout.plan import Plan, Step, StepKind
from deployments.rollout.signals import Counts, Signal

CONTROLLER = "controller"
"""Who acts where no person does."""


class Phase(StrEnum):
    """How far a rollout is."""

    PENDING = "pending"
    """The version is not ready yet, or somebody who was asked has not agreed."""

    PROGRESSING = "progressing"
    PAUSED = "paused"

    PROMOTING = "promoting"
    """It was decided: the version has all requests, the alias follows."""

    SUCCESSFUL = "successful"
    ABORTED = "aborted"

    @property
    def is_final(self) -> bool:
        """Whether nothing more is decided."""
        return self in {Phase.SUCCESSFUL, Phase.ABORTED}


class Arm(msgspec.Struct, frozen=True):
    """A version that is compared with stable, beside others."""

    version: str
    weight: int
    """Percent of requests."""


class Health(msgspec.Struct, frozen=True):
    """How a version on trial has fared since its rollout began."""

    is_down: bool = False
    """Whether it has no replica."""

    down_s: float = 0.0
    """For how long it has had none, seconds."""

    deaths: int = 0
    """How often it lost its last one."""


WELL = Health()


class Rollout(msgspec.Struct, frozen=True, kw_only=True):
    """How one model moves from one version to another."""

    id: str
    model: str

    version: str
    """The new one; the first arm of an A/B test."""

    stable: str
    """The champion when it started."""

    plan: Plan
    actor: str
    started_at_s: float

    arms: tuple[Arm, ...] = ()
    """Of an A/B test; nothing for the others."""

    follows: bool = False
    """Whether the model's rollouts are started by the alias `challenger`."""

    challenger: str | None = None
    """What that alias named when this one started."""

    phase: Phase = Phase.PENDING
    step: int = 0
    """Index of the present step; as many as there are once all are passed."""

    weight: int = 0
    mirror: int = 0
    epoch: int = 0
    """Counts the changes of weight and mirror: the judge's steps."""

    begun: bool = False
    """Whether it was ready to take requests once."""

    paused_by: str = ""
    """Who paused it; empty while nobody has."""

    approved: bool = False
    passed: tuple[str, ...] = ()
    """Webhooks that were asked, and agreed."""

    clock_s: float = 0.0
    """Unix time of the last look."""

    in_step_s: float = 0.0
    stalled_s: float = 0.0
    """How long it has waited for a version to load, or for a verdict."""

    health: Mapping[str, Health] = {}
    """By version on trial."""

    kept_s: float = 0.0
    """How long the old version has been kept since the promotion."""

    signals: tuple[Signal, ...] = ()
    evidence: Mapping[str, Evidence] = {}
    """By version, against stable."""

    judgements: Mapping[str, Judgement] = {}
    """What the evidence comes to."""

    measurements: Mapping[str, tuple[Measurement, ...]] = {}
    """By rule."""

    baseline: Mapping[str, Counts] = {}
    """What each version had done before."""

    tallies: Mapping[str, Counts] = {}
    """What each has done since, up to the end."""

    why: str = ""
    """Why it was started."""

    reason: str = ""
    """Why it is where it is."""

    judged: bool = False
    """Whether the version is not tried again unless somebody says so."""

    ended_at_s: float | None = None
    done: tuple[str, ...] = ()
    """What of the aftermath was carried out."""

    @property
    def versions(self) -> tuple[str, ...]:
        """Those on trial."""
        return tuple(arm.version for arm in self.arms) or (self.version,)

    def health_of(self, version: str) -> Health:
        """How a version on trial has fared."""
        return self.health.get(version, WELL)

    @property
    def current(self) -> Step | None:
        """The present step; None once all are passed."""
        return self.plan.steps[self.step] if self.step < len(self.plan.steps) else None

    @property
    def waits_for_approval(self) -> bool:
        """Whether the present step is a pause without end."""
        step = self.current
        return (
            self.begun
            and not self.phase.is_final
            and step is not None
            and step.kind is StepKind.PAUSE
            and step.value is None
            and not self.approved
        )

    def __str__(self) -> str:
        text = f"{self.phase}, {self.weight} %"
        if self.mirror:
            text += f", {self.mirror} % mirrored"
        if self.current is not None and not self.phase.is_final:
            text += f", step {self.step + 1} of {len(self.plan.steps)}: {self.current}"
        return text


class Event(msgspec.Struct, frozen=True):
    """Something that happened to a rollout."""

    kind: str
    before: str
    after: str
    reason: str
    actor: str = CONTROLLER
    numbers: Mapping[str, Any] = {}
    """Both sides of what was compared, by version."""


class Advanced(msgspec.Struct, frozen=True):
    """A rollout's next state and what led to it."""

    rollout: Rollout
    events: tuple[Event, ...] = ()


def encode_rollout(rollout: Rollout) -> bytes:
    """Write a rollout as JSON."""
    return msgspec.json.encode(rollout)


def decode_rollout(body: bytes) -> Rollout:
    """Read a rollout.

    Raises:
        msgspec.DecodeError: The bytes are none that this release understands.
    """
    return msgspec.json.decode(body, type=Rollout)


def changed(before: Rollout, kind: str, actor: str = CONTROLLER, **changes: Any) -> Advanced:
    """Change a rollout, and say so.

    Args:
        before: Not modified.
        kind: Of the event.
        actor: Who did it.
        changes: Fields of the rollout; `reason` is the event's, too.
    """
    after = msgspec.structs.replace(before, **changes)
    event = Event(kind, str(before), str(after), after.reason, actor, numbers(after))
    return Advanced(after, (event,))


def numbers(rollout: Rollout) -> dict[str, Any]:
    """Both sides of every comparison, by version and signal."""
    return {
        version: {finding.signal: msgspec.to_builtins(finding) for finding in judgement.findings}
        for version, judgement in rollout.judgements.items()
    }
