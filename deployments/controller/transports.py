"""Which way a version's batches take, and why: pure.

Measured on two cores (DESIGN section 4): a copy in the gateway's process saves a lone client
a hop (3,300 requests per second instead of 2,400), a replica of its own takes more of many
(20,900 instead of 18,000), since then two processes share the work. A model that is slow or
crashes would take its gateway along, so `auto` keeps to small scikit-learn models there.
"""

from dataclasses import dataclass

from deployments.controller.facts import VersionFacts
from deployments.schema import IMPORT_COST, ModelSpec
from deployments.traffic.table import TransportKind

LIGHT_BYTES = 128 * 1024
"""Files of a model that `auto` takes into the gateway; a linear model with its pipeline has
a tenth of that, a forest of a hundred trees several times as much."""

KIB = 1024


@dataclass(frozen=True, slots=True)
class Choice:
    """A transport and the reason for it, as users read it."""

    kind: TransportKind
    reason: str


POOLED = Choice(TransportKind.DIRECT, "its pool's replicas hold it, whose models share connections")


def choose_transport(spec: ModelSpec, facts: VersionFacts, *, is_stable: bool) -> Choice:
    """Pick the way for one version.

    Args:
        spec: How its model is hosted.
        facts: What the registry says of the version.
        is_stable: Whether it is on the stable track; others never run in a gateway.
    """
    if spec.transport in {"handle", "direct"}:
        return Choice(TransportKind(spec.transport), "the model's `transport` setting")
    if not is_stable:
        return Choice(TransportKind.DIRECT, "a canary never runs in a gateway's process")
    obstacle = inline_obstacle(spec, facts)
    if obstacle is None and spec.transport == "auto":
        obstacle = _too_heavy(spec, facts)
    if obstacle is not None:
        return Choice(TransportKind.DIRECT, obstacle)
    if spec.transport == "inline":
        return Choice(TransportKind.INLINE, "the model's `transport` setting")
    size = _kib(facts.size_bytes or 0)
    return Choice(TransportKind.INLINE, f"a {facts.platform} model of {size} is light enough")


def inline_obstacle(spec: ModelSpec, facts: VersionFacts) -> str | None:
    """Say why a gateway cannot hold a copy of this version; None if it can."""
    if runtime_of(spec, facts) == "tensorflow":
        return IMPORT_COST
    return spec.inline_obstacle


def runtime_of(spec: ModelSpec, facts: VersionFacts) -> str:
    """What runs the version: the config's word, else the registry's."""
    return facts.platform if spec.runtime == "auto" else spec.runtime


def _too_heavy(spec: ModelSpec, facts: VersionFacts) -> str | None:
    if spec.num_replicas is not None or spec.autoscaling_config is not None:
        return "the model has a number of replicas of its own"
    runtime = runtime_of(spec, facts)
    if runtime != "sklearn":
        return f"the {runtime} runtime is too heavy for a gateway's process"
    if facts.size_bytes is None:
        return "the registry does not say how large the model is"
    if facts.size_bytes > LIGHT_BYTES:
        size, limit = _kib(facts.size_bytes), _kib(LIGHT_BYTES)
        return f"the model has {size}, more than the {limit} that a gateway's process takes"
    return None


def _kib(size_bytes: int) -> str:
    return f"{size_bytes / KIB:,.0f} KiB"
