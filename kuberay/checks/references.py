"""Whether what pods name exists: Secrets, ConfigMaps, variables, volumes, accounts, roles."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.objects import Fault, Manifest, Pod, name_of, names, of_kind, place, pods
from kuberay.checks.project import Project


def check_references(objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    """Look up every name."""
    for pod in pods(objects):
        for container in pod.all_containers:
            where = f"{pod.where}, container {container['name']}"
            yield from _variables(where, container, objects, project)
            yield from _whole_environments(where, container, objects, project)
            yield from _unset(where, container)
        yield from _mounts(pod)
        yield from _volumes(pod, objects, project)
        account = pod.spec.get("serviceAccountName")
        if account not in names(objects, "ServiceAccount"):
            yield Fault(pod.where, f"serviceAccountName {account!r}: there is no such account")
    yield from _accounts_of_roles(objects)
    yield from _secrets_of_clusters(objects, project)
    for job in of_kind(objects, "RayJob"):
        chosen = job["spec"].get("clusterSelector", {}).get("ray.io/cluster")
        if chosen is not None and chosen not in names(objects, "RayCluster"):
            yield Fault(place(job), f"clusterSelector: there is no RayCluster {chosen!r}")


def _variables(
    where: str, container: Mapping[str, Any], objects: Sequence[Manifest], project: Project
) -> Iterator[Fault]:
    """Values that come from elsewhere."""
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        if "secretKeyRef" in source:
            yield from _secret_faults(where, source["secretKeyRef"], project)
        if "configMapKeyRef" in source:
            reference = source["configMapKeyRef"]
            yield from _config_faults(where, reference["name"], [reference["key"]], objects)


def _whole_environments(
    where: str, container: Mapping[str, Any], objects: Sequence[Manifest], project: Project
) -> Iterator[Fault]:
    for source in container.get("envFrom", ()):
        if "configMapRef" in source:
            yield from _config_faults(where, source["configMapRef"]["name"], [], objects)
        secret = source.get("secretRef", {}).get("name")
        if secret is not None and secret not in project.secrets:
            yield Fault(where, f"Secret {secret!r}: nothing makes it")


def _unset(where: str, container: Mapping[str, Any]) -> Iterator[Fault]:
    """Kubernetes puts in variables that stand above, and leaves other `$(NAME)` as they are."""
    known: set[str] = set()
    for variable in container.get("env", ()):
        for name in re.findall(r"\$\((\w+)\)", str(variable.get("value", ""))):
            if name not in known:
                yield Fault(where, f"{variable['name']}: $({name}) is not set above it")
        known.add(variable["name"])
    words = [*container.get("command", ()), *container.get("args", ())]
    for name in re.findall(r"\$\((\w+)\)", " ".join(map(str, words))):
        if name not in known:
            yield Fault(where, f"$({name}): there is no such variable")


def _config_faults(
    where: str, name: str, keys: Iterable[str], objects: Sequence[Manifest]
) -> Iterator[Fault]:
    found = [each for each in of_kind(objects, "ConfigMap") if name_of(each) == name]
    if not found:
        yield Fault(where, f"ConfigMap {name!r}: there is no such ConfigMap")
        return
    known = {key for part in ("data", "binaryData") for key in found[0].get(part, {})}
    for key in sorted(set(keys) - known):
        yield Fault(where, f"ConfigMap {name!r} has no key {key!r}: {sorted(known)}")


def _secret_faults(where: str, reference: Mapping[str, Any], project: Project) -> Iterator[Fault]:
    name, key = reference["name"], reference["key"]
    if name not in project.secrets:
        yield Fault(where, f"Secret {name!r}: nothing makes it, known: {sorted(project.secrets)}")
    elif key is not None and key not in project.secrets[name]:
        yield Fault(where, f"Secret {name!r} has no key {key!r}: {sorted(project.secrets[name])}")


def _secrets_of_clusters(objects: Iterable[Manifest], project: Project) -> Iterator[Fault]:
    """Secrets that KubeRay itself hands to Ray."""
    for manifest in objects:
        for path, value in _walk(manifest.get("spec", {})):
            if path.endswith("authOptions.secretName"):
                # KubeRay reads this key (SetContainerTokenAuthEnvVars in its pod.go).
                reference = {"name": value, "key": "auth_token"}
                yield from _secret_faults(place(manifest), reference, project)
            elif path.endswith("redisPassword.valueFrom.secretKeyRef"):
                yield from _secret_faults(place(manifest), value, project)


def _walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _walk(inner, f"{path}.{key}")


def _mounts(pod: Pod) -> Iterator[Fault]:
    for container in pod.all_containers:
        for mount in container.get("volumeMounts", ()):
            if mount["name"] not in pod.claims | pod.volumes.keys():
                where = f"{pod.where}, container {container['name']}"
                yield Fault(where, f"volume {mount['name']!r}: there is no such volume")


def _volumes(pod: Pod, objects: Sequence[Manifest], project: Project) -> Iterator[Fault]:
    for volume_name, volume in pod.volumes.items():
        where = f"{pod.where}, volume {volume_name!r}"
        if "configMap" in volume:
            keys = [each["key"] for each in volume["configMap"].get("items", ())]
            yield from _config_faults(where, volume["configMap"]["name"], keys, objects)
        if "secret" in volume:
            name = volume["secret"]["secretName"]
            for item in volume["secret"].get("items", ()) or [{"key": None}]:
                yield from _secret_faults(where, {"name": name, "key": item["key"]}, project)
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        if claim is not None and claim not in names(objects, "PersistentVolumeClaim"):
            yield Fault(where, f"there is no PersistentVolumeClaim {claim!r}")


def _accounts_of_roles(objects: Sequence[Manifest]) -> Iterator[Fault]:
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        role = binding["roleRef"]["name"]
        if role not in names(objects, binding["roleRef"]["kind"]):
            yield Fault(place(binding), f"roleRef {role!r}: there is no such role")
        for subject in binding.get("subjects", ()):
            if subject["name"] not in names(objects, "ServiceAccount"):
                yield Fault(place(binding), f"subject {subject['name']!r}: no such account")
