"""What an object names is there."""

from collections.abc import Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.references import check_references
from tests.kuberay.breaking import (
    CLUSTER,
    CONTAINER,
    CPU,
    CPU_CONTAINER,
    SERVICE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

UNKNOWN_SECRET = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "nobody", "key": "a"}}}
UNKNOWN_KEY = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "passwd"}}}
UNKNOWN_CONFIG = {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "nobody", "key": "a"}}}

BROKEN = [
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.0", UNKNOWN_SECRET, "Secret 'nobody'", why="secret"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.0", UNKNOWN_KEY, "no key 'passwd'", why="key"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.0", UNKNOWN_CONFIG, "ConfigMap 'nobody'", why="config-map"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.1.name", "PASSWORD", "$(POSTGRES_PASSWORD) is not set", why="variable"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.env.0.name", "PASSWORD", "$(POSTGRES_PASSWORD)", why="variable-of-a-store"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.env.0.name", "PASSWORD", "$(REDIS_PASSWORD): there is no such variable", why="variable-of-arguments"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.envFrom", [{"secretRef": {"name": "nobody"}}], "Secret 'nobody': nothing makes it", why="secret-environment"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.envFrom", [{"configMapRef": {"name": "a"}}], "ConfigMap 'a'", why="environment"),
    breaks(*SERVICE, f"{CLUSTER}.authOptions.secretName", "token", "Secret 'token'", why="ray's-token"),
    breaks(*SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisPassword.valueFrom.secretKeyRef.key", "pw", "no key 'pw'", why="redis-password"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.volumeMounts.0.name", "temp", "volume 'temp'", why="volume"),
    breaks(*SERVICE, f"{CLUSTER}.autoscalerOptions.volumeMounts.0.name", "temp", "container autoscaler: volume 'temp'", why="volume-of-the-autoscaler"),
    breaks("StatefulSet", "postgres", "spec.template.spec.volumes.2.configMap.name", "sql", "ConfigMap 'sql': there is no such", why="mounted-config-map"),
    breaks("StatefulSet", "postgres", "spec.template.spec.volumes.2.configMap.items", [{"key": "tables.sql", "path": "a"}], "no key 'tables.sql'", why="key-of-a-mounted-config-map"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.0", {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "postgres-databases", "key": "a"}}}, "no key 'a'", why="key-of-a-config-map"),
    breaks("StatefulSet", "postgres", "spec.template.spec.volumes.2", {"name": "databases", "secret": {"secretName": "nobody"}}, "Secret 'nobody'", why="mounted-secret"),
    breaks("StatefulSet", "postgres", "spec.template.spec.volumes.2", {"name": "databases", "secret": {"secretName": "postgres", "items": [{"key": "pw", "path": "a"}]}}, "no key 'pw'", why="key-of-a-mounted-secret"),
    breaks("RayJob", "sweep", "spec.rayClusterSpec.headGroupSpec.template.spec.volumes.3.persistentVolumeClaim.claimName", "state", "'state'", why="claim"),
    breaks(*SERVICE, f"{CPU}.template.spec.serviceAccountName", "default", "no such account", why="account"),
    breaks("RoleBinding", "fleet-autoscaler", "roleRef.name", "scaler", "no such role", why="role"),
    breaks("RoleBinding", "fleet-autoscaler", "subjects.0.name", "head", "no such account", why="subject"),
    breaks("RayJob", "wine-on-workbench", "spec.clusterSelector", {"ray.io/cluster": "bench"}, "there is no RayCluster 'bench'", why="cluster-of-a-job"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_references, changed(development, *change), fault, project)
