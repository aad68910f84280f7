"""MLflow, PostgreSQL, Redis and S3 are started so that they can be used."""

from collections.abc import Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.servers import check_servers
from tests.kuberay.breaking import (
    CONTAINER,
    GONE,
    Change,
    assert_caught,
    breaks,
    broken_copies,
    changed,
)

BROKEN = [
    breaks("Deployment", "mlflow", f"{CONTAINER}.command", ["mlflow", "serve"], "should be mlflow server", why="command"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.args.0", "--host=127.0.0.1", "--host=127.0.0.1: nobody else", why="host-of-mlflow"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.args.1", "--port=5001", "listens at port 5001, and declares 5000", why="port-of-mlflow"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.args.2", "--worker=2", "--worker is none that is needed", why="option-of-mlflow"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.args.3", "--default-artifact-root=s3://mlflow", "--artifacts-destination is missing", why="artifacts-past-the-server"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.args.4", "--allowed-hosts=mlflow,mlflow:*,mlflow.rayfleet,mlflow.rayfleet:*", "refuses who calls it mlflow.rayfleet.svc", why="hosts-of-mlflow"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.env.1.name", "MLFLOW_BACKEND_URI", "MLFLOW_BACKEND_STORE_URI is not set", why="variable-of-mlflow"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.env.1.value", "postgresql://rayfleet:$(POSTGRES_PASSWORD)@postgres:5432/rayfleet", "database 'rayfleet' is the fleet store's", why="shared-database"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.env.5.valueFrom.secretKeyRef.key", "access-key", "AWS_SECRET_ACCESS_KEY: should be the key 'secret-key'", why="swapped-key"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.volumeMounts.0.mountPath", "/var/tmp", "/tmp needs a volume", why="tmp-of-mlflow"),
    breaks("Deployment", "mlflow", "spec.replicas", 0, "there should be one", why="no-replica"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.args", ["--appendonly", "yes", "--dir", "/data", "--maxmemory-policy", "noeviction"], "--requirepass is missing", why="open-redis"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.args.1", "hunter2", "should be a Secret's", why="plain-password"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.args.3", "no", "--appendonly no", why="nothing-on-disk"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.args.5", "/tmp", "is on none of the volumes that stay", why="folder-of-redis"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.args.7", "allkeys-lru", "should be noeviction", why="eviction"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.volumeMounts.0.mountPath", "/var/data", "is on none of the volumes that stay", why="mount-of-redis"),
    breaks("StatefulSet", "redis", f"{CONTAINER}.ports.0.containerPort", 6380, "listens at port 6379, and declares 6380", why="port-of-redis"),
    breaks("StatefulSet", "s3", f"{CONTAINER}.args.1", "http", "should be serve s3", why="protocol"),
    breaks("StatefulSet", "s3", f"{CONTAINER}.args.2", "/tmp", "serve s3 /tmp: is on none of the volumes", why="folder-of-s3"),
    breaks("StatefulSet", "s3", f"{CONTAINER}.args.3", "--addr=:9001", "listens at port 9001", why="port-of-s3"),
    breaks("StatefulSet", "s3", f"{CONTAINER}.args.3", "--addr=127.0.0.1:9000", "nobody else would reach it", why="host-of-s3"),
    breaks("StatefulSet", "s3", f"{CONTAINER}.args.4", "--auth-key=$(SECRET_KEY),$(ACCESS_KEY)", "should be access-key, then secret-key", why="swapped-keys"),
    breaks("StatefulSet", "s3", "spec.template.spec.initContainers.0.command.2", "/tmp/mlflow", "/tmp/mlflow: is not in /data", why="folder-of-the-bucket"),
    breaks("StatefulSet", "postgres", f"{CONTAINER}.env.3.value", "/tmp/tables", "PGDATA /tmp/tables: is on none", why="tables"),
    breaks("StatefulSet", "postgres", f"{CONTAINER}.volumeMounts.3.mountPath", "/docker-entrypoint-init.d", "nothing makes the other databases", why="scripts"),
    breaks("StatefulSet", "postgres", f"{CONTAINER}.readinessProbe.exec.command.0", "pg_isreadyy", "should ask pg_isready", why="probe-of-postgres"),
    breaks("StatefulSet", "postgres", f"{CONTAINER}.startupProbe.exec.command.1", "--username=rayfleet", "startupProbe: without --host=127.0.0.1", why="probe-by-socket"),
    breaks("StatefulSet", "postgres", "spec.template.spec.securityContext.fsGroup", GONE, "fsGroup should be runAsGroup", why="group-of-postgres"),
    breaks("StatefulSet", "postgres", "spec.serviceName", "postgresql", "'postgresql': there is no such Service", why="name-of-its-service"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_servers, changed(development, *change), fault, project)
