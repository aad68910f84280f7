"""Requests, limits, and what Ray is told of them."""

from collections.abc import Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.resources import check_resources
from tests.kuberay.breaking import (
    CLUSTER,
    CONTAINER,
    CPU,
    CPU_CONTAINER,
    GONE,
    HEAD,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

BROKEN = [
    breaks(*SERVICE, f"{CPU_CONTAINER}.resources.requests.cpu", "8", "request cpu=8 is over", why="request-over-limit"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.resources.limits.memory", GONE, "memory needs", why="no-limit"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.num-cpus", "16", "num-cpus 16 is not the request cpu=3", why="cpus"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.num-gpus", "1", "num-gpus 1 is not", why="gpus"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.memory", "99999999999", "for Ray itself", why="memory"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.memory", "6979321856", "which leaves less than 1073741824 for Ray itself", why="memory-of-ray-itself"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.num-cpus", "1", "num-cpus 1 is not the request cpu=3", why="cpus-that-idle"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.resources.requests.cpu", "1", "num-cpus 3 is not the request cpu=1", why="cpus-not-requested"),
    breaks(*SERVICE, f"{HEAD}.rayStartParams.num-cpus", "5", "num-cpus 5 is not the request", why="cpus-of-the-head"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.resources.limits", {"cpu": "3", "memory": "7Gi", "nvidia.com/gpu": "1"}, "request and limit of nvidia.com/gpu should be equal", why="gpu-not-requested"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.object-store-memory", GONE, "left to a guess", why="object-store"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.resources.requests.memory", "1Gi", "up to its limit", why="memory-not-requested"),
    breaks(*SERVICE, f"{CPU}.template.spec.volumes.2.emptyDir.sizeLimit", "64Mi", "/dev/shm should be", why="shared-memory"),
    breaks(*SERVICE, f"{CLUSTER}.autoscalerOptions.resources.limits.cpu", "100m", "request cpu=500m", why="autoscaler"),
    breaks("RayJob", "sweep", "spec.rayClusterSpec.workerGroupSpecs.0.rayStartParams.num-cpus", "9", "num-cpus 9", why="cpus-of-a-job"),
    breaks("StatefulSet", "postgres", "spec.volumeClaimTemplates.0.spec.resources.requests.storage", "20", "storage 20 is below 1Gi", why="tiny-volume"),
    breaks("PersistentVolumeClaim", "sweeps", "spec.resources.requests.storage", "1Mi", "storage 1Mi is below", why="tiny-claim"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_resources, changed(development, *change), fault, project)
