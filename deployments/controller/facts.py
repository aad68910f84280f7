"""What the registry says, as decisions need it: pure values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployments.protocols.tensors import Signature


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What the registry says about an immutable version."""

    platform: str
    """The runtime that answers for it unless the config names another."""

    signature: Signature

    native: str | None = None
    """The runtime of its own framework; None when only `pyfunc` can run it."""

    size_bytes: int | None = None
    """All files of the model; None when it was logged without."""


@dataclass(frozen=True, slots=True)
class RegistryView:
    """What the registry said last; empty until it answered once."""

    aliases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Version by alias, by registered model."""

    versions: Mapping[tuple[str, str], VersionFacts] = field(default_factory=dict)
    """Facts by (model, version), for the versions that traffic or mirror names."""

    answered: bool = False

    complete: bool = True
    """Whether the facts of all versions were read that are named; others are still on their way."""

    asked_at_s: float = math.inf
    """When it was asked, on this process's monotonic clock."""
