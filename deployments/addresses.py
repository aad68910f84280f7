"""Addresses in a fleet config: whether this machine can give the ports and has the places.

Nothing is made there.
"""

import os
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from deployments.schema import ExpressSpec, FleetSpec
from deployments.serveconfig import grpc_port, http_place, listening_fault
from deployments.store.address import sqlite_fault, store_url_fault
from tuning.home import REGISTRY_VARIABLE, STORE_VARIABLE, TRACKING_VARIABLE
from tuning.probes import first_line, require_database, without_password

TLS_FILES = ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs")
"""Keys whose values are paths, here as in Serve's HTTP options."""


def door_faults(
    raw: Mapping[str, Any], place: str, spec: FleetSpec, *, port_is_free: bool
) -> list[str]:
    """Say which ports of a config cannot be had, and which files beside them are missing.

    Args:
        raw: The config.
        place: Where the fleet's application stands in it.
        spec: That application's `args`.
        port_is_free: Whether nothing may listen there yet; files are looked for only then.
    """
    owners: dict[int, str] = {}
    faults: list[str | None] = []
    if port_is_free:
        faults += _file_faults(raw, place, spec)
    for door in doors(raw, place, spec):
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
class Door:
    """A port that a config asks for."""

    where: str
    key: str
    host: str
    port: int

    @property
    def shown(self) -> str:
        """Its place in the config."""
        return f"{self.where}.{self.key}"


def doors(raw: Mapping[str, Any], place: str, spec: FleetSpec) -> Iterator[Door]:
    """Yield the ports of Serve and those of the fleet's application, which stands at a place."""
    host, port = http_place(raw)
    yield Door("http_options", "port", host, port)
    grpc = grpc_port(raw)
    if grpc is not None:
        yield Door("grpc_options", "port", host, grpc)
    express, control = spec.express, spec.control
    if express is not None:
        yield Door(f"{place}.args.express", "port", express.host, express.port)
        if express.grpc_port is not None:
            yield Door(f"{place}.args.express", "grpc_port", express.host, express.grpc_port)
    if control is not None:
        yield Door(f"{place}.args.control", "port", control.host, control.port)


def _file_faults(raw: Mapping[str, Any], place: str, spec: FleetSpec) -> Iterator[str | None]:
    named = {f"http_options.{key}": (raw.get("http_options") or {}).get(key) for key in TLS_FILES}
    if spec.express is not None:
        express = spec.express
        named |= {f"{place}.args.express.{key}": getattr(express, key) for key in TLS_FILES}
        yield _certificate_fault(f"{place}.args.express", express)
    if spec.control is not None:
        secret = spec.control.registry_secret_file
        named[f"{place}.args.control.registry_secret_file"] = secret
    for shown, file in named.items():
        if file is not None and not Path(file).is_file():
            yield f"{shown}: {file!r}: no such file"


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


def store_faults(place: str, spec: FleetSpec) -> Iterator[str]:
    """Say that a fleet could not keep its state where its config, or the environment, says."""
    fault = store_url_fault(spec.store_url)
    if fault is not None:
        yield f"{place}.{fault}" if spec.store_url is not None else fault


def store_away(place: str, spec: FleetSpec) -> Iterator[str]:
    """Say that the fleet's store does not answer.

    A fleet that starts waits for its store, to learn what an earlier one left there.
    """
    name = f"{place}.args.store_url" if spec.store_url is not None else STORE_VARIABLE
    url = spec.store_url or os.environ.get(STORE_VARIABLE) or ""
    try:
        require_database(url)
    except (SQLAlchemyError, OSError) as error:
        yield f"{name}: {without_password(url)!r}: cannot be reached: {first_line(error)}"


def mlflow_faults(place: str, spec: FleetSpec) -> Iterator[str]:
    """Say which of MLflow's addresses, the config's or the environment's, are no place for it."""
    for name, uri in _mlflow_uris(spec).items():
        fault = sqlite_fault(uri)
        if fault is not None:
            shown = f"{name}: {without_password(uri)!r}: {fault}"
            yield f"{place}.{shown}" if name.startswith("args.") else shown


def _mlflow_uris(spec: FleetSpec) -> dict[str, str]:
    """The addresses that count, by the name of what says them; not the embedded defaults."""
    configured = {"args.tracking_uri": spec.tracking_uri, "args.registry_uri": spec.registry_uri}
    uris = {name: uri for name, uri in configured.items() if uri is not None}
    variables = [] if "args.tracking_uri" in uris else [TRACKING_VARIABLE]
    variables += [] if uris else [REGISTRY_VARIABLE]
    return uris | {name: os.environ[name] for name in variables if os.environ.get(name)}
