"""Whether requests fit limits, and Ray is told what its containers really have."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kuberay.checks.objects import SHARED_MEMORY, Fault, Manifest, Pod, Role, mounts, place, pods
from kuberay.checks.project import Project

UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip

GPU = "nvidia.com/gpu"

LEAST_STORAGE = "1Gi"
"""Of a volume that stays."""


def quantity(text: str | float) -> float:
    """A Kubernetes quantity as a number: cores, bytes or devices.

    Raises:
        ValueError: It is none.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)", str(text))
    if found is None or found[2] not in UNITS:
        raise ValueError(f"{text!r} is no quantity, such as 500m, 2 or 4Gi")
    return float(found[1]) * UNITS[found[2]]


FOR_RAY_BYTES = 2**30
"""What Ray's own processes on a node take, at least."""


def check_resources(objects: Sequence[Manifest], _: Project) -> Iterator[Fault]:
    """Compare requests, limits and what Ray is told."""
    for pod in pods(objects):
        for container in pod.all_containers:
            where = f"{pod.where}, container {container['name']}"
            yield from _limits(where, container.get("resources", {}))
        if pod.is_ray_node:
            yield from _told(pod)
            yield from _shared_memory(pod)
    for manifest in objects:
        yield from _claims(manifest)


def _claims(manifest: Manifest) -> Iterator[Fault]:
    claims = list(manifest.get("spec", {}).get("volumeClaimTemplates", ()))
    if manifest["kind"] == "PersistentVolumeClaim":
        claims.append(manifest)
    for claim in claims:
        storage = claim["spec"]["resources"]["requests"]["storage"]
        if quantity(storage) < quantity(LEAST_STORAGE):
            what = f"volume {claim['metadata']['name']!r}: storage {storage} is below"
            yield Fault(place(manifest), f"{what} {LEAST_STORAGE}")


def _limits(where: str, resources: Mapping[str, Any]) -> Iterator[Fault]:
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for name in ("cpu", "memory"):
        if name not in requests or name not in limits:
            yield Fault(where, f"resources: {name} needs a request and a limit")
    for name, request in requests.items():
        if name in limits and quantity(request) > quantity(limits[name]):
            what = f"resources: request {name}={request} is over its limit {limits[name]}"
            yield Fault(where, what)
    # A device cannot be shared: Kubernetes refuses a pod whose two numbers differ.
    if requests.get(GPU) != limits.get(GPU):
        yield Fault(where, f"resources: request and limit of {GPU} should be equal")


def _told(pod: Pod) -> Iterator[Fault]:
    resources = pod.ray_container.get("resources", {})
    requests, limits = resources.get("requests", {}), resources.get("limits", {})
    for param in ("num-cpus", "memory", "object-store-memory"):
        if pod.ray_param(param) is None:
            yield Fault(pod.where, f"rayStartParams: {param} is left to a guess")
            return
    cpus = float(pod.ray_param("num-cpus") or 0)
    requested = quantity(requests.get("cpu", 0))
    # A head may offer less, for it runs what is not counted.
    if cpus > requested or (pod.role is Role.WORKER and cpus < int(requested)):
        yield Fault(pod.where, f"num-cpus {cpus:g} is not the request cpu={requests.get('cpu')}")
    gpus, devices = pod.ray_param("num-gpus") or "0", limits.get(GPU, "0")
    if float(gpus) != quantity(devices):
        yield Fault(pod.where, f"num-gpus {gpus} is not the limit {GPU}={devices}")
    told = sum(float(pod.ray_param(each) or 0) for each in ("memory", "object-store-memory"))
    limit = quantity(limits.get("memory", 0))
    if told > limit - FOR_RAY_BYTES:
        what = f"memory and object-store-memory are {told:.0f} B of the limit {limit:.0f} B"
        yield Fault(pod.where, f"{what}, which leaves less than {FOR_RAY_BYTES:.0f} for Ray itself")
    # Ray kills a worker of its own before the kernel kills the node, if it may count on its memory.
    if requests.get("memory") != limits.get("memory"):
        yield Fault(pod.where, "resources: Ray's memory should be requested up to its limit")


def _shared_memory(pod: Pod) -> Iterator[Fault]:
    """The object store lives in /dev/shm, which has 64 MiB unless a volume says more."""
    mount = mounts(pod.ray_container).get(SHARED_MEMORY, {})
    disk = pod.volumes.get(mount.get("name", ""), {}).get("emptyDir", {})
    store = float(pod.ray_param("object-store-memory") or 0)
    if disk.get("medium") != "Memory" or quantity(disk.get("sizeLimit", 0)) < store:
        what = f"{SHARED_MEMORY} should be memory of at least {store:.0f} B"
        yield Fault(pod.where, what)
