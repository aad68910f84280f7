"""What a rollout's next step rests on: everything that was observed at one look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.rollout.measurements import Measurement
from deployments.rollout.signals import Counts

NOTHING = Counts()


@dataclass(frozen=True, slots=True)
class VersionSeen:
    """How one version fares on this cluster."""

    ready: bool = False
    """Whether it may have requests."""

    reason: str = ""
    """Why it is not ready, or not well."""

    failed: bool = False
    """Whether it could not be loaded."""

    replicas: int = 0
    """Running ones."""

    wanted: int = 1
    """Replicas at full size."""

    down: bool = False
    """Whether it has lost its last replica, or Serve calls it unhealthy."""


UNKNOWN = VersionSeen(reason="not looked at yet")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a webhook said, or that it said nothing."""

    yes: bool
    answered: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at one model."""

    now_s: float
    """Unix time; may jump."""

    champion: str | None
    challenger: str | None
    versions: Mapping[str, VersionSeen] = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)
    """Cumulative, by version."""

    hosted: bool = True
    missing: frozenset[str] = frozenset()
    """Versions that the registry has no longer."""

    told: Mapping[str, Answered] = field(default_factory=dict)
    """Last answers of webhooks, by name."""

    measured: Mapping[str, tuple[Measurement, ...]] = field(default_factory=dict)
    """New measurements, by rule."""

    edges: Sequence[float] = ()
    """Of the latency histogram, seconds."""

    def version(self, version: str) -> VersionSeen:
        """How a version fares."""
        return self.versions.get(version, UNKNOWN)

    def count(self, version: str) -> Counts:
        """What a version has done."""
        return self.counts.get(version, NOTHING)
