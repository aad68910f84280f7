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
    breaks("StatefulSet", "redis", f"{CONTAINER}.image", "redis", "name one version", why="no-version"),
    breaks("RayJob", "sweep", "spec.rayClusterSpec.rayVersion", "2.59.0", "rayVersion", why="ray-of-a-job"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_versions, changed(development, *change), fault, project)


def test_a_digest_names_one_version_of_another_s_image_but_not_ours(
    development: Sequence[Manifest], project: Project
) -> None:
    digest = f"@sha256:{'0' * 64}"
    path = f"{CONTAINER}.image"
    theirs = changed(development, "StatefulSet", "redis", path, f"redis{digest}")
    moving = changed(development, "StatefulSet", "redis", path, f"redis:latest{digest}")
    ours = changed(development, "Deployment", "mlflow", path, f"r/rayfleet{digest}")

    assert list(check_versions(theirs, project)) == []
    assert list(check_versions(moving, project)) == []
    assert len(list(check_versions(ours, project))) == 1
