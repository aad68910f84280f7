"""What a cluster of the tests stands on: files in its home, or real servers as in production."""

import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from deployments.haproxy import free_port
from deployments.processes import ProcessTree
from tests.integration.hosting import BIN, Redis, eventually
from tests.integration.sweeping import listens
from tests.soak.dependencies import Database, MlflowServer, ObjectStore


@dataclass(frozen=True, slots=True)
class Stores:
    """Where everything that outlives a process is kept."""

    variables: Mapping[str, str]
    """Of the environment, for whoever uses them: all that a fleet is told of its stores."""

    lose_fleet_store: Callable[[], None]
    """Takes the fleet store's contents away under a running fleet."""

    redis: Redis | None = None
    """Where the cluster keeps its own state; None leaves it to the head's memory."""


@contextmanager
def started_stores(kind: str, home: Path) -> Iterator[Stores]:
    """Start what is wanted, for a fleet with this home."""
    if kind == "embedded":
        yield Stores({"RAYFLEET_HOME": str(home)}, lambda: _unlink_fleet_store(home))
        return
    # Not in pytest's folder, which any other pytest closes to the user that PostgreSQL runs as;
    # and short, since sockets lie below it.
    with (
        tempfile.TemporaryDirectory(prefix="rf-", dir="/tmp", ignore_cleanup_errors=True) as made,
        _production(home, Path(made)) as stores,
    ):
        yield stores


@contextmanager
def _production(home: Path, folder: Path) -> Iterator[Stores]:
    bucket = folder / "s3" / "mlflow"
    bucket.mkdir(parents=True)
    with (
        ObjectStore(folder / "s3") as s3,
        Database(folder / "pg") as database,
        _redis(folder) as redis,
        MlflowServer(
            folder, _own_database(database, "mlflow"), "s3://mlflow", s3.environment
        ) as mlflow,
    ):
        variables = {
            "RAYFLEET_HOME": str(home),
            "RAYFLEET_STORE": database.url,
            "MLFLOW_TRACKING_URI": mlflow.url,
        }
        yield Stores(variables, database.lose_everything, redis)
        assert not list(home.rglob("*.db")), "something was kept in the home nevertheless"
        assert list(bucket.rglob("MLmodel")), "no model went into the bucket"


def _own_database(database: Database, name: str) -> str:
    """Make one more database of a server; returns its address."""
    plain = database.url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    address, _, options = database.url.partition("?")
    return f"{address.rpartition('/')[0]}/{name}?{options}"


@contextmanager
def _redis(folder: Path) -> Iterator[Redis]:
    port, password = free_port(), secrets.token_hex(12)
    command = [
        str(BIN / "redis-server"), "--bind", "127.0.0.1", "--port", str(port),
        "--requirepass", password, "--dir", str(folder), "--appendonly", "yes",
    ]  # fmt: skip
    with (folder / "redis.log").open("wb") as log, ProcessTree(command, {}, log):
        eventually("Redis", lambda: listens(port))
        yield Redis(f"127.0.0.1:{port}", password)


def _unlink_fleet_store(home: Path) -> None:
    for path in home.glob("fleet.db*"):
        path.unlink()
