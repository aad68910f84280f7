"""Refuse a config before any work starts: one line a fault, with file, path, value and remedy.

What is Serve's own in it is checked by `serveconfig`, what is ours here.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from deployments.controller.facts import RegistryView
from deployments.controller.faults import model_faults, pool_faults, rollout_faults
from deployments.controller.registry import Registry
from deployments.errors import ConfigError
from deployments.schema import ExpressSpec, FleetSpec
from deployments.serveconfig import grpc_port, http_place, listening_fault, serve_faults
from deployments.settings import resolve_settings
from deployments.store.address import store_url_fault
from deployments.userconfig import ModelsSpec
from tuning import errors as tuning_errors
from tuning.configfile import AnySpec, read_yaml
from tuning.home import REGISTRY_VARIABLE, STORE_VARIABLE, TRACKING_VARIABLE
from tuning.probes import is_missing_file, require_database, without_password

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
        ConfigError: One line for each fault.
    """
    try:
        raw = read_yaml(path)
    except tuning_errors.ConfigError as error:
        raise ConfigError(str(error)) from None
    _raise_any(serve_faults(path, raw))
    place, application = _fleet_application(path, raw)
    models_place, user_config = _controller_config(f"{path}: {place}", application)
    args = application.get("args") or {}
    faults: list[str] = []
    spec = _loaded(FleetSpec, args, path, f"{place}.args", faults)
    models = _loaded(ModelsSpec, user_config, path, f"{place}.{models_place}", faults)
    if spec is None or models is None:
        raise ConfigError("\n".join(faults))
    faults = _address_faults(raw, place, spec, port_is_free=port_is_free)
    _raise_any([f"{path}: {fault}" for fault in faults])
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


def doors_of(path: Path) -> Iterator[tuple[str, str, int]]:
    """Key, host and port of each port that a valid config asks for."""
    raw = read_yaml(path)
    for door in _doors(raw, "", read_fleet(path)):
        yield door.shown.removeprefix("."), door.host, door.port


def address_faults(path: Path) -> list[str]:
    """Say which addresses of a valid config cannot be had on this machine, a line for each."""
    raw = read_yaml(path)
    place, _ = _fleet_application(path, raw)
    faults = _address_faults(raw, place, read_fleet(path), port_is_free=True)
    return [f"{path}: {fault}" for fault in faults]


def _address_faults(
    raw: Mapping[str, Any], place: str, spec: FleetSpec, *, port_is_free: bool
) -> list[str]:
    owners: dict[int, str] = {}
    faults: list[str | None] = []
    if spec.express is not None and port_is_free:
        faults += _file_faults(f"{place}.args.express", spec.express)
    for door in _doors(raw, place, spec):
        owner = owners.setdefault(door.port, door.shown)
        if owner != door.shown:
            faults.append(f"{door.shown}: {door.port}: is that of {owner}; change one")
        elif port_is_free or door.where in {"http_options", "grpc_options"}:
            faults.append(
                listening_fault(
                    door.where, door.host, door.port, port_is_free=port_is_free, key=door.key
                )
            )
    # A host that cannot be had is so for each of its ports.
    return list(dict.fromkeys(fault for fault in faults if fault is not None))


@dataclass(frozen=True, slots=True)
class _Door:
    """A port that a config asks for."""

    where: str
    key: str
    host: str
    port: int

    @property
    def shown(self) -> str:
        return f"{self.where}.{self.key}"


def _doors(raw: Mapping[str, Any], place: str, spec: FleetSpec) -> Iterator[_Door]:
    host, port = http_place(raw)
    yield _Door("http_options", "port", host, port)
    grpc = grpc_port(raw)
    if grpc is not None:
        yield _Door("grpc_options", "port", host, grpc)
    express, control = spec.express, spec.control
    if express is not None:
        yield _Door(f"{place}.args.express", "port", express.host, express.port)
        if express.grpc_port is not None:
            yield _Door(f"{place}.args.express", "grpc_port", express.host, express.grpc_port)
    if control is not None:
        yield _Door(f"{place}.args.control", "port", control.host, control.port)


def _file_faults(where: str, express: ExpressSpec) -> list[str | None]:
    files = [
        f"{where}.{key}: {file!r}: no such file"
        for key in ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs")
        if (file := getattr(express, key)) is not None and not Path(file).is_file()
    ]
    return [*files, _certificate_fault(where, express)]


def _certificate_fault(where: str, express: ExpressSpec) -> str | None:
    files = express.ssl_certfile, express.ssl_keyfile
    if files[0] is None or not all(file and Path(file).is_file() for file in files):
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files[0], files[1], express.ssl_keyfile_password or "")
    except (ssl.SSLError, OSError) as error:
        return f"{where}: ssl_keyfile and ssl_certfile cannot be used together: {error}"
    return None


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
    faults = [
        *model_faults(models.models, view, settings.registry_uri),
        *pool_faults(models.pools),
        *rollout_faults(models.models, models.rollouts),
    ]
    return [f"{where}.{fault}" for fault in faults]


def _raise_any(faults: list[str]) -> None:
    if faults:
        raise ConfigError("\n".join(faults))
