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
    """Whether it could not be loaded since its rollout began."""

    replicas: int = 0
    """Running ones."""

    wanted: int = 1
    """Replicas at full size."""

    down: bool = False
    """Whether it has no replica that answers."""


UNKNOWN = VersionSeen(reason="not looked at yet")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a webhook said, or that it said nothing."""

    yes: bool
    answered: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a version made of the requests that were kept to check it."""

    asked: int
    bad: int
    """Those that failed, or were answered otherwise than expected."""

    words: str = ""
    """What is wrong with the first of these; or why there was nothing to ask."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said of one rollout outside the fleet."""

    missing: frozenset[tuple[str, str]] = frozenset()
    """Deleted versions of any model, by model and version."""

    told: Mapping[str, Answered] = field(default_factory=dict)
    """Last answers of its webhooks, by name."""

    measured: Mapping[str, tuple[Measurement, ...]] = field(default_factory=dict)
    """New measurements, by rule."""

    checked: Checked | None = None
    """What came of its present step's check; None while nothing has."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at one model."""

    now_s: float
    """Unix time; may jump."""

    champion: str | None
    challenger: str | None
    versions: Mapping[str, VersionSeen] = field(default_factory=dict)
    challenger_judged: bool = False
    """Whether that version was judged before, so that no rollout of it begins by itself."""

    counts: Mapping[str, Counts] = field(default_factory=dict)
    """Cumulative, by version."""

    hosted: bool = True
    registered: bool = True
    """Whether the registry has the model."""

    missing: frozenset[str] = frozenset()
    """Versions that the registry has no longer."""

    told: Mapping[str, Answered] = field(default_factory=dict)
    """Last answers of webhooks, by name."""

    checked: Checked | None = None
    """What came of the present step's check; None while nothing has."""

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
