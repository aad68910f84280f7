"""Addresses that pods are given: in variables, arguments and KubeRay's own fields."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kuberay.checks.objects import EVERY_ADDRESS, Pod, Role, ray_cluster

ADDRESS = re.compile(
    r"(?:(?P<scheme>[a-z][a-z0-9+]*)://)?"
    r"(?:(?P<user>[^:@/\s]+)(?::[^@/\s]*)?@)?"
    r"(?P<host>[a-z0-9][a-z0-9.-]*)"
    r"(?::(?P<port>\d+))?"
    r"(?:/(?P<path>[^?\s]*))?(?:\?\S*)?"
)

PORTS = {"http": 80, "https": 443, "postgresql": 5432, "redis": 6379, "rediss": 6379}
"""Schemes that speak with a server, and where it listens unless the address says."""

CLUSTER_DOMAIN = re.compile(r"\.[a-z0-9-]+\.svc(\.[a-z0-9.-]+)?$")
"""What may follow a Service's name."""

OWN = {"localhost", "127.0.0.1", EVERY_ADDRESS}


@dataclass(frozen=True, slots=True)
class Address:
    """A server that a pod will ask."""

    name: str
    """Of the variable, argument or field that says it."""

    host: str
    """A Service of the namespace."""

    port: int
    scheme: str
    user: str | None
    path: str
    """After the host: the database, where the server is one."""


def addresses(pod: Pod) -> Iterator[Address]:
    """Servers in the cluster; those with a domain of their own are nobody's business here."""
    for name, value in words(pod):
        parts = ADDRESS.fullmatch(value)
        if parts is None or (parts["scheme"] or "http") not in PORTS:
            continue
        if parts["scheme"] is None and (parts["port"] is None or parts["host"].isdigit()):
            continue
        host = CLUSTER_DOMAIN.sub("", parts["host"])
        if host in OWN or "." in host:
            continue
        scheme = parts["scheme"] or ""
        port = int(parts["port"] or PORTS[scheme])
        yield Address(name, host, port, scheme, parts["user"], parts["path"] or "")


def words(pod: Pod) -> Iterator[tuple[str, str]]:
    """All that a pod's containers are told, by the name of what tells it."""
    for container in pod.all_containers:
        for variable in container.get("env", ()):
            if "value" in variable:
                yield variable["name"], str(variable["value"])
        for word in (*container.get("command", ()), *container.get("args", ())):
            name, _, value = str(word).rpartition("=")
            yield name or "args", value
    if pod.role is Role.HEAD:
        cluster = ray_cluster(pod.owner) or {}
        redis = cluster.get("gcsFaultToleranceOptions", {}).get("redisAddress")
        if redis is not None:
            yield GCS_STORE, str(redis)


GCS_STORE = "redisAddress"
"""Where a cluster keeps its own state."""

REGISTRY = "MLFLOW_TRACKING_URI"
