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


@dataclass(slots=True)
class Servers:
    """A PostgreSQL and an S3 server, for MLflow servers."""

    folder: Path
    database: Database
    s3: ObjectStore
    _n_started: int = 0

    @property
    def bucket(self) -> Path:
        """Where artifacts of all MLflow servers lie."""
        return self.s3.folder / "mlflow"

    @contextmanager
    def mlflow(self) -> Iterator[str]:
        """An MLflow server that knows nothing yet; gives its address."""
        self._n_started += 1
        own = _own_database(self.database, f"mlflow{self._n_started}")
        server = MlflowServer(self.folder, own, "s3://mlflow", self.s3.environment)
        with server:
            yield server.url


@contextmanager
def started_servers() -> Iterator[Servers]:
    """What a production MLflow stands on."""
    # Not in pytest's folder, which any other pytest closes to the user that PostgreSQL runs as;
    # and short, since sockets lie below it.
    with tempfile.TemporaryDirectory(prefix="rf-", dir="/tmp", ignore_cleanup_errors=True) as made:
        folder = Path(made)
        (folder / "s3" / "mlflow").mkdir(parents=True)
        with ObjectStore(folder / "s3") as s3, Database(folder / "pg") as database:
            yield Servers(folder, database, s3)


@contextmanager
def started_stores(kind: str, home: Path) -> Iterator[Stores]:
    """Start what is wanted, for a fleet with this home."""
    if kind == "embedded":
        yield Stores({"RAYFLEET_HOME": str(home)}, lambda: _unlink_fleet_store(home))
        return
    with started_servers() as servers, _redis(servers.folder) as redis, servers.mlflow() as url:
        variables = {
            "RAYFLEET_HOME": str(home),
            "RAYFLEET_STORE": servers.database.url,
            "MLFLOW_TRACKING_URI": url,
        }
        yield Stores(variables, servers.database.lose_everything, redis)
        assert not list(home.rglob("*.db")), "something was kept in the home nevertheless"
        assert list(servers.bucket.rglob("MLmodel")), "no model went into the bucket"


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
