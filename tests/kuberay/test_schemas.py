"""Objects against the schemas of Kubernetes, KubeRay and the operators beside it."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from kuberay.checks.objects import Manifest
from kuberay.checks.schemas import VARIABLE, Schemas, check_schemas, read_schemas, schema_folder
from tests.kuberay.breaking import changed

RAY = ("RayService", "fleet")


@pytest.fixture(scope="module")
def kuberay() -> Schemas:
    folder = schema_folder()
    if folder is None:
        pytest.skip(f"KubeRay's schemas are missing: {VARIABLE} names their folder")
    return read_schemas(folder)


@pytest.mark.ray
def test_every_object_is_valid(
    installations: Mapping[str, Sequence[Manifest]], kuberay: Schemas
) -> None:
    faults = {
        name: list(map(str, check_schemas(objects, kuberay)))
        for name, objects in installations.items()
    }

    assert faults == {name: [] for name in installations}


@pytest.mark.ray
@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        pytest.param(*RAY, "spec.rayClusterConfig.headGroupSpec.templates", {}, id="unknown-field"),
        pytest.param(
            *RAY,
            "spec.rayClusterConfig.headGroupSpec.rayStartParams.num-cpus",
            0,
            id="number-for-text",
        ),
        pytest.param(*RAY, "spec.rayClusterConfig.autoscalerOptions.version", "v3", id="choice"),
        pytest.param(
            *RAY,
            "spec.rayClusterConfig.workerGroupSpecs.0.template.spec.container",
            [],
            id="unknown-field-of-a-pod",
        ),
        pytest.param(
            *RAY,
            "spec.rayClusterConfig.workerGroupSpecs.0.groupName",
            None,
            id="null-for-a-required-field",
        ),
        pytest.param("RayJob", "sweep", "spec.entryPoint", "x", id="unknown-field-of-a-job"),
    ],
)
def test_kuberays_schemas_refuse_a_broken_copy_as_its_own_tool_does(
    kind: str, name: str, path: str, value: Any,
    development: Sequence[Manifest], kuberay: Schemas, tmp_path: Path,
) -> None:  # fmt: skip
    broken = [
        each for each in changed(development, kind, name, path, value) if each["kind"] == kind
    ]

    faults = list(map(str, check_schemas(broken, kuberay)))

    assert len(faults) == 1
    assert faults[0].startswith(f"{kind}/{name}")
    assert tool_refuses(broken, tmp_path)


def tool_refuses(objects: Sequence[Manifest], folder: Path) -> bool:
    """Ask the other validator of the same schemas, where it stands beside them."""
    schemas = schema_folder()
    tool = (schemas or folder).parent / "tools" / "validate_kuberay.py"
    if not tool.exists():
        return True
    path = folder / "objects.yaml"
    path.write_text(yaml.safe_dump_all(json.loads(json.dumps(objects))))
    return subprocess.run([sys.executable, tool, path], check=False).returncode == 1


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        pytest.param(
            "Deployment", "mlflow", "spec.template.spec.container", [], id="unknown-field"
        ),
        pytest.param("Deployment", "mlflow", "spec.replicas", "one", id="text-for-number"),
        pytest.param(
            "NetworkPolicy", "names", "spec.egress.0.ports.0.protocols", "UDP", id="policy"
        ),
        pytest.param(
            "PodDisruptionBudget", "fleet-gateways", "apiVersion", "policy/v0", id="api-version"
        ),
    ],
)
def test_kubernetes_schemas_refuse_a_broken_copy(
    kind: str, name: str, path: str, value: Any, development: Sequence[Manifest]
) -> None:
    broken = [
        each for each in changed(development, kind, name, path, value) if each["kind"] == kind
    ]

    faults = list(map(str, check_schemas(broken, {})))

    assert len(faults) == 1
    assert faults[0].startswith(f"{kind}/{name}")


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        pytest.param("Gateway", "clients", "spec.listeners.0.port", 0, id="port"),
        pytest.param("Gateway", "clients", "spec.listener", [], id="unknown-field"),
        pytest.param(
            "HTTPRoute", "fleet", "spec.rules.0.timeouts.request", "35", id="duration-without-unit"
        ),
        pytest.param(
            "HTTPRoute",
            "fleet",
            "spec.rules.0.matches.0.path.type",
            "Prefix",
            id="type-of-an-ingress",
        ),
        pytest.param("ScrapeConfig", "fleet", "spec.job", "x", id="unknown-field-of-scraping"),
        pytest.param(
            "PodMonitor", "ray", "spec.podMetricsEndpoints.0.interval", "5", id="bare-interval"
        ),
        pytest.param("PrometheusRule", "fleet", "spec.groups", [], id="no-rules"),
    ],
)
def test_kinds_that_no_package_carries_refuse_a_broken_copy(
    kind: str, name: str, path: str, value: Any, production: Sequence[Manifest]
) -> None:
    broken = [each for each in changed(production, kind, name, path, value) if each["kind"] == kind]

    assert len(list(check_schemas(broken, {}))) == 1
