"""Refuse a config before any work starts: one line a fault, with file, path, value and remedy.

Serve drops keys that it does not know without a word, so they are looked for here, in
Serve's own schemas as well as in ours.
"""

import errno
import math
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ray.serve.config import AutoscalingConfig
from ray.serve.schema import ServeDeploySchema
from sqlalchemy.exc import SQLAlchemyError

from deployments.controller.decide import RegistryView
from deployments.controller.faults import model_faults, runtime_env_fault
from deployments.controller.registry import Registry
from deployments.errors import ConfigError
from deployments.schema import FleetSpec, ModelsSpec, parse_application_name
from deployments.settings import resolve_settings
from deployments.store.address import store_url_fault
from tuning import errors as tuning_errors
from tuning.configfile import AnySpec, fault_lines, leaves, read_yaml, unknown_key
from tuning.home import REGISTRY_VARIABLE, STORE_VARIABLE, TRACKING_VARIABLE
from tuning.probes import is_missing_file, require_database, without_password
from tuning.trainers.factory import in_one_line

IMPORT_PATH = "deployments.fleet:build"
DEPLOYMENTS = ("Controller", "Gateway")

FREE_FORM = {"args", "user_config", "runtime_env"}
"""Keys of Serve's schemas whose values are not Serve's to define."""


def validate_fleet(path: Path, *, port_is_free: bool = True) -> ModelsSpec:
    """Check a fleet config against the schemas, the registry and this machine.

    Args:
        path: A native Serve config file.
        port_is_free: Whether its HTTP port must be free; not so for a fleet that runs.

    Returns:
        The models that it hosts.

    Raises:
        ConfigError: One line for each fault.
    """
    try:
        raw = read_yaml(path)
    except tuning_errors.ConfigError as error:
        raise ConfigError(str(error)) from None
    _raise_any(_serve_faults(path, raw))
    _raise_any(address_faults(path, raw, port_is_free=port_is_free))
    place, application = _fleet_application(path, raw)
    models_place, user_config = _controller_config(f"{path}: {place}", application)
    args = application.get("args") or {}
    faults: list[str] = []
    spec = _loaded(FleetSpec, args, path, f"{place}.args", faults)
    models = _loaded(ModelsSpec, user_config, path, f"{place}.{models_place}", faults)
    if spec is None or models is None:
        raise ConfigError("\n".join(faults))
    _raise_any([f"{path}: {fault}" for fault in _store_faults(place, spec)])
    _raise_any(_registry_faults(f"{path}: {place}.{models_place}", spec, models))
    return models


def _loaded(
    spec: type[AnySpec], value: Any, path: Path, place: str, faults: list[str]
) -> AnySpec | None:
    """Read one part of a config, so that faults in one do not hide those in another."""
    try:
        return spec.load(value, where=str(path), path=place)
    except tuning_errors.ConfigError as error:
        faults.append(str(error))
        return None


def schema_faults(value: Any, schema: type[BaseModel], path: str = "") -> Iterator[str]:
    """Find what a lax pydantic schema takes in silence, as `path: what is allowed`.

    That is keys that it does not know, and booleans and infinities where numbers belong.
    """
    if not isinstance(value, Mapping):
        return
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    for key, item in value.items():
        if key not in fields:
            fault = unknown_key(key, allowed=fields)
            yield f"{path}: {fault}" if path else fault
        elif key not in FREE_FORM:
            inner = f"{path}.{key}" if path else str(key)
            types = leaves(fields[key].annotation)
            if {int, float} & types and _is_no_number(item, types):
                yield f"{inner}: {item!r}: should be a number"
            nested = _nested_schema(fields[key].annotation)
            if nested is None:
                continue
            items = item if isinstance(item, list) else [item]
            for index, entry in enumerate(items):
                place = f"{inner}[{index}]" if isinstance(item, list) else inner
                yield from schema_faults(entry, nested, place)


def _is_no_number(value: Any, types: set[Any]) -> bool:
    """Whether Serve's lax schema would take for a number what is none."""
    if isinstance(value, bool):
        return bool not in types
    return isinstance(value, float) and not math.isfinite(value)


def _nested_schema(annotation: Any) -> type[BaseModel] | None:
    """The pydantic schema inside an annotation such as `list[X]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in get_args(annotation):
        found = _nested_schema(part)
        if found is not None:
            return found
    return None


def _serve_faults(path: Path, raw: Any) -> list[str]:
    faults = [
        *schema_faults(raw, ServeDeploySchema),
        *_not_mappings(raw),
        *_runtime_env_faults(raw),
    ]
    if faults:
        return [f"{path}: {fault}" for fault in faults]
    try:
        ServeDeploySchema.model_validate(raw)
    except ValidationError as error:
        return fault_lines(error, raw, where=str(path)).splitlines()
    except Exception as error:  # noqa: BLE001, Serve's own validators stumble over wrong types
        return [f"{path}: Serve cannot read it: {in_one_line(error)}"]
    faults = list(_autoscaling_faults(path, raw))
    return faults + [
        f"{path}: applications[{index}].name: {application['name']!r} is how the controller"
        " names a version's application; Serve would delete it with the next config"
        for index, application in enumerate(raw["applications"])
        if parse_application_name(str(application.get("name", ""))) is not None
    ]


def _autoscaling_faults(path: Path, raw: Mapping[str, Any]) -> Iterator[str]:
    """Find what Serve's schema takes as any mapping, to stumble over when it deploys."""
    for index, application in enumerate(raw["applications"]):
        for each, deployment in enumerate(application.get("deployments") or []):
            config = deployment.get("autoscaling_config")
            if not isinstance(config, Mapping):
                continue
            place = f"applications[{index}].deployments[{each}].autoscaling_config"
            try:
                AutoscalingConfig.model_validate(config)
            except ValidationError as error:
                yield fault_lines(error, config, where=str(path), path=place)


def _runtime_env_faults(raw: Any) -> Iterator[str]:
    """Find what Ray would drop without a word, in an application's and its deployments'."""
    for index, application in enumerate(_mappings(raw, "applications")):
        place = f"applications[{index}]"
        fault = runtime_env_fault(application.get("runtime_env"))
        if fault is not None:
            yield f"{place}.{fault}"
        for each, deployment in enumerate(_mappings(application, "deployments")):
            options = deployment.get("ray_actor_options")
            env = options.get("runtime_env") if isinstance(options, Mapping) else None
            fault = runtime_env_fault(env)
            if fault is not None:
                yield f"{place}.deployments[{each}].ray_actor_options.{fault}"


def _mappings(raw: Any, key: str) -> list[Mapping[str, Any]]:
    """The entries of a list, where it is one; what is no mapping there is refused elsewhere."""
    entries = raw.get(key) if isinstance(raw, Mapping) else None
    listed = entries if isinstance(entries, list) else []
    return [entry if isinstance(entry, Mapping) else {} for entry in listed]


def _not_mappings(raw: Any) -> Iterator[str]:
    """Find entries of lists that Serve's schemas would stumble over."""
    applications = raw.get("applications") if isinstance(raw, Mapping) else None
    for index, application in enumerate(applications if isinstance(applications, list) else ()):
        place = f"applications[{index}]"
        if not isinstance(application, Mapping):
            yield f"{place}: {application!r:.60}: should be a mapping of keys to values"
            continue
        deployments = application.get("deployments")
        for each, deployment in enumerate(deployments if isinstance(deployments, list) else ()):
            if not isinstance(deployment, Mapping):
                yield (
                    f"{place}.deployments[{each}]: {deployment!r:.60}:"
                    " should be a mapping with a name"
                )


def _fleet_application(path: Path, raw: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    for index, application in enumerate(raw["applications"]):
        if application.get("import_path") == IMPORT_PATH:
            place = f"applications[{index}]"
            prefix = application.get("route_prefix", "/")
            if prefix != "/":
                raise ConfigError(f"{path}: {place}.route_prefix: {prefix!r}: should be '/'")
            return place, application
    given = [application.get("import_path") for application in raw["applications"]]
    raise ConfigError(f"{path}: applications: import_path is {given}, one must be {IMPORT_PATH!r}")


def _controller_config(where: str, application: Mapping[str, Any]) -> tuple[str, Any]:
    """Find the models in a fleet's application: their place in it, and their settings."""
    found: tuple[str, Any] | None = None
    for index, deployment in enumerate(application.get("deployments") or []):
        name, place = deployment.get("name"), f"deployments[{index}]"
        if name not in DEPLOYMENTS:
            raise ConfigError(
                f"{where}.{place}.name: {name!r} is not a deployment of the fleet,"
                f" allowed: {', '.join(DEPLOYMENTS)}"
            )
        if name == "Controller":
            if found is not None:
                raise ConfigError(f"{where}.{place}.name: {name!r} stands twice")
            if deployment.get("num_replicas", 1) not in {1, None}:
                raise ConfigError(
                    f"{where}.{place}.num_replicas: {deployment['num_replicas']!r}:"
                    " should be 1; two controllers would undo each other's work"
                )
            found = f"{place}.user_config", deployment.get("user_config")
        elif deployment.get("user_config") is not None:
            raise ConfigError(
                f"{where}.{place}.user_config: the deployment {name!r} takes none;"
                " the models stand in that of 'Controller'"
            )
    if found is None or found[1] is None:
        raise ConfigError(
            f"{where}.deployments: no user_config for the deployment 'Controller';"
            " it names the models, for example {models: {my-model: {}}}"
        )
    return found


def _store_faults(place: str, spec: FleetSpec) -> Iterator[str]:
    store = store_url_fault(spec.store_url) or _store_is_away(spec)
    if store is not None:
        yield f"{place}.{store}" if spec.store_url is not None else store


def _store_is_away(spec: FleetSpec) -> str | None:
    """A fleet that starts waits for its store, to learn what an earlier one left there."""
    name = STORE_VARIABLE if spec.store_url is None else "args.store_url"
    url = spec.store_url or os.environ.get(STORE_VARIABLE) or ""
    try:
        require_database(url)
    except (SQLAlchemyError, OSError) as error:
        return f"{name}: {without_password(url)!r}: cannot be reached: {_first_line(error)}"
    return None


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return without_password(text) or type(error).__name__


def _registry_faults(where: str, spec: FleetSpec, models: ModelsSpec) -> list[str]:
    settings = resolve_settings(spec, create_home=False)
    # MLflow writes the addresses it is given into the environment, where the next file's
    # defaults would come from.
    before = {name: os.environ.get(name) for name in (TRACKING_VARIABLE, REGISTRY_VARIABLE)}
    try:
        # MLflow would make the file; a check leaves nothing behind.
        view = (
            RegistryView(answered=True)
            if is_missing_file(settings.registry_uri)
            else Registry(settings.tracking_uri, settings.registry_uri).look(models.models)
        )
    except Exception as error:  # noqa: BLE001, whatever the driver says, the line must name it
        reason = _first_line(error)
        shown = without_password(settings.registry_uri)
        return [f"{where}: the model registry at {shown} cannot be read: {reason}"]
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    faults = model_faults(models.models, view, settings.registry_uri)
    return [f"{where}.{fault}" for fault in faults]


def address_faults(path: Path, raw: Mapping[str, Any], *, port_is_free: bool) -> list[str]:
    """Say that a fleet config's HTTP address cannot be had, and why; nothing when it can.

    Args:
        path: The config file, to name it.
        raw: What it says; checked against Serve's schema already.
        port_is_free: Whether the port must be free.
    """
    options = raw.get("http_options") or {}
    host = options.get("host", "0.0.0.0")  # noqa: S104, Serve's own
    port = int(options.get("port", 8000))
    if not 0 < port < 65536:
        return [f"{path}: http_options.port: {port}: should be 1 to 65535"]
    with socket.socket() as probe:
        # As Serve does, so that connections still closing do not count as in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except socket.gaierror:
            return [f"{path}: http_options.host: {host!r}: no address of that name"]
        except OSError as error:
            if not port_is_free:
                return []
            if error.errno == errno.EADDRNOTAVAIL:
                return [f"{path}: http_options.host: {host!r}: not an address of this machine"]
            reason = error.strerror or "cannot be bound"
            return [f"{path}: http_options.port: {port} on {host}: {reason}; free it or change it"]
    return []


def _raise_any(faults: list[str]) -> None:
    if faults:
        raise ConfigError("\n".join(faults))
