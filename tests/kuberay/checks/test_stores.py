"""Each address leads to a store that lets its user in."""

from collections.abc import Sequence

from kuberay.checks.objects import Manifest
from kuberay.checks.project import Project
from kuberay.checks.stores import check_stores
from tests.kuberay.breaking import (
    CLUSTER,
    CONTAINER,
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
    breaks(*SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisAddress", "reddis:6379", "'reddis': there is no such Service", why="host-of-redis"),
    breaks(*SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisAddress", "redis:6380", "'redis' has no port 6380", why="port-of-redis"),
    breaks(*SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisPassword.valueFrom.secretKeyRef", {"name": "postgres", "key": "password"}, "of Secret 'redis'", why="password-of-redis"),
    breaks(*SERVICE, f"{CLUSTER}.gcsFaultToleranceOptions.redisPassword", GONE, "no redisPassword", why="no-password-of-redis"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.3.value", "http://mlfow:5000", "'mlfow': there is no such", why="host-of-mlflow"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.3.value", "http://mlflow", "'mlflow' has no port 80", why="no-port-of-mlflow"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.2.value", "postgresql://rayfleet:$(POSTGRES_PASSWORD)@postgre:5432/rayfleet", "'postgre': there is no such", why="host-of-the-store"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.2.value", "postgresql://rayfleet:$(POSTGRES_PASSWORD)@postgres:5432/fleet", "database 'fleet': nothing makes it", why="database-of-the-store"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.2.value", "postgresql://root:$(POSTGRES_PASSWORD)@postgres:5432/rayfleet", "user 'root': should be 'rayfleet'", why="user"),
    breaks(*SERVICE, f"{CPU_CONTAINER}.env.1.valueFrom.secretKeyRef.name", "redis", "of Secret 'redis', StatefulSet/postgres reads 'password' of Secret 'postgres'", why="password-of-the-store"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.env.1.value", "postgresql://rayfleet:$(POSTGRES_PASSWORD)@postgres:5432/mlfow", "database 'mlfow'", why="database-of-mlflow"),
    breaks("ConfigMap", "postgres-databases", "data", {"databases.sql": "CREATE DATABASE other;"}, "database 'mlflow': nothing makes it, only ['other', 'rayfleet']", why="script"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.args.3", "--artifacts-destination=s3://models", "bucket 'models'", why="bucket"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.env.2.value", "http://s4:9000", "'s4': there is no such", why="endpoint"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.env.4.valueFrom.secretKeyRef.key", "access", "reads 'access' of Secret 's3'", why="key-of-the-bucket"),
    breaks("Deployment", "mlflow", f"{CONTAINER}.env.0.valueFrom.secretKeyRef.name", "s3", "of Secret 's3', StatefulSet/postgres reads", why="password-of-mlflow"),
]  # fmt: skip


@broken_copies(BROKEN)
def test_a_broken_copy_is_caught(
    change: Change, fault: str, development: Sequence[Manifest], project: Project
) -> None:
    assert_caught(check_stores, changed(development, *change), fault, project)
