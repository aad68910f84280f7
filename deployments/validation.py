"""Refuse a config before any work starts: one line a fault, with file, path, value and remedy.

Serve drops keys that it does not know without a word, so they are looked for here, in
Serve's own schemas as well as in ours.
"""

import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ray.serve.schema import ServeDeploySchema

from deployments.controller.registry import Registry
from deployments.errors import ConfigError
from deployments.schema import FleetSpec, ModelsSpec, parse_application_name
from deployments.settings import resolve_settings
from tuning import errors as tuning_errors
from tuning.configfile import fault_lines, read_yaml, unknown_key
from tuning.home import REGISTRY_VARIABLE, TRACKING_VARIABLE

IMPORT_PATH = "deployments.fleet:build"
DEPLOYMENTS = ("Controller", "Gateway")

FREE_FORM = {"args", "user_config", "runtime_env"}
"""Keys of Serve's schemas whose values are not Serve's to define."""


def is_fleet_config(path: Path) -> bool:
    """Whether a YAML file is a Serve config rather than a sweep."""
    raw = read_yaml(path)
    return isinstance(raw, dict) and "applications" in raw


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
    where, application = _fleet_application(path, raw)
    models_where, user_config = _controller_config(where, application)
    try:
        spec = FleetSpec.load(application.get("args") or {}, where=f"{where}.args")
        models = ModelsSpec.load(user_config, where=models_where)
    except tuning_errors.ConfigError as error:
        raise ConfigError(str(error)) from None
    _raise_any(_registry_faults(models_where, spec, models))
    if port_is_free:
        _raise_any(port_faults(path))
    return models


def unknown_keys(value: Any, schema: type[BaseModel], path: str = "") -> Iterator[str]:
    """Find keys that a pydantic schema would drop in silence, as `path: what is allowed`."""
    if not isinstance(value, Mapping):
        return
    fields = {field.alias or name: field for name, field in schema.model_fields.items()}
    for key, item in value.items():
        if key not in fields:
            yield f"{path}: {unknown_key(key, fields)}" if path else unknown_key(key, fields)
        elif key not in FREE_FORM:
            inner = f"{path}.{key}" if path else str(key)
            nested = _nested_schema(fields[key].annotation)
            if nested is None:
                continue
            items = item if isinstance(item, list) else [item]
            for index, entry in enumerate(items):
                place = f"{inner}[{index}]" if isinstance(item, list) else inner
                yield from unknown_keys(entry, nested, place)


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
    faults = [*unknown_keys(raw, ServeDeploySchema), *_not_mappings(raw)]
    if faults:
        return [f"{path}: {fault}" for fault in faults]
    try:
        ServeDeploySchema.model_validate(raw)
    except ValidationError as error:
        return fault_lines(error, where=str(path)).splitlines()
    return [
        f"{path}: applications[{index}].name: {application['name']!r} is how the controller"
        " names a version's application; Serve would delete it with the next config"
        for index, application in enumerate(raw["applications"])
        if parse_application_name(str(application.get("name", ""))) is not None
    ]


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
            where = f"{path}: applications[{index}]"
            prefix = application.get("route_prefix", "/")
            if prefix != "/":
                raise ConfigError(f"{where}.route_prefix: {prefix!r}: should be '/'")
            return where, application
    given = [application.get("import_path") for application in raw["applications"]]
    raise ConfigError(f"{path}: applications: import_path is {given}, one must be {IMPORT_PATH!r}")


def _controller_config(where: str, application: Mapping[str, Any]) -> tuple[str, Any]:
    found: tuple[str, Any] | None = None
    for index, deployment in enumerate(application.get("deployments") or []):
        name = deployment.get("name")
        if name not in DEPLOYMENTS:
            raise ConfigError(
                f"{where}.deployments[{index}].name: {name!r} is not a deployment of the fleet,"
                f" allowed: {', '.join(DEPLOYMENTS)}"
            )
        if name == "Controller":
            if found is not None:
                raise ConfigError(f"{where}.deployments[{index}].name: {name!r} stands twice")
            if deployment.get("num_replicas", 1) not in {1, None}:
                raise ConfigError(
                    f"{where}.deployments[{index}].num_replicas: {deployment['num_replicas']!r}:"
                    " should be 1; two controllers would undo each other's work"
                )
            found = f"{where}.deployments[{index}].user_config", deployment.get("user_config")
    if found is None or found[1] is None:
        raise ConfigError(
            f"{where}.deployments: no user_config for the deployment 'Controller';"
            " it names the models, for example {models: {my-model: {}}}"
        )
    return found


def _registry_faults(where: str, spec: FleetSpec, models: ModelsSpec) -> list[str]:
    settings = resolve_settings(spec)
    # MLflow writes the addresses it is given into the environment, where the next file's
    # defaults would come from.
    before = {name: os.environ.get(name) for name in (TRACKING_VARIABLE, REGISTRY_VARIABLE)}
    try:
        registry = Registry(settings.tracking_uri, settings.registry_uri)
        view = registry.look(models.models)
        registered = registry.names()
    except Exception as error:  # noqa: BLE001, whatever the driver says, the line must name it
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [f"{where}: the model registry at {settings.registry_uri} cannot be read: {reason}"]
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    faults = []
    for model, model_spec in models.models.items():
        if model not in view.aliases:
            faults.append(
                f"{where}.models.{model}: not in the model registry at {settings.registry_uri},"
                f" registered: {', '.join(registered) or 'none'}"
            )
            continue
        faults += [
            f"{where}.models.{model}.traffic: version {key!r} is not registered"
            for key in model_spec.traffic
            if key.isdigit() and (model, key) not in view.versions
        ]
    return faults


def port_faults(path: Path) -> list[str]:
    """Say that a fleet config's HTTP port cannot be had, and why; nothing when it can."""
    options = read_yaml(path).get("http_options") or {}
    host, port = options.get("host", "0.0.0.0"), options.get("port", 8000)  # noqa: S104, Serve's own
    with socket.socket() as probe:
        # As Serve does, so that connections still closing do not count as in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except OverflowError:
            return [f"{path}: http_options.port: {port}: must be 0 to 65535"]
        except OSError as error:
            reason = error.strerror or "cannot be bound"
            return [f"{path}: http_options.port: {port} on {host}: {reason}; free it or change it"]
    return []


def _raise_any(faults: list[str]) -> None:
    if faults:
        raise ConfigError("\n".join(faults))
