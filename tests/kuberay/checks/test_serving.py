"""Gateways are asked, drained and budgeted as they need it."""

from collections.abc import Mapping, Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import REPOSITORY, Project
from kuberay.checks.serving import check_serving
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

KUBERNETES = REPOSITORY / "configs" / "kubernetes.yaml"

BROKEN = [
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.6.value", "0", "RAY_SERVE_ENABLE_HA_PROXY", why="haproxy"),
    breaks(*SERVICE, "spec.serveConfigV2", KUBERNETES.read_text().replace("format: json", "format: text"), "logs.format 'text': should be json", why="logs-for-people"),
    breaks(*SERVICE, f"{HEAD_CONTAINER}.env.12.value", "30", "RAY_SERVE_SLOW_STARTUP_WARNING_S", why="impatient head"),
    breaks(*SERVICE, f"{HEAD_CONTAINER}.env.7", {"name": "A", "value": "b"}, "RAY_SERVE_THROUGHPUT_OPTIMIZED", why="throughput"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.3.value", "http://other:5000", "MLFLOW_TRACKING_URI is not the same", why="environment"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.readinessProbe.httpGet.path", "/health/ready", "nothing answers there", why="path"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.readinessProbe.httpGet", {"path": "/api/healthz", "port": 52365}, "should ask /-/healthz", why="not-the-gateway"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.livenessProbe.httpGet.port", 8265, "is not at port 8265", why="port"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.readinessProbe", GONE, "readinessProbe is missing", why="no-probe"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.livenessProbe", GONE, "livenessProbe is missing", why="no-liveness"),
    breaks(*SERVICE, "spec.serveConfigV2", KUBERNETES.read_text().replace("express: {host: 0.0.0.0", "express: {host: 127.0.0.1"), "express.host should be 0.0.0.0", why="express-on-loopback"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.metrics-export-port", "8091", "port metrics is 8090, Ray's metrics-export-port 8091", why="metrics-port"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.ports.1.containerPort", 8000, "port named serve is 8000", why="serve-port"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.ports.2.containerPort", 8002, "port named grpc is 8002, the gateways' is 8001", why="grpc-port"),
    breaks(*SERVICE, "spec.serveConfigV2", KUBERNETES.read_text().replace("num_replicas: 2\n        max", "num_replicas: 1\n        max"), "Gateway: two replicas at least", why="one-gateway"),
    breaks(*SERVICE, "spec.serveConfigV2", KUBERNETES.read_text().replace("max_replicas_per_node: 1", "max_replicas_per_node: 2"), "one on a node", why="gateways-of-one-node"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.ports.2.containerPort", 8080, "declared twice", why="port-twice"),
    breaks(*SERVICE, f"{CPU}.rayStartParams.metrics-export-port", GONE, "metrics-export-port 8080 is also", why="kuberay's-metrics-port"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.lifecycle", GONE, "without a drain", why="no-drain"),
    breaks(*SERVICE, f"{CPU}.template.spec.terminationGracePeriodSeconds", 30, "ends before preStop", why="grace"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.13.value", "60", "Ray's 60 s", why="grace-for-both"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.lifecycle.preStop.exec.command.4", "20", "a gateway needs 75 s", why="short-drain"),
    breaks(*SERVICE, "spec.rayClusterDeletionDelaySeconds", 10, "is shorter than 75", why="old-cluster"),
    breaks(*SERVICE, "spec.excludeHeadPodFromServeSvc", GONE, "excludeHeadPodFromServeSvc", why="head"),
    breaks(*SERVICE, "spec.upgradeStrategy.type", "None", "rolled out", why="upgrade"),
    breaks(*SERVICE, f"{CLUSTER}.authOptions", GONE, "without mode token", why="open-api"),
    breaks(*SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions", GONE, "a dead head", why="gcs"),
    breaks(*SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.externalStorageNamespace", "fleet", "share their state", why="shared-namespace"),
    breaks(*SERVICE, f"{HEAD}.rayStartParams.num-cpus", "2", "should be 0", why="cpus-of-the-head"),
    breaks(*SERVICE, f"{HEAD}.rayStartParams.dashboard-host", "127.0.0.1", "dashboard-host '127.0.0.1' should be 0.0.0.0", why="dashboard"),
    breaks("RayCluster", "workbench", "spec.authOptions.mode", "disabled", "mode token", why="open-workbench"),
    breaks("PodDisruptionBudget", "fleet-gateways", "spec.minAvailable", 2, "should be a number from 1 to 1", why="budget"),
    breaks("PodDisruptionBudget", "fleet-gateways", "spec.minAvailable", "50%", "should be a number", why="budget-in-percent"),
    breaks("PodDisruptionBudget", "fleet-gateways", "spec.unhealthyPodEvictionPolicy", GONE, "AlwaysAllow", why="budget-that-blocks"),
    breaks("PodDisruptionBudget", "fleet-gateways", "spec.selector.matchLabels", {"a": "b"}, "no PodDisruptionBudget", why="no-budget"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_serving, changed(development, *change), fault, project)


def test_a_plain_upgrade_needs_no_autoscaler_but_an_incremental_one_does(
    installations: Mapping[str, Sequence[Manifest]], project: Project
) -> None:
    path = f"{CLUSTER}.enableInTreeAutoscaling"
    kinds = {
        name: list(check_serving(changed(installations[name], *SERVICE, path, False), project))
        for name in ("production", "incremental")
    }

    assert kinds["production"] == []
    assert len(kinds["incremental"]) == 1


def test_a_job_is_no_submitter_for_being_called_so(
    development: Sequence[Manifest], project: Project
) -> None:
    head = "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0"
    renamed = changed(development, "RayJob", "sweep", "metadata.name", "submitter")

    broken = changed(renamed, "RayJob", "submitter", f"{head}.readinessProbe", GONE)

    assert_caught(check_serving, broken, "headgroup, container ray-head: readinessProbe", project)
