"""What holds for all checks: the manifests pass, and malformed objects are faults."""

import importlib
from collections.abc import Mapping, Sequence

import pytest

from kuberay.checks.__main__ import CHECKS, Check, faults_of
from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from tests.kuberay.breaking import CPU_CONTAINER, GONE, SERVICE, Change, changed


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_manifests_have_no_fault(
    check: Check, installations: Mapping[str, Sequence[Manifest]], project: Project
) -> None:
    faults = {
        name: list(map(str, check(objects, project))) for name, objects in installations.items()
    }

    assert faults == {name: [] for name in installations}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_check_has_its_broken_copies(check: Check) -> None:
    name = check.__name__.removeprefix("check_")

    module = importlib.import_module(f"tests.kuberay.checks.test_{name}")

    assert vars(module)[check.__name__] is check
    assert module.BROKEN
    assert all(fault for _, fault in (case.values for case in module.BROKEN))
    # What runs them all, in each of these modules.
    (marked,) = (
        mark
        for mark in module.test_a_broken_copy_is_caught.pytestmark
        if mark.name == "parametrize"
    )
    assert marked.args[1] is module.BROKEN


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


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param(
            ("Deployment", "mlflow", "spec.template.spec.containers", []),
            "IndexError",
            id="no-container",
        ),
        pytest.param(
            (*SERVICE, "spec.serveConfigV2", "applications: []"), "IndexError", id="no-application"
        ),
        pytest.param(
            (*SERVICE, "spec.serveConfigV2", "applications: [{"), "ParserError", id="no-yaml"
        ),
        pytest.param(
            ("StatefulSet", "s3", "spec.template.spec.containers.0.args", ["serve", "s3"]),
            "IndexError",
            id="no-folder-to-serve",
        ),
    ],
)
def test_what_cannot_be_read_is_a_fault_and_no_traceback(
    change: Change, error: str, development: Sequence[Manifest], project: Project
) -> None:
    faults = list(map(str, faults_of(changed(development, *change), project)))

    assert [each for each in faults if f"stops at {error}" in each]
