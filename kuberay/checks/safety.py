"""Whether containers can do no more than they need, and no secret stands in a manifest."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.objects import (
    SHARED_MEMORY,
    TMP,
    Fault,
    Manifest,
    Pod,
    environment,
    mounts,
    of_kind,
    place,
    pods,
)
from kuberay.checks.project import Project

SECRETIVE = re.compile(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY|PRIVATE)", re.IGNORECASE)
"""Names of variables whose value is nobody's business."""

CREDENTIALS = re.compile(r"://[^/\s:@]+:(?!\$\()[^/\s@]+@")
"""A password written out in an address; `$(VARIABLE)` is none."""

ENFORCED = "pod-security.kubernetes.io/enforce"

ASKS_THE_API_SERVER = {"fleet-head"}
"""Accounts whose token a pod may have."""


def check_safety(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Look at every container."""
    for pod in pods(objects):
        yield from _pod(pod)
        for container in pod.all_containers:
            where = f"{pod.where}, container {container['name']}"
            yield from _container(where, container)
            yield from _plain_secrets(where, container)
        if pod.is_ray_node:
            home = environment(pod.ray_container).get("RAYFLEET_HOME")
            yield from _writable(pod.where, pod.ray_container, TMP, SHARED_MEMORY, home)
        if pod.scales:
            yield from _writable(f"{pod.where}, autoscaler", pod.all_containers[-1], TMP)
    for secret in of_kind(objects, "Secret"):
        yield Fault(place(secret), "a Secret has no place in the repository")
    yield from _roles(objects)
    yield from _namespaces(objects)


def _pod(pod: Pod) -> Iterator[Fault]:
    security = pod.spec.get("securityContext", {})
    if security.get("runAsNonRoot") is not True or not security.get("runAsUser"):
        yield Fault(pod.where, "securityContext: runAsNonRoot and a runAsUser are missing")
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield Fault(pod.where, "securityContext: seccompProfile should be RuntimeDefault")
    account = pod.spec.get("serviceAccountName")
    if pod.spec.get("automountServiceAccountToken", True) and account not in ASKS_THE_API_SERVER:
        yield Fault(pod.where, "automountServiceAccountToken should be false")
    for shared in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(shared):
            yield Fault(pod.where, f"{shared}: the node's is not ours")
    for name, volume in pod.volumes.items():
        if "hostPath" in volume:
            yield Fault(pod.where, f"volume {name!r}: hostPath, the node's disk, is not ours")


def _container(where: str, container: Mapping[str, Any]) -> Iterator[Fault]:
    security = container.get("securityContext", {})
    for port in container.get("ports", ()):
        if "hostPort" in port:
            yield Fault(where, f"hostPort {port['hostPort']}: the node's ports are not ours")
    for key, wanted in (("allowPrivilegeEscalation", False), ("readOnlyRootFilesystem", True)):
        if security.get(key) is not wanted:
            yield Fault(where, f"securityContext: {key} should be {str(wanted).lower()}")
    capabilities = security.get("capabilities", {})
    if capabilities.get("drop") != ["ALL"] or capabilities.get("add"):
        yield Fault(where, "securityContext: capabilities should drop ALL, and add none")
    if security.get("runAsUser") == 0 or security.get("runAsNonRoot") is False:
        yield Fault(where, "securityContext: root")
    if security.get("privileged"):
        yield Fault(where, "securityContext: privileged")


def _plain_secrets(where: str, container: Mapping[str, Any]) -> Iterator[Fault]:
    for variable in container.get("env", ()):
        value = variable.get("value")
        plain = value is not None and SECRETIVE.search(variable["name"])
        if plain and not re.fullmatch(r"\$\(\w+\)", value):
            yield Fault(where, f"{variable['name']}: a secret's value is written out")
        elif value is not None and CREDENTIALS.search(value):
            yield Fault(where, f"{variable['name']}: a password is written out")
    words = [*container.get("command", ()), *container.get("args", ())]
    if any(CREDENTIALS.search(str(word)) for word in words):
        yield Fault(where, "args: a password is written out")


def _writable(where: str, container: Mapping[str, Any], *paths: str | None) -> Iterator[Fault]:
    """Where Ray and the fleet must be able to write; None is RAYFLEET_HOME that nobody set."""
    mounted = {
        path for path, mount in mounts(container).items() if not mount.get("readOnly", False)
    }
    for path in paths:
        if path not in mounted:
            yield Fault(where, f"{path or 'RAYFLEET_HOME'} needs a volume: the rest is read-only")


def _namespaces(objects: Sequence[Manifest]) -> Iterator[Fault]:
    for namespace in of_kind(objects, "Namespace"):
        if namespace["metadata"].get("labels", {}).get(ENFORCED) != "restricted":
            yield Fault(place(namespace), f"label {ENFORCED} should be restricted")


def _roles(objects: Sequence[Manifest]) -> Iterator[Fault]:
    for role in of_kind(objects, "Role", "ClusterRole"):
        for rule in role["rules"]:
            for field in ("apiGroups", "resources", "verbs"):
                if "*" in rule[field]:
                    yield Fault(place(role), f"{field} should name what is needed, not '*'")
            if "secrets" in rule["resources"]:
                yield Fault(place(role), "nothing here needs to read secrets by the API")
