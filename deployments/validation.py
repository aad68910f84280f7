"""Refuse a config before any work starts: one line a fault, with file, path, value and remedy.

What is Serve's own in it is checked by `serveconfig`, what is ours here.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deployments.addresses import door_faults, doors, mlflow_faults, store_away, store_faults
from deployments.controller.facts import RegistryView
from deployments.controller.faults import model_faults, pool_faults, rollout_faults
from deployments.controller.registry import Registry
from deployments.errors import AwayError, ConfigError
from deployments.schema import FleetSpec
from deployments.serveconfig import mappings, serve_faults
from deployments.settings import resolve_settings
from deployments.userconfig import ModelsSpec
from tuning import errors as tuning_errors
from tuning.configfile import AnySpec, read_yaml
from tuning.home import REGISTRY_VARIABLE, TRACKING_VARIABLE
from tuning.probes import first_line, is_missing_file, without_password

IMPORT_PATH = "deployments.fleet:build"
DEPLOYMENTS = ("Controller", "Gateway")


def validate_fleet(path: Path, *, port_is_free: bool = True) -> ModelsSpec:
    """Check a fleet config against the schemas, the registry and this machine.

    Args:
        path: A native Serve config file.
        port_is_free: Whether its HTTP port must be free; not so for a fleet that runs.

    Returns:
        The models that it hosts.

    Raises:
        AwayError: Nothing is wrong but that the registry, or the store, does not answer.
        ConfigError: One line for each fault.
    """
    try:
        raw = read_yaml(path)
    except tuning_errors.ConfigError as error:
        raise ConfigError(str(error)) from None
    if not isinstance(raw, Mapping) or "applications" not in raw:
        raise ConfigError(f"{path}: applications: is missing, so this is no fleet config")
    _raise_any(serve_faults(path, raw))
    place, application = _fleet_application(path, raw)
    models_place, user_config = _controller_config(f"{path}: {place}", application)
    args = application.get("args") or {}
    faults: list[str] = []
    spec = _loaded(FleetSpec, args, path, f"{place}.args", faults)
    models = _loaded(ModelsSpec, user_config, path, f"{place}.{models_place}", faults)
    if spec is None or models is None:
        raise ConfigError("\n".join(faults))
    faults = [
        *door_faults(raw, place, spec, port_is_free=port_is_free),
        *store_faults(place, spec),
        *mlflow_faults(place, spec),
    ]
    _raise_any([f"{path}: {fault}" for fault in faults])
    away = [f"{path}: {fault}" for fault in store_away(place, spec)]
    where = f"{path}: {place}.{models_place}"
    faults = [*pool_faults(models.pools), *rollout_faults(models.models, models.rollouts)]
    faults = [f"{where}.{fault}" for fault in faults]
    try:
        faults = [*_registry_faults(where, spec, models), *faults]
    except AwayError as error:
        away.append(str(error))
    if away and not faults:
        raise AwayError("\n".join(away))
    _raise_any(faults + away)
    return models


def doors_of(path: Path) -> Iterator[tuple[str, str, int]]:
    """Key, host and port of each port that a valid config asks for."""
    for door in doors(read_yaml(path), "", read_fleet(path)):
        yield door.shown.removeprefix("."), door.host, door.port


def address_faults(path: Path) -> list[str]:
    """Say which addresses of a valid config cannot be had on this machine, a line for each."""
    raw = read_yaml(path)
    place, _ = _fleet_application(path, raw)
    faults = door_faults(raw, place, read_fleet(path), port_is_free=True)
    return [f"{path}: {fault}" for fault in faults]


def _loaded(
    spec: type[AnySpec], value: Any, path: Path, place: str, faults: list[str]
) -> AnySpec | None:
    """Read one part of a config, so that faults in one do not hide those in another."""
    try:
        return spec.load(value, where=str(path), path=place)
    except tuning_errors.ConfigError as error:
        faults.append(str(error))
        return None


def _fleet_application(path: Path, raw: Any) -> tuple[str, Mapping[str, Any]]:
    given = [application.get("import_path") for application in mappings(raw, "applications")]
    fleets = [index for index, import_path in enumerate(given) if import_path == IMPORT_PATH]
    if not fleets:
        raise ConfigError(
            f"{path}: applications: import_path is {given}, one must be {IMPORT_PATH!r}"
        )
    if len(fleets) > 1:
        raise ConfigError(
            f"{path}: applications[{fleets[1]}].import_path: {IMPORT_PATH!r} stands in "
            f"applications[{fleets[0]}], too; a Serve instance has one fleet"
        )
    (index,) = fleets
    place, application = f"applications[{index}]", raw["applications"][index]
    prefix = application.get("route_prefix", "/")
    if prefix != "/":
        raise ConfigError(f"{path}: {place}.route_prefix: {prefix!r}: should be '/'")
    return place, application


def _controller_config(where: str, application: Mapping[str, Any]) -> tuple[str, Any]:
    """Find the models in a fleet's application: their place in it, and their settings."""
    found: tuple[str, Any] | None = None
    names: set[str] = set()
    for index, deployment in enumerate(application.get("deployments") or []):
        name, place = deployment.get("name"), f"deployments[{index}]"
        if name not in DEPLOYMENTS:
            raise ConfigError(
                f"{where}.{place}.name: {name!r} is not a deployment of the fleet,"
                f" allowed: {', '.join(DEPLOYMENTS)}"
            )
        if name in names:
            raise ConfigError(f"{where}.{place}.name: {name!r} stands twice")
        names.add(name)
        if name == "Controller":
            _require_one(f"{where}.{place}", deployment)
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


def _require_one(where: str, controller: Mapping[str, Any]) -> None:
    why = "two controllers would undo each other's work"
    n_replicas = controller.get("num_replicas")
    if n_replicas not in {1, None}:
        raise ConfigError(f"{where}.num_replicas: {n_replicas!r}: should be 1; {why}")
    if controller.get("autoscaling_config") is not None:
        raise ConfigError(f"{where}.autoscaling_config: the Controller takes none; {why}")


def read_fleet(path: Path) -> FleetSpec:
    """The fleet's `args` in a config.

    Raises:
        ConfigError: The config says something else where they should stand.
    """
    place, application = _fleet_application(path, read_yaml(path))
    args = application.get("args") or {}
    return FleetSpec.load(args, where=str(path), path=f"{place}.args")


def _registry_faults(where: str, spec: FleetSpec, models: ModelsSpec) -> list[str]:
    """What the registry has not of what the models want.

    Raises:
        AwayError: It does not answer.
    """
    settings = resolve_settings(spec, create_home=False)
    # MLflow writes the addresses it is given into the environment, where the next file's
    # defaults would come from.
    before = {name: os.environ.get(name) for name in (TRACKING_VARIABLE, REGISTRY_VARIABLE)}
    registry_uri, tracking_uri = settings.registry_uri, settings.tracking_uri
    try:
        # MLflow would make a file that is missing; a check leaves nothing behind.
        view = (
            RegistryView(answered=True)
            if is_missing_file(registry_uri)
            else Registry(
                registry_uri if is_missing_file(tracking_uri) else tracking_uri, registry_uri
            ).look(models.models)
        )
    except Exception as error:  # noqa: BLE001, whatever the driver says, the line must name it
        reason = first_line(error)
        shown = without_password(registry_uri)
        what = f"{where}: the model registry at {shown} cannot be read: {reason}"
        raise AwayError(what) from None
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
    return [f"{where}.{fault}" for fault in model_faults(models.models, view, registry_uri)]


def _raise_any(faults: list[str]) -> None:
    if faults:
        raise ConfigError("\n".join(faults))
