"""What holds for all checks: the manifests pass, and malformed objects are faults."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from kuberay.checks.__main__ import CHECKS, Check, faults_of
from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from tests.kuberay.breaking import CPU_CONTAINER, GONE, SERVICE, changed


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_manifests_have_no_fault(
    check: Check, installations: Mapping[str, Sequence[Manifest]], project: Project
) -> None:
    faults = {
        name: list(map(str, check(objects, project))) for name, objects in installations.items()
    }

    assert faults == {name: [] for name in installations}


def test_every_check_has_its_broken_copies() -> None:
    modules = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}

    assert {check.__name__.removeprefix("check_") for check in CHECKS} <= modules


def test_a_quantity_that_is_none_is_named(
    development: Sequence[Manifest], project: Project
) -> None:
    broken = changed(development, *SERVICE, f"{CPU_CONTAINER}.resources.limits.memory", "16GB")

    assert "'16GB' is no quantity" in " ".join(map(str, faults_of(broken, project)))


def test_an_object_without_its_kinds_form_is_a_fault_and_no_traceback(
    development: Sequence[Manifest], project: Project
) -> None:
    broken = changed(development, "NetworkPolicy", "names", "spec.podSelector", GONE)

    faults = list(map(str, faults_of(broken, project)))

    assert [each for each in faults if "check_networks: stops at KeyError('podSelector')" in each]
