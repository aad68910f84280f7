"""Images and Ray name one version, that of the lock file."""

from collections.abc import Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.versions import check_versions
from tests.kuberay.breaking import (
    CLUSTER,
    CONTAINER,
    CPU_CONTAINER,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

BROKEN = [
    breaks(*SERVICE, f"{CLUSTER}.rayVersion", "2.59.0", "rayVersion '2.59.0'", why="ray"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.image", "r/rayfleet:0.1.0-ray2.59.0", "tag should be", why="tag"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.image", "r/rayfleet", "tag should be", why="no-tag"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.image", "redis:latest", "name one version", why="latest"),
    breaks("RayJob", "sweep", "spec.rayClusterSpec.rayVersion", "2.59.0", "rayVersion", why="ray-of-a-job"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_versions, changed(development, *change), fault, project)
