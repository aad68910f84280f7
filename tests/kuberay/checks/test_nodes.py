"""Ray's nodes find each other and are scheduled as meant."""

from collections.abc import Sequence

import pytest

from kuberay.checks.nodes import check_nodes
from kuberay.checks.objects import Manifest
from kuberay.checks.project import REPOSITORY, Project
from tests.kuberay.breaking import (
    CLUSTER,
    CPU,
    CPU_CONTAINER,
    GONE,
    HEAD,
    HEAD_CONTAINER,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

HARD = "0.template.spec.topologySpreadConstraints.2"
"""The constraint of production's workers that makes them wait."""

BROKEN = [
    breaks(*SERVICE, f"{HEAD}.rayStartParams.port", "6380", "port gcs-server is 6379, Ray's port is 6380", why="port-of-the-head"),
    breaks(*SERVICE, f"{HEAD}.rayStartParams.dashboard-port", "8266", "Ray's dashboard-port is 8266", why="port-of-the-dashboard"),
    breaks(*SERVICE, f"{HEAD}.rayStartParams.include-dashboard", "false", "include-dashboard", why="no-dashboard"),
    breaks(*SERVICE, f"{HEAD_CONTAINER}.ports.0.containerPort", 6380, "port gcs-server is 6380", why="port-of-the-gcs"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.2.name", "RAYFLEET_STOR", "RAYFLEET_STORE is not set", why="variable-of-the-fleet"),
    breaks("RayJob", "sweep", "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.env.1.name", "MLFLOW_TRACKING", "MLFLOW_TRACKING_URI is not set", why="variable-of-a-sweep"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.16.value", "text", "RAYFLEET_LOG_FORMAT 'text': should be json", why="logs-for-people"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.11.value", "6", "workers would not wait", why="impatient-workers"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.10.value", "deployments.gateway.serve_dor:middlewares", "there is no deployments.gateway.serve_dor", why="callback"),
    breaks(*SERVICE, f"{HEAD}.rayStartParams.object-store-memory", "10000000", "Ray needs 75Mi", why="small-object-store"),
    breaks(*SERVICE, f"{CPU}.template.spec.volumes.0.emptyDir.sizeLimit", "10Mi", "would be evicted", why="small-tmp"),
    breaks(*SERVICE, f"{CPU}.template.spec.securityContext.runAsUser", 2000, "runAsUser should be 1000", why="user"),
    breaks(*SERVICE, f"{CPU}.template.spec.topologySpreadConstraints.0.topologyKey", "kubernetes.io/hostnam", "topologyKey kubernetes.io/hostnam", why="topology"),
    breaks(*SERVICE, f"{CPU}.template.spec.topologySpreadConstraints.0.matchLabelKeys", ["ray.io/clustr"], "no pod has the label ray.io/clustr", why="label-of-the-spread"),
    breaks(*SERVICE, f"{CPU}.template.spec.topologySpreadConstraints", GONE, "none over kubernetes.io/hostname", why="no-spread"),
    breaks(*SERVICE, f"{CPU}.template.spec.restartPolicy", "Always", "autoscaler v2 needs Never", why="restarts"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.readinessProbe.httpGet.scheme", "HTTPS", "scheme should be HTTP", why="tls-of-a-probe"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.readinessProbe.periodSeconds", 300, "periodSeconds 300", why="rare-probe"),
    breaks(*SERVICE, f"{HEAD_CONTAINER}.livenessProbe.failureThreshold", 1, "one slow answer", why="strict-probe"),
    breaks(*SERVICE, f"{CPU}.replicas", 1, "minReplicas 2, replicas 1", why="replicas"),
    breaks(*SERVICE, f"{CLUSTER}.autoscalerOptions.version", "v1", "should be v2", why="autoscaler"),
    breaks(*SERVICE, f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds", 0, "would come and go", why="idle"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_nodes, changed(development, *change), fault, project)


def test_a_group_with_gpus_tolerates_their_taint(
    production: Sequence[Manifest], project: Project
) -> None:
    path = f"{CLUSTER}.workerGroupSpecs.1.template.spec.tolerations.0.key"
    broken = changed(production, *SERVICE, path, "nvidia.com/gp")

    (fault,) = map(str, check_nodes(broken, project))
    assert "wear the taint nvidia.com/gpu" in fault


def test_two_groups_of_one_name_are_caught(
    production: Sequence[Manifest], project: Project
) -> None:
    broken = changed(production, *SERVICE, f"{CLUSTER}.workerGroupSpecs.1.groupName", "cpu")

    assert "groupName 'cpu' stands twice" in " ".join(map(str, check_nodes(broken, project)))


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        pytest.param("1.minReplicas", 1, "GPUs would be paid for", id="gpu-that-always-runs"),
        pytest.param(f"{HARD}.maxSkew", 4, "one node may have all 4", id="all-on-one-node"),
        pytest.param(f"{HARD}.maxSkew", 1, "would hold all others", id="small-node-counts"),
    ],
)
def test_a_broken_copy_of_production_is_caught(
    path: str, value: int, fault: str, production: Sequence[Manifest], project: Project
) -> None:
    group = f"{CLUSTER}.workerGroupSpecs"
    broken = changed(production, *SERVICE, f"{group}.1.replicas", 1)

    assert_caught(check_nodes, changed(broken, *SERVICE, f"{group}.{path}", value), fault, project)


def test_gateways_that_one_node_may_have_all_of_are_caught(
    production: Sequence[Manifest], project: Project
) -> None:
    config = (REPOSITORY / "configs" / "production.yaml").read_text()
    fewer = config.replace("num_replicas: 4", "num_replicas: 3")
    broken = changed(production, *SERVICE, "spec.serveConfigV2", fewer)

    assert fewer != config
    assert_caught(check_nodes, broken, "one node may have all 3 gateways", project)
