"""Every replica fits a node of the cluster."""

from collections.abc import Sequence

from kuberay.checks.capacity import check_capacity
from kuberay.checks.objects import Manifest
from kuberay.checks.project import REPOSITORY, Project
from tests.kuberay.breaking import (
    CLUSTER,
    CPU,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

KUBERNETES = REPOSITORY / "configs" / "kubernetes.yaml"

BROKEN = [
    breaks(*SERVICE, f"{CPU}.rayStartParams.memory", "1073741824", "no group has such workers", why="memory-of-a-replica"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.memory", "4294967295", "no group has such workers", why="a-byte-too-little"),
    breaks(*SERVICE, "spec.serveConfigV2", KUBERNETES.read_text().replace("num_replicas: 2\n              memory_mib", "num_replicas: 3\n              memory_mib"), "need 12884901888 B, workers that do have 10737418240", why="memory-of-all"),
    breaks(*SERVICE, "spec.serveConfigV2", KUBERNETES.read_text().replace("num_cpus: 0.1", "num_cpus: 0"), "Controller reserves no CPU: Serve may put it on the head", why="controller-on-the-head"),
    breaks(*SERVICE, f"{CPU}.minReplicas", 1, "2 gateways, one on a node", why="gateways"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.num-cpus", "1", "need 4.1 CPU", why="cpus"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_capacity, changed(development, *change), fault, project)


def test_a_replica_that_no_gpu_worker_has_room_for_is_caught(
    production: Sequence[Manifest], project: Project
) -> None:
    path = f"{CLUSTER}.workerGroupSpecs.1.rayStartParams.num-gpus"
    broken = changed(production, *SERVICE, path, "0")

    faults = list(map(str, check_capacity(broken, project)))

    assert len(faults) == 1
    assert "digits needs 0.5 CPU, 0.25 GPU" in faults[0]
