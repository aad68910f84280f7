"""Find what Serve itself would make of a config file, before it is asked to.

Serve drops keys that it does not know without a word, and finds other faults only once it
deploys. So its own schemas are asked here, and what they take in silence is looked for.
"""

import errno
import math
import socket
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from ray import serve
from ray.serve.config import AutoscalingConfig, gRPCOptions
from ray.serve.schema import ServeDeploySchema

from deployments.controller.faults import runtime_env_fault
from deployments.schema import parse_application_name
from deployments.userconfig import parse_pool_application
from tuning.configfile import as_yaml, fault_lines, leaves, unknown_key
from tuning.trainers.factory import in_one_line

FREE_FORM = {"args", "user_config", "runtime_env"}
"""Keys of Serve's schemas whose values are not Serve's to define."""

NOT_OPTIONS = {"name", "user_config", "rolling_update_percentage"}
"""Keys of a deployment in a config that are no options of Serve's decorator."""

DEFAULT_GRPC_PORT = 9000
"""Where Serve listens for gRPC unless told otherwise."""

NOT_NEGATIVE = ("request_timeout_s", "keep_alive_timeout_s")
"""Times of the HTTP options that Serve's schema takes whatever their sign."""


class _StandIn:
    """A deployment that is never deployed."""


@cache
def _stand_in() -> serve.Deployment:
    """Decorate it once: Serve pickles the class of its request router for each."""
    return serve.deployment()(_StandIn)


def serve_faults(path: Path, raw: Any) -> list[str]:
    """Say what is wrong with the parts of a config that Serve defines, a line for each fault.

    Args:
        path: The config file, to name it.
        raw: What it says.
    """
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
    faults = [
        *_option_faults(path, raw),
        *_http_faults(path, raw.get("http_options") or {}),
        *_grpc_faults(path, raw.get("grpc_options") or {}),
    ]
    return faults + [
        f"{path}: applications[{index}].name: {application['name']!r} is how the controller"
        f" names {whose} application; Serve would delete it with the next config"
        for index, application in enumerate(raw["applications"])
        if (whose := _owner(str(application.get("name", "")))) is not None
    ]


def _owner(application: str) -> str | None:
    """Whose application has such a name; None where it is free."""
    if parse_application_name(application) is not None:
        return "a version's"
    return "a pool's" if parse_pool_application(application) is not None else None


def _option_faults(path: Path, raw: Mapping[str, Any]) -> Iterator[str]:
    """Find what Serve's schema takes, and its decorator refuses when it deploys."""
    for index, application in enumerate(raw["applications"]):
        for each, deployment in enumerate(application.get("deployments") or []):
            place = f"applications[{index}].deployments[{each}]"
            config = deployment.get("autoscaling_config")
            if isinstance(config, Mapping):
                try:
                    AutoscalingConfig.model_validate(config)
                except ValidationError as error:
                    within = f"{place}.autoscaling_config"
                    yield fault_lines(error, config, where=str(path), path=within)
                    continue
            options = {key: value for key, value in deployment.items() if key not in NOT_OPTIONS}
            try:
                _stand_in().options(**options)
            except ValidationError as error:
                yield fault_lines(error, deployment, where=str(path), path=place)
            except ValueError as error:
                yield f"{path}: {place}: {error}"
            except Exception as error:  # noqa: BLE001, as above
                yield f"{path}: {place}: {in_one_line(error)}"


def _http_faults(path: Path, options: Mapping[str, Any]) -> Iterator[str]:
    """Find what Serve's schema takes, and its proxy fails with."""
    for key in NOT_NEGATIVE:
        value = options.get(key)
        if value is not None and float(value) < 0:
            yield f"{path}: http_options.{key}: {value!r}: should be 0 or more"
    if bool(options.get("ssl_keyfile")) != bool(options.get("ssl_certfile")):
        yield f"{path}: http_options: ssl_keyfile and ssl_certfile go together, or neither"


def _grpc_faults(path: Path, options: Mapping[str, Any]) -> Iterator[str]:
    """Find functions that Serve's proxy and the gateways would fail to import."""
    for function in options.get("grpc_servicer_functions") or ():
        try:
            _ = gRPCOptions(grpc_servicer_functions=[function]).grpc_servicer_func_callable
        except Exception as error:  # noqa: BLE001, an import raises what it likes
            yield (
                f"{path}: grpc_options.grpc_servicer_functions: {function!r}:"
                f" cannot be imported: {in_one_line(error)}"
            )


def _runtime_env_faults(raw: Any) -> Iterator[str]:
    """Find what Ray would drop without a word, in an application's and its deployments'."""
    for index, application in enumerate(mappings(raw, "applications")):
        place = f"applications[{index}]"
        fault = runtime_env_fault(application.get("runtime_env"))
        if fault is not None:
            yield f"{place}.{fault}"
        for each, deployment in enumerate(mappings(application, "deployments")):
            options = deployment.get("ray_actor_options")
            env = options.get("runtime_env") if isinstance(options, Mapping) else None
            fault = runtime_env_fault(env)
            if fault is not None:
                yield f"{place}.deployments[{each}].ray_actor_options.{fault}"


def mappings(raw: Any, key: str) -> list[Mapping[str, Any]]:
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
                yield f"{inner}: {as_yaml(item)}: should be a number"
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


def http_place(raw: Mapping[str, Any]) -> tuple[str, int]:
    """Host and port of Serve's own door, as a config that its schema accepts says them."""
    options = raw.get("http_options") or {}
    return options.get("host", "0.0.0.0"), int(options.get("port", 8000))  # noqa: S104, Serve's


def grpc_port(raw: Mapping[str, Any]) -> int | None:
    """Port of Serve's gRPC door, on the HTTP door's host; None while it is closed."""
    options = raw.get("grpc_options") or {}
    if not options.get("grpc_servicer_functions"):
        return None
    return int(options.get("port", DEFAULT_GRPC_PORT))


def listening_fault(
    where: str, host: str, port: int, *, port_is_free: bool, key: str = "port"
) -> str | None:
    """Say that an address to listen on cannot be had, and why; None when it can.

    Args:
        where: What has the keys of host and port, to name them.
        host: Name or address.
        port: Whatever number stands there.
        port_is_free: Whether nothing may listen there yet.
        key: The port's.
    """
    if not 0 < port < 65536:
        return f"{where}.{key}: {port}: should be 1 to 65535"
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError):
        return f"{where}.host: {host!r}: no address of that name"
    with socket.socket(family) as probe:
        # As Serve does, so that connections still closing do not count as in use.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(place)
        except OSError as error:
            if not port_is_free:
                return None
            if error.errno == errno.EADDRNOTAVAIL:
                return f"{where}.host: {host!r}: not an address of this machine"
            reason = error.strerror or "cannot be bound"
            return f"{where}.{key}: {port} on {host}: {reason}; free it or change it"
    return None
