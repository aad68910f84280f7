"""Which versions a model's settings ask for, and what each is to do: pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deployments.controller.facts import RegistryView
from deployments.controller.shares import NOTHING_ASKED, Asked
from deployments.schema import ModelSpec, is_version
from deployments.traffic.split import lay_out
from deployments.traffic.table import ModelRoutes, Track


@dataclass(frozen=True, slots=True)
class Wanted:
    """The versions of one model that are to be hosted."""

    weights: Mapping[str, int] = field(default_factory=dict)
    """Nominal percent of requests by version: shadows first, stable last."""

    stable: str | None = None
    """The version that answers by default; None while there is none."""

    mirrors: Mapping[str, int] = field(default_factory=dict)
    """Percent of stable's requests that a version gets, too, unseen."""

    tracks: Mapping[str, Track] = field(default_factory=dict)
    """Roles that are not to be read off the above."""

    starts: Mapping[str, int] = field(default_factory=dict)
    """Percent at which the keys of each canary begin, ready or not."""

    def track(self, version: str) -> Track:
        """The role of one of them."""
        if version == self.stable:
            return Track.STABLE
        known = self.tracks.get(version)
        if known not in {None, Track.STABLE}:
            return known
        return Track.SHADOW if version in self.mirrors else Track.CANARY

    def start(self, version: str) -> int | None:
        """Where its keys begin; None for stable, which has what the others leave."""
        # Ranges that begin at 0 come first in the table, where the gateways put them anyway.
        return (self.starts.get(version) or None) if version != self.stable else None


def wanted_versions(
    model: str,
    spec: ModelSpec,
    registry: RegistryView,
    before: ModelRoutes | None,
    is_ready: Callable[[str], bool],
    asked: Asked = NOTHING_ASKED,
) -> Wanted:
    """Resolve traffic and mirrors of a model to versions.

    Args:
        model: Its name.
        spec: Its settings.
        registry: What the registry said last.
        before: Its routes in the table in force; None when it has none.
        is_ready: Whether a version could answer now.
        asked: What its rollouts ask for.
    """
    if not registry.answered:
        # Until the registry has answered once, what served before is all that is known.
        return _as_before(before)

    def is_known(version: str) -> bool:
        hosted = before is not None and before.route(version) is not None
        return hosted or (model, version) in registry.versions

    shares = [share for share in asked.shares if is_known(share.version)]
    # Without the one that answers by default there is nothing to try another one beside.
    if shares and shares[-1] is asked.shares[-1]:
        weights = {share.version: share.weight for share in shares}
        mirrors = {share.version: share.mirror for share in shares if share.mirror}
        stable: str | None = shares[-1].version
        starts = _starts({share.version: share.weight for share in asked.shares[:-1]})
    else:
        shares = []
        weights, stable = _by_spec(model, spec, registry)
        starts = _starts_by_spec(model, spec, registry)
        mirrors = {}
    previous = before.stable if before else None
    if previous is not None and not (stable is not None and is_ready(stable)):
        # The next stable version is not there yet: the last one stays.
        weights[previous.version] = weights.pop(previous.version, 0)
        stable = previous.version

    warm = [each for each in asked.kept if each not in weights and is_known(each)]
    tracks = {share.version: share.track for share in shares} | dict.fromkeys(warm, Track.PREVIOUS)
    for key, percent in spec.mirror.items():
        version = resolve(registry, model, key)
        # One that answers clients is no shadow: nobody can disagree with itself.
        if version is not None and version not in weights:
            mirrors[version] = max(percent, mirrors.get(version, 0))
    first = [version for version in (*warm, *mirrors) if version not in weights]
    return Wanted({**dict.fromkeys(first, 0), **weights}, stable, mirrors, tracks, starts)


def _by_spec(
    model: str, spec: ModelSpec, registry: RegistryView
) -> tuple[dict[str, int], str | None]:
    weights: dict[str, int] = {}
    keys = [key for key in spec.traffic if key != spec.stable_key]
    for key in (*keys, spec.stable_key):
        version = resolve(registry, model, key)
        if version is not None:
            # A version under two keys is one route; it takes the later place.
            weight = weights.pop(version, 0)
            weights[version] = weight + spec.traffic[key]
    return weights, resolve(registry, model, spec.stable_key)


def _starts_by_spec(model: str, spec: ModelSpec, registry: RegistryView) -> dict[str, int]:
    percents = {key: each for key, each in spec.traffic.items() if key != spec.stable_key}
    # By entry, so that an alias that names another version, or none, moves nobody else's keys.
    entries: dict[str, str] = {}
    for key in percents:
        version = resolve(registry, model, key)
        if version is None:
            continue
        if version in entries:
            percents[key] += percents[entries[version]]
            percents[entries[version]] = 0
        entries[version] = key
    starts = _starts(percents)
    return {version: starts[key] for version, key in entries.items() if key in starts}


def _starts(weights: Mapping[str, int]) -> dict[str, int]:
    laid_out = zip(weights.items(), lay_out(list(weights.values())), strict=True)
    return {name: start for (name, weight), start in laid_out if weight}


def resolve(registry: RegistryView, model: str, key: str) -> str | None:
    """The registered version that an entry of `traffic` or `mirror` means; None for none."""
    version = key if is_version(key) else registry.aliases.get(model, {}).get(key)
    return version if version is not None and (model, version) in registry.versions else None


def _as_before(before: ModelRoutes | None) -> Wanted:
    if before is None:
        return Wanted()
    return Wanted(
        {route.version: route.weight for route in before.routes},
        before.stable.version if before.stable else None,
        {route.version: route.mirror for route in before.routes if route.mirror},
        {route.version: route.track for route in before.routes},
        {route.version: route.start for route in before.routes if route.start is not None},
    )
