"""What is wrong with a set of models beyond their spelling: what the registry and Ray say.

`rayfleet validate` and the controller ask the same questions, so that plain `serve run`
and `serve deploy` answer with the same lines.
"""

from collections.abc import Collection, Container, Iterator, Mapping
from typing import Any

from ray.runtime_env import RuntimeEnv

from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.transports import inline_obstacle, runtime_of
from deployments.predictor.gpu_budget import budget_fault
from deployments.rollout.strategies import faults
from deployments.rolloutspec import RolloutSpec, idle_settings
from deployments.schema import CANARY_ALIAS, ModelSpec, TorchSpec, is_version
from deployments.userconfig import PoolSpec
from tuning.configfile import meant, unknown_key
from tuning.probes import without_password

TEXT = ("image_uri", "py_executable")
"""Keys of a runtime environment that Ray 2.60 takes with any value, to stumble over it later."""

MOST_NAMES = 20
"""Names that one line lists; a registry may hold thousands."""


def model_faults(
    specs: Mapping[str, ModelSpec],
    view: RegistryView,
    registry_uri: str,
    hosted: Container[str] = frozenset(),
) -> Iterator[str]:
    """Find what cannot be hosted, as `models.NAME...: what is wrong, what is allowed`.

    Args:
        specs: The models to host.
        view: What the registry says of them.
        registry_uri: The registry's address, to name it.
        hosted: Models that are served now. They may lose their versions and aliases at any
            time, which must not stop a controller that starts again.
    """
    shown = without_password(registry_uri)
    for model, spec in specs.items():
        path = f"models.{model}"
        fault = runtime_env_fault(spec.ray_actor_options.runtime_env)
        if fault is not None:
            yield f"{path}.ray_actor_options.{fault}"
        fault = budget_fault(spec)
        if fault is not None:
            yield f"{path}: {fault}"
        if model in hosted:
            continue
        if model not in view.aliases:
            yield (
                f"{path}: not in the model registry at {shown}"
                f"{meant(model, view.aliases)}, registered: {_listed(view.aliases)}"
            )
        else:
            yield from _version_faults(path, model, spec, view)


def pool_faults(pools: Mapping[str, PoolSpec]) -> Iterator[str]:
    """Find what is wrong with pools, as `pools.NAME...: what is wrong, what is allowed`."""
    for pool, spec in pools.items():
        fault = runtime_env_fault(spec.ray_actor_options.runtime_env)
        if fault is not None:
            yield f"pools.{pool}.ray_actor_options.{fault}"
        if isinstance(spec.settings.rollout, RolloutSpec):
            yield from _within(f"pools.{pool}.settings.rollout", spec.settings.rollout)


def rollout_faults(
    specs: Mapping[str, ModelSpec], templates: Mapping[str, RolloutSpec]
) -> Iterator[str]:
    """Find what is wrong with rollouts beyond their spelling, as `rollouts.NAME...: what`."""
    given = {f"rollouts.{name}": settings for name, settings in templates.items()}
    for model, hosting in specs.items():
        if isinstance(hosting.rollout, RolloutSpec):
            given[f"models.{model}.rollout"] = hosting.rollout
    for path, settings in given.items():
        yield from _within(path, settings)


def _within(path: str, rollout: RolloutSpec) -> Iterator[str]:
    yield from (f"{path}.{fault}" for fault in (*faults(rollout), *idle_settings(rollout)))


def runtime_env_fault(value: Any) -> str | None:
    """Say what Ray 2.60 would drop without a word, or refuse only once a replica starts."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return f"runtime_env: {value!r:.60}: should be a mapping of keys to values"
    known = {key for key in RuntimeEnv.known_fields if not key.startswith("_")}
    for key in value:
        if key not in known:
            return f"runtime_env: {unknown_key(key, allowed=known)}"
    fault = _text_fault(value) or _code_fault(value)
    if fault is not None:
        return fault
    try:
        RuntimeEnv(**value)
    except (TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0].removeprefix("runtime_env")
        return f"runtime_env: {reason}"
    return None


def _version_faults(path: str, model: str, spec: ModelSpec, view: RegistryView) -> Iterator[str]:
    aliases = view.aliases[model]
    for key in (*spec.traffic, *spec.mirror):
        place = f"{path}.{'traffic' if key in spec.traffic else 'mirror'}"
        version = key if is_version(key) else aliases.get(key)
        if version is None:
            # The canary comes and goes; the others are set by hand, or misspelt.
            if key != CANARY_ALIAS or key == spec.stable_key:
                yield f"{place}: {_unknown_alias(key, aliases)}"
            continue
        facts = view.versions.get((model, version))
        if facts is None:
            yield f"{place}: version {version!r} is not registered"
        elif spec.runtime not in {"auto", "pyfunc", facts.native}:
            allowed = ", ".join(["auto", *filter(None, [facts.native]), "pyfunc"])
            yield (
                f"{path}.runtime: {spec.runtime!r}: cannot run version {version},"
                f" allowed: {allowed}"
            )
        elif spec.transport == "inline" and (obstacle := inline_obstacle(spec, facts)) is not None:
            yield (
                f"{path}.transport: 'inline' cannot be for version {version}: {obstacle},"
                " allowed: 'handle', 'direct', 'auto'"
            )
        else:
            yield from _settings_faults(path, spec, version, facts)


def _settings_faults(
    path: str, spec: ModelSpec, version: str, facts: VersionFacts
) -> Iterator[str]:
    """Find settings that the runtime of a version would not heed."""
    runtime = runtime_of(spec, facts)
    if spec.torch != TorchSpec() and runtime != "torch":
        yield f"{path}.torch: version {version} runs in {runtime!r}, which reads none of it"
    if spec.gpu_memory_mib is not None and runtime == "sklearn":
        yield f"{path}.gpu_memory_mib: version {version} runs in 'sklearn', which takes no GPU"


def _unknown_alias(key: str, aliases: Mapping[str, str]) -> str:
    return f"no version has the alias {key!r}{meant(key, aliases)}, aliases: {_listed(aliases)}"


def _listed(names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:MOST_NAMES]) or "none"
    return f"{shown} and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else shown


def _text_fault(env: Mapping[str, Any]) -> str | None:
    for key in TEXT:
        if not isinstance(env.get(key, ""), str):
            return f"runtime_env.{key}: {env[key]!r:.60}: should be text"
    return None


def _code_fault(env: Mapping[str, Any]) -> str | None:
    code = [env.get("working_dir"), *_entries(env.get("py_modules"))]
    local = next((each for each in code if isinstance(each, str) and "://" not in each), None)
    if local is None:
        return None
    return (
        f"runtime_env: {local!r}: should be an address that every node can reach, such as"
        " s3://BUCKET/CODE.zip"
    )


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
