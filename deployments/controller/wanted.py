"""Which versions a model's settings ask for, and what each is to do: pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deployments.controller.facts import RegistryView
from deployments.schema import ModelSpec, is_version
from deployments.traffic.table import ModelRoutes, Track


@dataclass(frozen=True, slots=True)
class Wanted:
    """The versions of one model that are to be hosted."""

    weights: Mapping[str, int] = field(default_factory=dict)
    """Nominal percent of requests by version: shadows first, stable last."""

    stable: str | None = None
    """The version that answers by default; None while there is none."""

    mirrors: Mapping[str, int] = field(default_factory=dict)
    """Percent of stable's requests that a shadow gets, too, by version."""

    def track(self, version: str) -> Track:
        """The role of one of them."""
        if version == self.stable:
            return Track.STABLE
        return Track.SHADOW if version in self.mirrors else Track.CANARY


def wanted_versions(
    model: str,
    spec: ModelSpec,
    registry: RegistryView,
    before: ModelRoutes | None,
    is_ready: Callable[[str], bool],
) -> Wanted:
    """Resolve traffic and mirrors of a model to versions.

    Args:
        model: Its name.
        spec: Its settings.
        registry: What the registry said last.
        before: Its routes in the table in force; None when it has none.
        is_ready: Whether a version could answer now.
    """
    if not registry.answered:
        # Until the registry has answered once, what served before is all that is known.
        return _as_before(before)

    weights: dict[str, int] = {}
    keys = [key for key in spec.traffic if key != spec.stable_key]
    for key in (*keys, spec.stable_key):
        version = resolve(registry, model, key)
        if version is not None:
            # A version under two keys is one route; it takes the later place.
            weight = weights.pop(version, 0)
            weights[version] = weight + spec.traffic[key]
    stable = resolve(registry, model, spec.stable_key)
    previous = before.stable if before else None
    if previous is not None and not (stable is not None and is_ready(stable)):
        # The next stable version is not there yet: the last one stays.
        weights[previous.version] = weights.pop(previous.version, 0)
        stable = previous.version

    mirrors: dict[str, int] = {}
    for key, percent in spec.mirror.items():
        version = resolve(registry, model, key)
        # One that answers clients is no shadow: nobody can disagree with itself.
        if version is not None and version not in weights:
            mirrors[version] = max(percent, mirrors.get(version, 0))
    return Wanted({**dict.fromkeys(mirrors, 0), **weights}, stable, mirrors)


def resolve(registry: RegistryView, model: str, key: str) -> str | None:
    """The registered version that an entry of `traffic` or `mirror` means; None for none."""
    version = key if is_version(key) else registry.aliases.get(model, {}).get(key)
    return version if version is not None and (model, version) in registry.versions else None


def _as_before(before: ModelRoutes | None) -> Wanted:
    if before is None:
        return Wanted()
    shadows = [route for route in before.routes if route.track is Track.SHADOW]
    return Wanted(
        {route.version: route.weight for route in before.routes},
        before.stable.version if before.stable else None,
        {route.version: route.mirror for route in shadows},
    )
