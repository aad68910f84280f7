"""Every check accepts the manifests, and finds the one thing that a broken copy of them has wrong."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from kuberay.checks.__main__ import CHECKS, Check, faults_of
from kuberay.checks.capacity import check_capacity
from kuberay.checks.embedded import check_embedded
from kuberay.checks.jobs import check_jobs
from kuberay.checks.monitoring import check_monitoring
from kuberay.checks.networks import check_networks
from kuberay.checks.nodes import check_nodes
from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.references import check_references
from kuberay.checks.resources import check_resources
from kuberay.checks.rights import check_rights
from kuberay.checks.routes import check_routes
from kuberay.checks.safety import check_safety
from kuberay.checks.selectors import check_selectors
from kuberay.checks.servers import check_servers
from kuberay.checks.serving import check_serving
from kuberay.checks.stores import check_stores
from kuberay.checks.versions import check_versions
from tests.kuberay.breaking import GONE, changed

CLUSTER = "spec.rayClusterConfig"
HEAD = f"{CLUSTER}.headGroupSpec"
HEAD_CONTAINER = f"{HEAD}.template.spec.containers.0"
CPU = f"{CLUSTER}.workerGroupSpecs.0"
CPU_CONTAINER = f"{CPU}.template.spec.containers.0"
MLFLOW = "spec.template.spec.containers.0"
"""Paths in the objects that are broken."""

UNKNOWN_SECRET = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "nobody", "key": "a"}}}
UNKNOWN_KEY = {"name": "X", "valueFrom": {"secretKeyRef": {"name": "redis", "key": "passwd"}}}
UNKNOWN_CONFIG = {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "nobody", "key": "a"}}}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_manifests_have_no_fault(
    check: Check, installations: Mapping[str, Sequence[Manifest]], project: Project
) -> None:
    faults = {
        name: list(map(str, check(objects, project))) for name, objects in installations.items()
    }

    assert faults == {name: [] for name in installations}


def breaks(
    check: Check, kind: str, name: str, path: str, value: Any, fault: str, *, why: str
) -> Any:
    return pytest.param(check, kind, name, path, value, fault, id=f"{check.__name__}: {why}")


SERVICE = ("RayService", "fleet")
BROKEN = [
    # Versions
    breaks(check_versions, *SERVICE, f"{CLUSTER}.rayVersion", "2.59.0", "rayVersion '2.59.0'", why="ray"),
    breaks(check_versions, *SERVICE, f"{CPU_CONTAINER}.image", "r/rayfleet:0.1.0-ray2.59.0", "tag should be", why="tag"),
    breaks(check_versions, "Deployment", "mlflow", f"{MLFLOW}.image", "r/rayfleet", "tag should be", why="no-tag"),
    breaks(check_versions, "StatefulSet", "redis", f"{MLFLOW}.image", "redis:latest", "name one version", why="latest"),
    breaks(check_versions, "RayJob", "sweep", "spec.rayClusterSpec.rayVersion", "2.59.0", "rayVersion", why="ray-of-a-job"),
    # References
    breaks(check_references, *SERVICE, f"{CPU_CONTAINER}.env.0", UNKNOWN_SECRET, "Secret 'nobody'", why="secret"),
    breaks(check_references, *SERVICE, f"{CPU_CONTAINER}.env.0", UNKNOWN_KEY, "no key 'passwd'", why="key"),
    breaks(check_references, *SERVICE, f"{CPU_CONTAINER}.env.0", UNKNOWN_CONFIG, "ConfigMap 'nobody'", why="config-map"),
    breaks(check_references, *SERVICE, f"{CPU_CONTAINER}.env.1.name", "PASSWORD", "$(POSTGRES_PASSWORD) is not set", why="variable"),
    breaks(check_references, "Deployment", "mlflow", f"{MLFLOW}.env.0.name", "PASSWORD", "$(POSTGRES_PASSWORD)", why="variable-of-arguments"),
    breaks(check_references, *SERVICE, f"{CPU_CONTAINER}.envFrom", [{"configMapRef": {"name": "a"}}], "ConfigMap 'a'", why="environment"),
    breaks(check_references, *SERVICE, f"{CLUSTER}.authOptions.secretName", "token", "Secret 'token'", why="ray's-token"),
    breaks(check_references, *SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisPassword.valueFrom.secretKeyRef.key", "pw", "no key 'pw'", why="redis-password"),
    breaks(check_references, *SERVICE, f"{CPU_CONTAINER}.volumeMounts.0.name", "temp", "volume 'temp'", why="volume"),
    breaks(check_references, "StatefulSet", "postgres", "spec.template.spec.volumes.2.configMap.name", "sql", "ConfigMap 'sql': there is no such", why="mounted-config-map"),
    breaks(check_references, "StatefulSet", "postgres", "spec.template.spec.volumes.2.configMap.items", [{"key": "tables.sql", "path": "a"}], "no key 'tables.sql'", why="key-of-a-mounted-config-map"),
    breaks(check_references, *SERVICE, f"{CPU_CONTAINER}.env.0", {"name": "X", "valueFrom": {"configMapKeyRef": {"name": "postgres-databases", "key": "a"}}}, "no key 'a'", why="key-of-a-config-map"),
    breaks(check_references, "StatefulSet", "postgres", "spec.template.spec.volumes.2", {"name": "databases", "secret": {"secretName": "nobody"}}, "Secret 'nobody'", why="mounted-secret"),
    breaks(check_references, "StatefulSet", "postgres", "spec.template.spec.volumes.2", {"name": "databases", "secret": {"secretName": "postgres", "items": [{"key": "pw", "path": "a"}]}}, "no key 'pw'", why="key-of-a-mounted-secret"),
    breaks(check_references, "RayJob", "sweep", "spec.rayClusterSpec.headGroupSpec.template.spec.volumes.3.persistentVolumeClaim.claimName", "state", "'state'", why="claim"),
    breaks(check_references, *SERVICE, f"{CPU}.template.spec.serviceAccountName", "default", "no such account", why="account"),
    breaks(check_references, "RoleBinding", "fleet-autoscaler", "roleRef.name", "scaler", "no such role", why="role"),
    breaks(check_references, "RoleBinding", "fleet-autoscaler", "subjects.0.name", "head", "no such account", why="subject"),
    breaks(check_references, "RayJob", "wine-on-workbench", "spec.clusterSelector", {"ray.io/cluster": "bench"}, "there is no RayCluster 'bench'", why="cluster-of-a-job"),
    breaks(check_selectors, "Service", "mlflow", "spec.selector", {"app": "mlflow"}, "fits no pod", why="selector"),
    breaks(check_selectors, "Service", "mlflow", "spec.ports.0.targetPort", "web", "has no such port", why="target-port"),
    breaks(check_selectors, "Deployment", "mlflow", "spec.template.metadata.labels", {"app": "x"}, "does not fit its own pods", why="own-pods"),
    breaks(check_selectors, "PodDisruptionBudget", "fleet-gateways", "spec.selector.matchLabels", {"a": "b"}, "fits no pod", why="budget"),
    breaks(check_selectors, "NetworkPolicy", "mlflow", "spec.podSelector.matchLabels", {"a": "b"}, "fits no pod", why="policy"),
    breaks(check_selectors, "NetworkPolicy", "redis", "spec.ingress.0.from.0.podSelector.matchLabels", {"a": "b"}, "fits no pod", why="peer"),
    breaks(check_selectors, *SERVICE, f"{CPU}.template.spec.topologySpreadConstraints.0.labelSelector.matchLabels", {"a": "b"}, "topologySpreadConstraints", why="spread"),
    breaks(check_selectors, *SERVICE, f"{CPU_CONTAINER}.readinessProbe.httpGet.port", "http", "port 'http'", why="port-of-a-probe"),
    breaks(check_routes, "Ingress", "fleet", "spec.rules.0.http.paths.0.backend.service.name", "fleet", "fleet:serve", why="backend"),
    breaks(check_routes, "Ingress", "fleet", "spec.rules.0.http.paths.0.backend.service.port.name", "http", ":http", why="port-of-a-backend"),
    breaks(check_routes, "Ingress", "fleet", "spec.tls.0.secretName", "tls", "Secret 'tls'", why="certificate"),
    breaks(check_routes, "Ingress", "fleet", "spec.tls.0.hosts", ["other.example.com"], "no certificate covers it", why="host"),
    breaks(check_routes, "Ingress", "fleet", "spec.rules.0.http.paths.0.path", "/v3", "no gateway answers there", why="path"),
    breaks(check_routes, *SERVICE, f"{HEAD_CONTAINER}.ports.4.name", "http", "no such Service", why="kuberay's-service"),
    breaks(check_selectors, "Service", "fleet-grpc", "spec.selector", {"ray.io/serve": "yes"}, "fits no pod", why="kuberay's-label"),
    breaks(check_selectors, "Service", "fleet-grpc", "spec.publishNotReadyAddresses", True, "closed doors", why="not-ready"),
    # Resources
    breaks(check_resources, *SERVICE, f"{CPU_CONTAINER}.resources.requests.cpu", "8", "request cpu=8 is over", why="request-over-limit"),
    breaks(check_resources, "Deployment", "mlflow", f"{MLFLOW}.resources.limits.memory", GONE, "memory needs", why="no-limit"),
    breaks(check_resources, *SERVICE, f"{CPU}.rayStartParams.num-cpus", "16", "num-cpus 16 is over", why="cpus"),
    breaks(check_resources, *SERVICE, f"{CPU}.rayStartParams.num-gpus", "1", "num-gpus 1 is not", why="gpus"),
    breaks(check_resources, *SERVICE, f"{CPU}.rayStartParams.memory", "99999999999", "over the limit", why="memory"),
    breaks(check_resources, *SERVICE, f"{CPU}.rayStartParams.object-store-memory", GONE, "left to a guess", why="object-store"),
    breaks(check_resources, *SERVICE, f"{CPU_CONTAINER}.resources.requests.memory", "1Gi", "up to its limit", why="memory-not-requested"),
    breaks(check_resources, *SERVICE, f"{CPU}.template.spec.volumes.2.emptyDir.sizeLimit", "64Mi", "/dev/shm should be", why="shared-memory"),
    breaks(check_resources, *SERVICE, f"{CLUSTER}.autoscalerOptions.resources.limits.cpu", "100m", "request cpu=500m", why="autoscaler"),
    breaks(check_resources, "RayJob", "sweep", "spec.rayClusterSpec.workerGroupSpecs.0.rayStartParams.num-cpus", "9", "num-cpus 9", why="cpus-of-a-job"),
    breaks(check_resources, "StatefulSet", "postgres", "spec.volumeClaimTemplates.0.spec.resources.requests.storage", "20", "storage 20 is below 1Gi", why="tiny-volume"),
    breaks(check_resources, "PersistentVolumeClaim", "sweeps", "spec.resources.requests.storage", "1Mi", "storage 1Mi is below", why="tiny-claim"),
    # Safety
    breaks(check_safety, "Namespace", "rayfleet", "metadata.labels", {}, "should be restricted", why="namespace"),
    breaks(check_safety, *SERVICE, f"{CPU}.template.spec.securityContext.runAsNonRoot", False, "runAsNonRoot", why="root"),
    breaks(check_safety, *SERVICE, f"{CPU}.template.spec.securityContext.seccompProfile", GONE, "seccompProfile", why="seccomp"),
    breaks(check_safety, *SERVICE, f"{CPU_CONTAINER}.securityContext.readOnlyRootFilesystem", False, "readOnlyRootFilesystem", why="writable"),
    breaks(check_safety, *SERVICE, f"{CPU_CONTAINER}.securityContext.allowPrivilegeEscalation", GONE, "allowPrivilegeEscalation", why="escalation"),
    breaks(check_safety, *SERVICE, f"{CPU_CONTAINER}.securityContext.capabilities.drop", ["NET_RAW"], "drop ALL", why="capabilities"),
    breaks(check_safety, *SERVICE, f"{CLUSTER}.autoscalerOptions.securityContext", GONE, "autoscaler", why="autoscaler"),
    breaks(check_safety, "StatefulSet", "s3", "spec.template.spec.initContainers.0.securityContext.privileged", True, "privileged", why="privileged"),
    breaks(check_safety, *SERVICE, f"{CPU}.template.spec.automountServiceAccountToken", GONE, "automountServiceAccountToken", why="token"),
    breaks(check_safety, *SERVICE, f"{CPU_CONTAINER}.env.1", {"name": "POSTGRES_PASSWORD", "value": "x"}, "is written out", why="secret"),
    breaks(check_safety, *SERVICE, f"{CPU_CONTAINER}.env.2.value", "postgresql://me:pw@postgres/x", "a password is written out", why="password-in-an-address"),
    breaks(check_safety, "Deployment", "mlflow", f"{MLFLOW}.args.3", "--backend-store-uri=postgresql://a:b@postgres/x", "args", why="password-in-arguments"),
    breaks(check_safety, *SERVICE, f"{CPU_CONTAINER}.volumeMounts.0.readOnly", True, "/tmp needs a volume", why="tmp"),
    breaks(check_safety, "Role", "fleet-autoscaler", "rules.0.verbs", ["*"], "verbs", why="all-verbs"),
    breaks(check_safety, "Role", "fleet-autoscaler", "rules.0.resources", ["secrets"], "secrets", why="reads-secrets"),
    breaks(check_safety, "ConfigMap", "postgres-databases", "kind", "Secret", "no place", why="secret-object"),
    # Serving
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.env.6.value", "0", "RAY_SERVE_ENABLE_HA_PROXY", why="haproxy"),
    breaks(check_serving, *SERVICE, f"{HEAD_CONTAINER}.env.12.value", "30", "RAY_SERVE_SLOW_STARTUP_WARNING_S", why="impatient head"),
    breaks(check_serving, *SERVICE, f"{HEAD_CONTAINER}.env.7", {"name": "A", "value": "b"}, "RAY_SERVE_THROUGHPUT_OPTIMIZED", why="throughput"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.env.3.value", "http://other:5000", "MLFLOW_TRACKING_URI is not the same", why="environment"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.readinessProbe.httpGet.path", "/health/ready", "nothing answers there", why="path"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.readinessProbe.httpGet", {"path": "/api/healthz", "port": 52365}, "should ask /-/healthz", why="not-the-gateway"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.livenessProbe.httpGet.port", 8265, "is not at port 8265", why="port"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.readinessProbe", GONE, "readinessProbe is missing", why="no-probe"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.ports.1.containerPort", 8000, "port named serve is 8000", why="serve-port"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.ports.2.containerPort", 8080, "declared twice", why="port-twice"),
    breaks(check_serving, *SERVICE, f"{CPU}.rayStartParams.metrics-export-port", GONE, "metrics-export-port 8080 is also", why="kuberay's-metrics-port"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.lifecycle", GONE, "without a drain", why="no-drain"),
    breaks(check_serving, *SERVICE, f"{CPU}.template.spec.terminationGracePeriodSeconds", 30, "ends before preStop", why="grace"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.env.13.value", "60", "Ray's 60 s", why="grace-for-both"),
    breaks(check_serving, *SERVICE, f"{CPU_CONTAINER}.lifecycle.preStop.exec.command.4", "20", "a gateway needs 75 s", why="short-drain"),
    breaks(check_serving, *SERVICE, "spec.rayClusterDeletionDelaySeconds", 10, "is shorter than 75", why="old-cluster"),
    breaks(check_serving, *SERVICE, "spec.excludeHeadPodFromServeSvc", GONE, "excludeHeadPodFromServeSvc", why="head"),
    breaks(check_serving, *SERVICE, "spec.upgradeStrategy.type", "None", "rolled out", why="upgrade"),
    breaks(check_serving, *SERVICE, f"{CLUSTER}.authOptions", GONE, "without mode token", why="open-api"),
    breaks(check_serving, *SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions", GONE, "a dead head", why="gcs"),
    breaks(check_serving, *SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.externalStorageNamespace", "fleet", "share their state", why="shared-namespace"),
    breaks(check_serving, *SERVICE, f"{HEAD}.rayStartParams.num-cpus", "2", "should be 0", why="cpus-of-the-head"),
    breaks(check_serving, *SERVICE, f"{HEAD}.rayStartParams.dashboard-host", "127.0.0.1", "dashboard-host '127.0.0.1' should be 0.0.0.0", why="dashboard"),
    breaks(check_serving, "RayCluster", "workbench", "spec.authOptions.mode", "disabled", "mode token", why="open-workbench"),
    breaks(check_serving, "PodDisruptionBudget", "fleet-gateways", "spec.minAvailable", 2, "should be a number from 1 to 1", why="budget"),
    breaks(check_serving, "PodDisruptionBudget", "fleet-gateways", "spec.minAvailable", "50%", "should be a number", why="budget-in-percent"),
    breaks(check_serving, "PodDisruptionBudget", "fleet-gateways", "spec.unhealthyPodEvictionPolicy", GONE, "AlwaysAllow", why="budget-that-blocks"),
    breaks(check_serving, "PodDisruptionBudget", "fleet-gateways", "spec.selector.matchLabels", {"a": "b"}, "no PodDisruptionBudget", why="no-budget"),
    # Capacity
    breaks(check_capacity, *SERVICE, f"{CPU}.rayStartParams.memory", "1073741824", "no group has such workers", why="memory-of-a-replica"),
    breaks(check_capacity, *SERVICE, f"{CPU}.minReplicas", 1, "2 gateways, one on a node", why="gateways"),
    breaks(check_capacity, *SERVICE, f"{CPU}.rayStartParams.num-cpus", "1", "need 4 CPU", why="cpus"),
    # Rights
    breaks(check_rights, "Role", "fleet-autoscaler", "rules.0.verbs", ["get", "list", "watch"], "may not patch pods", why="verb"),
    breaks(check_rights, "Role", "fleet-autoscaler", "rules.1.verbs", ["get"], "may not patch rayclusters", why="verb-of-a-cluster"),
    breaks(check_rights, "Role", "fleet-autoscaler", "rules.1.apiGroups", [""], "may not get, patch rayclusters", why="group"),
    breaks(check_rights, "Role", "fleet-autoscaler", "rules.0.verbs.4", "delete", "may delete pods, which nothing", why="verb-too-many"),
    breaks(check_rights, "Role", "fleet-autoscaler", "rules.0.resources.1", "configmaps", "configmaps, which nothing", why="resource-too-many"),
    breaks(check_rights, "RoleBinding", "fleet-autoscaler", "subjects", [], "may not get, list, patch, watch pods", why="nobody-bound"),
    breaks(check_rights, "RoleBinding", "fleet-autoscaler", "subjects.0.name", "fleet-worker", "'fleet-worker' may get, list, patch, watch pods", why="somebody-else-bound"),
    breaks(check_rights, "RoleBinding", "fleet-autoscaler", "roleRef.name", "sweep-runner", "may create, delete, get", why="another-role"),
    breaks(check_rights, *SERVICE, f"{HEAD}.template.spec.serviceAccountName", "fleet-worker", "'fleet-worker' may not get", why="account-of-the-head"),
    breaks(check_rights, "ServiceAccount", "fleet-head", "automountServiceAccountToken", False, "needs the token", why="no-token"),
    breaks(check_rights, "RoleBinding", "fleet-autoscaler", "subjects.0.namespace", "default", "may not get, list, patch, watch pods", why="account-of-another-namespace"),
    breaks(check_rights, "Role", "sweep-runner", "rules.0.resources.0", "rayjob", "'rayjob' of 'ray.io': nobody here needs it", why="singular"),
    breaks(check_rights, "Role", "sweep-runner", "rules.2.resources.3", "pods/exec", "'pods/exec' of 'the core group'", why="shell"),
    # Stores
    breaks(check_stores, *SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisAddress", "reddis:6379", "'reddis': there is no such Service", why="host-of-redis"),
    breaks(check_stores, *SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisAddress", "redis:6380", "'redis' has no port 6380", why="port-of-redis"),
    breaks(check_stores, *SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisPassword.valueFrom.secretKeyRef", {"name": "postgres", "key": "password"}, "of Secret 'redis'", why="password-of-redis"),
    breaks(check_stores, *SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisPassword", GONE, "no redisPassword", why="no-password-of-redis"),
    breaks(check_stores, *SERVICE, f"{CPU_CONTAINER}.env.3.value", "http://mlfow:5000", "'mlfow': there is no such", why="host-of-mlflow"),
    breaks(check_stores, *SERVICE, f"{CPU_CONTAINER}.env.3.value", "http://mlflow", "'mlflow' has no port 80", why="no-port-of-mlflow"),
    breaks(check_stores, *SERVICE, f"{CPU_CONTAINER}.env.2.value", "postgresql://rayfleet:$(POSTGRES_PASSWORD)@postgre:5432/rayfleet", "'postgre': there is no such", why="host-of-the-store"),
    breaks(check_stores, *SERVICE, f"{CPU_CONTAINER}.env.2.value", "postgresql://rayfleet:$(POSTGRES_PASSWORD)@postgres:5432/fleet", "database 'fleet': nothing makes it", why="database-of-the-store"),
    breaks(check_stores, *SERVICE, f"{CPU_CONTAINER}.env.2.value", "postgresql://root:$(POSTGRES_PASSWORD)@postgres:5432/rayfleet", "user 'root': should be 'rayfleet'", why="user"),
    breaks(check_stores, *SERVICE, f"{CPU_CONTAINER}.env.1.valueFrom.secretKeyRef.name", "redis", "of Secret 'redis', StatefulSet/postgres reads 'password' of Secret 'postgres'", why="password-of-the-store"),
    breaks(check_stores, "Deployment", "mlflow", f"{MLFLOW}.env.1.value", "postgresql://rayfleet:$(POSTGRES_PASSWORD)@postgres:5432/mlfow", "database 'mlfow'", why="database-of-mlflow"),
    breaks(check_stores, "ConfigMap", "postgres-databases", "data", {"databases.sql": "CREATE DATABASE other;"}, "database 'mlflow': nothing makes it, only ['other', 'rayfleet']", why="script"),
    breaks(check_stores, "Deployment", "mlflow", f"{MLFLOW}.args.3", "--artifacts-destination=s3://models", "bucket 'models'", why="bucket"),
    breaks(check_stores, "Deployment", "mlflow", f"{MLFLOW}.env.2.value", "http://s4:9000", "'s4': there is no such", why="endpoint"),
    breaks(check_stores, "Deployment", "mlflow", f"{MLFLOW}.env.4.valueFrom.secretKeyRef.key", "access", "reads 'access' of Secret 's3'", why="key-of-the-bucket"),
    breaks(check_stores, "Deployment", "mlflow", f"{MLFLOW}.env.0.valueFrom.secretKeyRef.name", "s3", "of Secret 's3', StatefulSet/postgres reads", why="password-of-mlflow"),
    # Servers
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.command", ["mlflow", "serve"], "should be mlflow server", why="command"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.args.0", "--host=127.0.0.1", "--host=127.0.0.1: nobody else", why="host-of-mlflow"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.args.1", "--port=5001", "listens at port 5001, and declares 5000", why="port-of-mlflow"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.args.2", "--worker=2", "--worker is none that is needed", why="option-of-mlflow"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.args.3", "--default-artifact-root=s3://mlflow", "--artifacts-destination is missing", why="artifacts-past-the-server"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.args.4", "--allowed-hosts=mlflow,mlflow:*,mlflow.rayfleet,mlflow.rayfleet:*", "refuses who calls it mlflow.rayfleet.svc", why="hosts-of-mlflow"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.env.1.name", "MLFLOW_BACKEND_URI", "MLFLOW_BACKEND_STORE_URI is not set", why="variable-of-mlflow"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.env.1.value", "postgresql://rayfleet:$(POSTGRES_PASSWORD)@postgres:5432/rayfleet", "database 'rayfleet' is the fleet store's", why="shared-database"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.env.5.valueFrom.secretKeyRef.key", "access-key", "AWS_SECRET_ACCESS_KEY: should be the key 'secret-key'", why="swapped-key"),
    breaks(check_servers, "Deployment", "mlflow", f"{MLFLOW}.volumeMounts.0.mountPath", "/var/tmp", "/tmp needs a volume", why="tmp-of-mlflow"),
    breaks(check_servers, "Deployment", "mlflow", "spec.replicas", 0, "there should be one", why="no-replica"),
    breaks(check_servers, "StatefulSet", "redis", f"{MLFLOW}.args", ["--appendonly", "yes", "--dir", "/data", "--maxmemory-policy", "noeviction"], "--requirepass is missing", why="open-redis"),
    breaks(check_servers, "StatefulSet", "redis", f"{MLFLOW}.args.1", "hunter2", "should be a Secret's", why="plain-password"),
    breaks(check_servers, "StatefulSet", "redis", f"{MLFLOW}.args.3", "no", "--appendonly no", why="nothing-on-disk"),
    breaks(check_servers, "StatefulSet", "redis", f"{MLFLOW}.args.5", "/tmp", "is on none of the volumes that stay", why="folder-of-redis"),
    breaks(check_servers, "StatefulSet", "redis", f"{MLFLOW}.args.7", "allkeys-lru", "should be noeviction", why="eviction"),
    breaks(check_servers, "StatefulSet", "redis", f"{MLFLOW}.volumeMounts.0.mountPath", "/var/data", "is on none of the volumes that stay", why="mount-of-redis"),
    breaks(check_servers, "StatefulSet", "redis", f"{MLFLOW}.ports.0.containerPort", 6380, "listens at port 6379, and declares 6380", why="port-of-redis"),
    breaks(check_servers, "StatefulSet", "s3", f"{MLFLOW}.args.1", "http", "should be serve s3", why="protocol"),
    breaks(check_servers, "StatefulSet", "s3", f"{MLFLOW}.args.2", "/tmp", "serve s3 /tmp: is on none of the volumes", why="folder-of-s3"),
    breaks(check_servers, "StatefulSet", "s3", f"{MLFLOW}.args.3", "--addr=:9001", "listens at port 9001", why="port-of-s3"),
    breaks(check_servers, "StatefulSet", "s3", f"{MLFLOW}.args.3", "--addr=127.0.0.1:9000", "nobody else would reach it", why="host-of-s3"),
    breaks(check_servers, "StatefulSet", "s3", f"{MLFLOW}.args.4", "--auth-key=$(SECRET_KEY),$(ACCESS_KEY)", "should be access-key, then secret-key", why="swapped-keys"),
    breaks(check_servers, "StatefulSet", "s3", "spec.template.spec.initContainers.0.command.2", "/tmp/mlflow", "/tmp/mlflow: is not in /data", why="folder-of-the-bucket"),
    breaks(check_servers, "StatefulSet", "postgres", f"{MLFLOW}.env.3.value", "/tmp/tables", "PGDATA /tmp/tables: is on none", why="tables"),
    breaks(check_servers, "StatefulSet", "postgres", f"{MLFLOW}.volumeMounts.3.mountPath", "/docker-entrypoint-init.d", "nothing makes the other databases", why="scripts"),
    breaks(check_servers, "StatefulSet", "postgres", f"{MLFLOW}.readinessProbe.exec.command.0", "pg_isreadyy", "should ask pg_isready", why="probe-of-postgres"),
    breaks(check_servers, "StatefulSet", "postgres", "spec.template.spec.securityContext.fsGroup", GONE, "fsGroup should be runAsGroup", why="group-of-postgres"),
    breaks(check_servers, "StatefulSet", "postgres", "spec.serviceName", "postgresql", "'postgresql': there is no such Service", why="name-of-its-service"),
    # Nodes
    breaks(check_nodes, *SERVICE, f"{HEAD}.rayStartParams.port", "6380", "port gcs-server is 6379, Ray's port is 6380", why="port-of-the-head"),
    breaks(check_nodes, *SERVICE, f"{HEAD}.rayStartParams.dashboard-port", "8266", "Ray's dashboard-port is 8266", why="port-of-the-dashboard"),
    breaks(check_nodes, *SERVICE, f"{HEAD}.rayStartParams.include-dashboard", "false", "include-dashboard", why="no-dashboard"),
    breaks(check_nodes, *SERVICE, f"{HEAD_CONTAINER}.ports.0.containerPort", 6380, "port gcs-server is 6380", why="port-of-the-gcs"),
    breaks(check_nodes, *SERVICE, f"{CPU_CONTAINER}.env.2.name", "RAYFLEET_STOR", "RAYFLEET_STORE is not set", why="variable-of-the-fleet"),
    breaks(check_nodes, "RayJob", "sweep", "spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.env.1.name", "MLFLOW_TRACKING", "MLFLOW_TRACKING_URI is not set", why="variable-of-a-sweep"),
    breaks(check_nodes, *SERVICE, f"{CPU_CONTAINER}.env.11.value", "6", "workers would not wait", why="impatient-workers"),
    breaks(check_nodes, *SERVICE, f"{CPU_CONTAINER}.env.10.value", "deployments.gateway.serve_dor:middlewares", "there is no deployments.gateway.serve_dor", why="callback"),
    breaks(check_nodes, *SERVICE, f"{HEAD}.rayStartParams.object-store-memory", "10000000", "Ray needs 75Mi", why="small-object-store"),
    breaks(check_nodes, *SERVICE, f"{CPU}.template.spec.volumes.0.emptyDir.sizeLimit", "10Mi", "would be evicted", why="small-tmp"),
    breaks(check_nodes, *SERVICE, f"{CPU}.template.spec.securityContext.runAsUser", 2000, "runAsUser should be 1000", why="user"),
    breaks(check_nodes, *SERVICE, f"{CPU}.template.spec.topologySpreadConstraints.0.topologyKey", "kubernetes.io/hostnam", "topologyKey kubernetes.io/hostnam", why="topology"),
    breaks(check_nodes, *SERVICE, f"{CPU}.template.spec.topologySpreadConstraints.0.matchLabelKeys", ["ray.io/clustr"], "no pod has the label ray.io/clustr", why="label-of-the-spread"),
    breaks(check_nodes, *SERVICE, f"{CPU}.template.spec.restartPolicy", "Always", "autoscaler v2 needs Never", why="restarts"),
    breaks(check_nodes, *SERVICE, f"{CPU_CONTAINER}.readinessProbe.httpGet.scheme", "HTTPS", "scheme should be HTTP", why="tls-of-a-probe"),
    breaks(check_nodes, *SERVICE, f"{CPU_CONTAINER}.readinessProbe.periodSeconds", 300, "periodSeconds 300", why="rare-probe"),
    breaks(check_nodes, *SERVICE, f"{HEAD_CONTAINER}.livenessProbe.failureThreshold", 1, "one slow answer", why="strict-probe"),
    breaks(check_nodes, *SERVICE, f"{CPU}.replicas", 1, "minReplicas 2, replicas 1", why="replicas"),
    breaks(check_nodes, *SERVICE, f"{CLUSTER}.autoscalerOptions.version", "v1", "should be v2", why="autoscaler"),
    breaks(check_nodes, *SERVICE, f"{CLUSTER}.autoscalerOptions.idleTimeoutSeconds", 0, "would come and go", why="idle"),
    # Jobs
    breaks(check_jobs, "RayJob", "sweep", "spec.entrypoint", "python -m tuning configs/sweeps/breast-cancr.yaml", "there is no configs/sweeps/breast-cancr.yaml", why="config"),
    breaks(check_jobs, "RayJob", "sweep", "spec.entrypoint", "python -m tunning configs/sweeps/wine.yaml", "there is no module tunning", why="module"),
    breaks(check_jobs, "RayJob", "sweep", "spec.shutdownAfterJobFinishes", False, "would stay, and be paid for", why="cluster-left-behind"),
    breaks(check_jobs, "RayJob", "sweep", "spec.suspend", True, "would never run", why="suspended"),
    breaks(check_jobs, "RayJob", "wine-on-workbench", "spec.submitterPodTemplate.spec.containers.0.env.1.value", "none", "should be token", why="mode-of-a-submitter"),
    breaks(check_jobs, "RayJob", "wine-on-workbench", "spec.submitterPodTemplate.spec.containers.0.env.2.valueFrom.secretKeyRef", {"name": "redis", "key": "password"}, "of Secret ray-auth-token", why="token-of-a-submitter"),
    # Networks
    breaks(check_networks, "NetworkPolicy", "default-deny", "spec.policyTypes", ["Ingress"], "none denies", why="no-denial"),
    breaks(check_networks, "NetworkPolicy", "ray-nodes", "spec.egress.1", GONE, "Deployment/mlflow at port 5000: no policy lets it out", why="out"),
    breaks(check_networks, "NetworkPolicy", "ray-nodes", "spec.egress.2.ports.0.port", 5433, "StatefulSet/postgres at port 5432: no policy lets it out", why="out-at-another-port"),
    breaks(check_networks, "NetworkPolicy", "postgres", "spec.ingress.0.from", [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "mlflow"}}}], "lets it in", why="in"),
    breaks(check_networks, "NetworkPolicy", "ray-heads", "spec.egress.0.to.0.podSelector.matchLabels", {"a": "b"}, "StatefulSet/redis at port 6379", why="redis"),
    breaks(check_networks, "NetworkPolicy", "submitters", "spec.egress.0.ports.0.port", 10001, "submitter", why="submitter"),
    breaks(check_networks, "NetworkPolicy", "ray-nodes", "spec.ingress", [], "lets it in", why="nodes"),
    breaks(check_networks, "NetworkPolicy", "mlflow", "spec.egress.1.ports.0.port", 443, "StatefulSet/s3 at port 9000", why="s3"),
    breaks(check_networks, "NetworkPolicy", "names", "spec.egress.0.ports", [{"protocol": "TCP", "port": 53}], "the cluster's DNS at port 53 (UDP)", why="names"),
    breaks(check_networks, "NetworkPolicy", "names", "spec.egress.0.to.0.namespaceSelector.matchLabels", {"kubernetes.io/metadata.name": "system"}, "the cluster's DNS", why="namespace-of-the-names"),
    breaks(check_networks, "NetworkPolicy", "ray-heads", "spec.ingress.0.ports.0.port", 8266, "KubeRay's operator: cannot reach RayService/fleet, headgroup at port 8265", why="operator"),
    breaks(check_networks, "NetworkPolicy", "ray-heads", "spec.ingress.0.from.0.namespaceSelector.matchLabels", {"a": "b"}, "KubeRay's operator: cannot reach", why="namespace-of-the-operator"),
    breaks(check_networks, "NetworkPolicy", "ray-heads", "spec.ingress.0.ports.1", {"protocol": "TCP", "port": 10001}, "in at port 10001, which it does not need", why="operator-too-much"),
    breaks(check_networks, "NetworkPolicy", "ray-heads", "spec.egress.1.ports.0.port", 444, "the API server at port 443", why="api-server"),
    breaks(check_networks, "NetworkPolicy", "ray-heads", "spec.egress.1.ports.1", GONE, "the API server at port 6443", why="control-plane"),
    breaks(check_networks, "NetworkPolicy", "clients", "spec.ingress.0.ports.0.port", 8000, "a client: cannot reach RayService/fleet, cpu at port 8080", why="clients"),
    breaks(check_networks, "NetworkPolicy", "clients", "spec.ingress.0.ports.1", GONE, "a client: cannot reach RayService/fleet, cpu at port 8001", why="grpc-clients"),
    breaks(check_networks, "NetworkPolicy", "clients", "spec.podSelector.matchLabels", {"ray.io/node-type": "head"}, "a client: cannot reach", why="clients-of-the-head"),
    breaks(check_networks, "NetworkPolicy", "clients", "spec.ingress.0.from", [], "lets everyone in", why="everyone"),
    breaks(check_networks, "NetworkPolicy", "clients", "spec.ingress.0.from.0.namespaceSelector", {}, "lets everyone in", why="every-namespace"),
    breaks(check_networks, "NetworkPolicy", "clients", "spec.ingress.0.ports", GONE, "in at every port", why="every-port"),
    breaks(check_networks, "NetworkPolicy", "ray-heads", "spec.ingress.0.from.1", {"ipBlock": {"cidr": "0.0.0.0/0"}}, "lets everyone in", why="every-address"),
    breaks(check_networks, "NetworkPolicy", "monitoring", "spec.ingress.0.ports.1.port", 8080, "Prometheus: cannot reach RayService/fleet, headgroup at port 8090", why="monitoring"),
    breaks(check_networks, "NetworkPolicy", "monitoring", "spec.ingress.0.ports.0", GONE, "Prometheus: cannot reach RayService/fleet, cpu at port 8080", why="monitoring-of-gateways"),
    breaks(check_networks, "NetworkPolicy", "mlflow", "spec.ingress.0.from.1", GONE, "someone who registers models: cannot reach", why="registry"),
    breaks(check_networks, "NetworkPolicy", "redis-cleanup", "spec.egress.0.ports.0.port", 6380, "redis-cleanup: cannot reach StatefulSet/redis", why="redis-cleanup"),
    breaks(check_networks, "NetworkPolicy", "redis", "spec.ingress.0.from.1", GONE, "redis-cleanup: cannot reach StatefulSet/redis at port 6379: no policy lets it in", why="redis-cleanup-in"),
    breaks(check_networks, "NetworkPolicy", "submitters", "spec.egress.0.to.0.podSelector.matchLabels", {"ray.io/node-type": "worker"}, "wine-on-workbench, submitter: cannot reach RayCluster/workbench", why="submitter-on-a-cluster"),
    # Monitoring
    breaks(check_monitoring, "ScrapeConfig", "fleet", "spec.staticConfigs.0.targets.0", "fleet-serve-svc.rayfleet.svc:8000", "there is no such Service and port", why="port"),
    breaks(check_monitoring, "ScrapeConfig", "fleet", "spec.staticConfigs.0.targets.0", "fleet.rayfleet.svc:8080", "there is no such Service and port", why="service"),
    breaks(check_monitoring, "ScrapeConfig", "fleet", "spec.jobName", "fleet", "should be one of prometheus.yaml's: ray, rayfleet", why="job"),
    breaks(check_monitoring, "PodMonitor", "ray", "spec.podMetricsEndpoints.0.relabelings", [], "job None", why="job-of-a-monitor"),
    breaks(check_monitoring, "PodMonitor", "ray", "spec.podMetricsEndpoints.0.port", "metric", "headgroup has no such port", why="port-of-a-monitor"),
    breaks(check_monitoring, "PodMonitor", "ray", "spec.selector.matchLabels", {"a": "b"}, "fits no pod", why="selector-of-a-monitor"),
    breaks(check_monitoring, "ScrapeConfig", "fleet", "spec.metricsPath", "/metric", "metricsPath should be /metrics", why="path"),
    breaks(check_monitoring, "ScrapeConfig", "fleet", "spec.scrapeInterval", "10m", "should be 15s at most", why="rare-scrapes"),
    breaks(check_monitoring, "PodMonitor", "ray", "spec.selector.matchLabels", {"ray.io/node-type": "worker"}, "does not fit", why="heads-left-out"),
    breaks(check_monitoring, "PrometheusRule", "fleet", "kind", "Rule", "there is none of configs/monitoring/rules/fleet.yaml", why="rules-left-out"),
    breaks(check_monitoring, "PrometheusRule", "fleet", "spec.groups.0.rules.0.for", "2m", "is not configs/monitoring/rules/fleet.yaml", why="rule"),
    # The embedded config
    breaks(check_embedded, *SERVICE, "spec.serveConfigV2", "applications: [{name: fleet, import_path: 'a:b', args: {expres: {}}, deployments: [{name: Controller, user_config: {models: {}}}]}]", "is none of configs/", why="another-text"),
    breaks(check_embedded, *SERVICE, "spec.serveConfigV2", "applications: [{name: fleet, import_path: 'a:b', args: {expres: {}}, deployments: [{name: Controller, user_config: {models: {}}}]}]", "expres", why="misspelt-argument"),
    breaks(check_embedded, *SERVICE, "spec.serveConfigV2", "applications: [{name: fleet, import_path: 'a:b', args: {store_url: 'mongo://x'}, deployments: [{name: Controller, user_config: {models: {}}}]}]", "store_url", why="does-not-build"),
    breaks(check_embedded, *SERVICE, "spec.serveConfigV2", "applications: [{name: fleet, import_path: 'a:b', deployments: [{name: Controller, num_replica: 3, user_config: {models: {}}}]}]", "num_replica", why="key-that-serve-drops"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "kind", "name", "path", "value", "fault"), BROKEN)
def test_a_broken_copy_is_caught(
    check: Check, kind: str, name: str, path: str, value: Any, fault: str,
    development: Sequence[Manifest], project: Project,
) -> None:  # fmt: skip
    broken = changed(development, kind, name, path, value)

    faults = list(map(str, check(broken, project)))

    assert [each for each in faults if fault in each], faults


def test_every_check_is_proven() -> None:
    assert {param.values[0] for param in BROKEN} == set(CHECKS)


@pytest.mark.parametrize(
    ("kind", "name", "path", "value", "fault"),
    [
        pytest.param("HTTPRoute", "fleet", "spec.rules.0.backendRefs.0.port", 80, "fleet-serve-svc:80", id="port"),
        pytest.param("HTTPRoute", "fleet", "spec.parentRefs.0.name", "edge", "no listener", id="gateway"),
        pytest.param("HTTPRoute", "fleet", "spec.parentRefs.0.namespace", "rayfleet", "no listener", id="namespace"),
        pytest.param("Gateway", "clients", "spec.listeners.0.allowedRoutes", GONE, "lets it not in", id="foreign-routes"),
        pytest.param("HTTPRoute", "fleet", "spec.hostnames", ["other.example.com"], "the listener's is another", id="host"),
        pytest.param("Gateway", "clients", "spec.listeners.0.tls.certificateRefs.0.name", "tls", "Secret 'tls'", id="certificate"),
    ],
)  # fmt: skip
def test_a_broken_route_is_caught(
    kind: str, name: str, path: str, value: Any, fault: str,
    production: Sequence[Manifest], project: Project,
) -> None:  # fmt: skip
    broken = changed(production, kind, name, path, value)

    faults = list(map(str, check_routes(broken, project)))

    assert [each for each in faults if fault in each], faults


def test_a_replica_that_no_gpu_worker_has_room_for_is_caught(
    production: Sequence[Manifest], project: Project
) -> None:
    path = f"{CLUSTER}.workerGroupSpecs.1.rayStartParams.num-gpus"
    broken = changed(production, *SERVICE, path, "0")

    faults = list(map(str, check_capacity(broken, project)))

    assert len(faults) == 1
    assert "digits needs 0.5 CPU, 0.25 GPU" in faults[0]


def test_a_config_that_cannot_be_read_is_one_fault(
    development: Sequence[Manifest], project: Project
) -> None:
    models = "{m: {traffic: {champion: 90, challenger: 20}}}"
    text = (
        "applications: [{name: fleet, import_path: 'deployments.fleet:build', deployments:"
        f" [{{name: Controller, user_config: {{models: {models}}}}}]}}]"
    )
    broken = changed(development, *SERVICE, "spec.serveConfigV2", text)

    assert list(check_capacity(broken, project)) == []
    assert "sum to 110, must sum to 100" in " ".join(map(str, check_embedded(broken, project)))


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        pytest.param("spec.schedule", "30 25 * * *", "should be five fields of cron", id="hour"),
        pytest.param("spec.schedule", "30 2 * *", "should be five fields of cron", id="fields"),
        pytest.param("spec.timeZone", "Etc/UCT2", "there is no such zone", id="zone"),
        pytest.param(
            "spec.jobTemplate.entrypoint",
            "python -m tuning configs/sweeps/wine.yaml",
            "without --restart",
            id="restart",
        ),
    ],
)
def test_a_broken_schedule_is_caught(
    path: str, value: str, fault: str, production: Sequence[Manifest], project: Project
) -> None:
    broken = changed(production, "RayCronJob", "breast-cancer-nightly", path, value)

    assert [each for each in map(str, check_jobs(broken, project)) if fault in each]


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
    ("name", "path", "value", "fault"),
    [
        pytest.param(
            "upgrade-proxy",
            "spec.ingress.0.ports.0.port",
            443,
            "a client: cannot reach the Gateway of an upgrade at port 80",
            id="clients",
        ),
        pytest.param(
            "upgrade-proxy",
            "spec.egress.1",
            GONE,
            "cannot reach Istio's control plane at port 15012",
            id="control-plane",
        ),
        pytest.param(
            "from-upgrade-proxy",
            "spec.ingress.0.ports.0.port",
            8000,
            "cannot reach RayService/fleet, cpu at port 8080: no policy lets it in",
            id="workers",
        ),
    ],
)
def test_a_way_through_the_gateway_of_an_upgrade_that_is_cut_is_caught(
    name: str,
    path: str,
    value: Any,
    fault: str,
    installations: Mapping[str, Sequence[Manifest]],
    project: Project,
) -> None:
    broken = changed(installations["incremental"], "NetworkPolicy", name, path, value)

    assert [each for each in map(str, check_networks(broken, project)) if fault in each]


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
