"""Jobs run what is in the project, and end."""

from collections.abc import Sequence

import pytest

from kuberay.checks.jobs import check_jobs
from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from tests.kuberay.breaking import Change, assert_caught, breaks, broken_copies, changed

BROKEN = [
    breaks("RayJob", "sweep", "spec.entrypoint", "python -m tuning configs/sweeps/breast-cancr.yaml", "there is no configs/sweeps/breast-cancr.yaml", why="config"),
    breaks("RayJob", "sweep", "spec.entrypoint", "python -m tunning configs/sweeps/wine.yaml", "there is no module tunning", why="module"),
    breaks("RayJob", "sweep", "spec.shutdownAfterJobFinishes", False, "would stay, and be paid for", why="cluster-left-behind"),
    breaks("RayJob", "sweep", "spec.suspend", True, "would never run", why="suspended"),
    breaks("RayJob", "wine-on-workbench", "spec.submitterPodTemplate.spec.containers.0.env.1.value", "none", "should be token", why="mode-of-a-submitter"),
    breaks("RayJob", "wine-on-workbench", "spec.submitterPodTemplate.spec.containers.0.env.2.valueFrom.secretKeyRef", {"name": "redis", "key": "password"}, "of Secret ray-auth-token", why="token-of-a-submitter"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_jobs, changed(development, *change), fault, project)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        pytest.param("spec.schedule", "30 25 * * *", "should be five fields of cron", id="hour"),
        pytest.param("spec.schedule", "30 2 * *", "should be five fields of cron", id="fields"),
        pytest.param("spec.timeZone", "Etc/UCT2", "there is no such zone", id="zone"),
        pytest.param(
            "spec.jobTemplate.entrypoint",
            "python -m tuning configs/sweeps/wine.yaml",
            "without --restart",
            id="restart",
        ),
    ],
)
def test_a_broken_schedule_is_caught(
    path: str, value: str, fault: str, production: Sequence[Manifest], project: Project
) -> None:
    broken = changed(production, "RayCronJob", "breast-cancer-nightly", path, value)

    assert [each for each in map(str, check_jobs(broken, project)) if fault in each]


def test_a_module_that_is_no_package_is_there_too(
    development: Sequence[Manifest], project: Project
) -> None:
    path = "spec.entrypoint"
    entrypoint = "python -m deployments.leaving && python -m deployments.doctor"

    assert (
        list(check_jobs(changed(development, "RayJob", "sweep", path, entrypoint), project)) == []
    )
