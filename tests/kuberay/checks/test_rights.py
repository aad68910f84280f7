"""Accounts may do what they need and nothing else."""

from collections.abc import Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.references import check_references
from kuberay.checks.rights import check_rights
from tests.kuberay.breaking import (
    HEAD,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

BROKEN = [
    breaks("Role", "fleet-autoscaler", "rules.0.verbs", ["get", "list", "watch"], "may not patch pods", why="verb"),
    breaks("Role", "fleet-autoscaler", "rules.1.verbs", ["get"], "may not patch rayclusters", why="verb-of-a-cluster"),
    breaks("Role", "fleet-autoscaler", "rules.1.apiGroups", [""], "may not get, patch rayclusters", why="group"),
    breaks("Role", "fleet-autoscaler", "rules.0.verbs.4", "delete", "may delete pods, which nothing", why="verb-too-many"),
    breaks("Role", "fleet-autoscaler", "rules.0.resources.1", "configmaps", "configmaps, which nothing", why="resource-too-many"),
    breaks("RoleBinding", "fleet-autoscaler", "subjects", [], "may not get, list, patch, watch pods", why="nobody-bound"),
    breaks("RoleBinding", "fleet-autoscaler", "subjects.0.name", "fleet-worker", "'fleet-worker' may get, list, patch, watch pods", why="somebody-else-bound"),
    breaks("RoleBinding", "fleet-autoscaler", "roleRef.name", "sweep-runner", "may create, delete, get", why="another-role"),
    breaks(*SERVICE, f"{HEAD}.template.spec.serviceAccountName", "fleet-worker", "'fleet-worker' may not get", why="account-of-the-head"),
    breaks("ServiceAccount", "fleet-head", "automountServiceAccountToken", False, "needs the token", why="no-token"),
    breaks("RoleBinding", "fleet-autoscaler", "subjects.0.namespace", "default", "may not get, list, patch, watch pods", why="account-of-another-namespace"),
    breaks("Role", "sweep-runner", "rules.0.resources.0", "rayjob", "'rayjob' of 'ray.io': nobody here needs it", why="singular"),
    breaks("Role", "sweep-runner", "rules.2.resources.3", "pods/exec", "'pods/exec' of 'the core group'", why="shell"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_rights, changed(development, *change), fault, project)


def bound(account: str, role: str) -> Manifest:
    """A right in all namespaces."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "wide"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": "rayfleet"}],
    }


WIDE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "wide"},
    "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]},
    ],
}


def test_a_right_in_all_namespaces_counts_too(
    development: Sequence[Manifest], project: Project
) -> None:
    wide = [*development, WIDE, bound("fleet-worker", "wide")]

    assert_caught(check_rights, wide, "'fleet-worker' may delete, get pods", project)


def test_a_role_of_the_cluster_s_own_is_none_of_ours(
    development: Sequence[Manifest], project: Project
) -> None:
    wide = [*development, bound("fleet-head", "cluster-admin")]

    assert_caught(check_references, wide, "'cluster-admin': there is no such role", project)
