"""Selectors fit pods, and ports are their pods'."""

from collections.abc import Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.selectors import check_selectors
from tests.kuberay.breaking import (
    CPU,
    CPU_CONTAINER,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

BROKEN = [
    breaks("Service", "mlflow", "spec.selector", {"app": "mlflow"}, "fits no pod", why="selector"),
    breaks("Service", "mlflow", "spec.ports.0.targetPort", "web", "has no such port", why="target-port"),
    breaks("Deployment", "mlflow", "spec.template.metadata.labels", {"app": "x"}, "does not fit its own pods", why="own-pods"),
    breaks("PodDisruptionBudget", "fleet-gateways", "spec.selector.matchLabels", {"a": "b"}, "fits no pod", why="budget"),
    breaks("NetworkPolicy", "mlflow", "spec.podSelector.matchLabels", {"a": "b"}, "fits no pod", why="policy"),
    breaks("NetworkPolicy", "redis", "spec.ingress.0.from.0.podSelector.matchLabels", {"a": "b"}, "fits no pod", why="peer"),
    breaks(*SERVICE, f"{CPU}.template.spec.topologySpreadConstraints.0.labelSelector.matchLabels", {"a": "b"}, "topologySpreadConstraints", why="spread"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.readinessProbe.httpGet.port", "http", "port 'http'", why="port-of-a-probe"),
    breaks("Service", "fleet-grpc", "spec.selector", {"ray.io/serve": "yes"}, "fits no pod", why="kuberay's-label"),
    breaks("Service", "fleet-grpc", "spec.publishNotReadyAddresses", True, "closed doors", why="not-ready"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_selectors, changed(development, *change), fault, project)
