"""Pods may do what they need, and no secret is written out."""

from collections.abc import Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.safety import check_safety
from tests.kuberay.breaking import (
    CLUSTER,
    CONTAINER,
    CPU,
    CPU_CONTAINER,
    GONE,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

BROKEN = [
    breaks("Namespace", "rayfleet", "metadata.labels", {}, "should be restricted", why="namespace"),
    breaks(*SERVICE, f"{CPU}.template.spec.securityContext.runAsNonRoot", False, "runAsNonRoot", why="root"),
    breaks(*SERVICE, f"{CPU}.template.spec.securityContext.seccompProfile", GONE, "seccompProfile", why="seccomp"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.securityContext.readOnlyRootFilesystem", False, "readOnlyRootFilesystem", why="writable"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.securityContext.allowPrivilegeEscalation", GONE, "allowPrivilegeEscalation", why="escalation"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.securityContext.capabilities.drop", ["NET_RAW"], "drop ALL", why="capabilities"),
    breaks(*SERVICE, f"{CLUSTER}.autoscalerOptions.securityContext", GONE, "autoscaler", why="autoscaler"),
    breaks(*SERVICE, f"{CPU}.template.spec.hostNetwork", True, "hostNetwork", why="network-of-the-node"),
    breaks(*SERVICE, f"{CPU}.template.spec.hostPID", True, "hostPID", why="processes-of-the-node"),
    breaks("Deployment", "mlflow", "spec.template.spec.hostIPC", True, "hostIPC", why="memory-of-the-node"),
    breaks(*SERVICE, f"{CPU}.template.spec.volumes.0", {"name": "tmp", "hostPath": {"path": "/"}}, "volume 'tmp': hostPath", why="disk-of-the-node"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.ports.1.hostPort", 8080, "hostPort 8080", why="port-of-the-node"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.securityContext.capabilities.add", ["SYS_ADMIN"], "add none", why="added-capability"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.securityContext.runAsUser", 0, "securityContext: root", why="root-in-one-container"),
    breaks(*SERVICE, f"{CLUSTER}.autoscalerOptions.volumeMounts", [], "autoscaler: /tmp needs a volume", why="tmp-of-the-autoscaler"),
    breaks("StatefulSet", "s3", "spec.template.spec.initContainers.0.securityContext.privileged", True, "privileged", why="privileged"),
    breaks(*SERVICE, f"{CPU}.template.spec.automountServiceAccountToken", GONE, "automountServiceAccountToken", why="token"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.1", {"name": "POSTGRES_PASSWORD", "value": "x"}, "is written out", why="secret"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.2.value", "postgresql://me:pw@postgres/x", "a password is written out", why="password-in-an-address"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.args.3", "--backend-store-uri=postgresql://a:b@postgres/x", "args", why="password-in-arguments"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.volumeMounts.0.readOnly", True, "/tmp needs a volume", why="tmp"),
    breaks("Role", "fleet-autoscaler", "rules.0.verbs", ["*"], "verbs", why="all-verbs"),
    breaks("Role", "fleet-autoscaler", "rules.0.resources", ["secrets"], "secrets", why="reads-secrets"),
    breaks("ConfigMap", "postgres-databases", "kind", "Secret", "no place", why="secret-object"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_safety, changed(development, *change), fault, project)
