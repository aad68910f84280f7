"""Sweeps as a user runs them: in processes of their own, with a home of their own."""

import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from deployments.haproxy import free_port
from deployments.processes import tree
from tuning.tracking import SWEEP, TRIAL_ID

TIMEOUT_S = 180.0
POLL_S = 0.1

FAKE: Mapping[str, Any] = {
    "name": "fake",
    "data": {"bundled": "iris"},
    "folds": {"n_splits": 2},
    "trainer": "tests.tuning.fakes:FakeTrainer",
    "space": {"x": {"uniform": [0.0, 1.0]}},
    "scheduler": {"kind": "fifo"},
    "n_trials": 4,
    "max_concurrent": 2,
}
"""A sweep whose trials cost nothing."""


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder with a home in it, and the short one that Ray's sockets need."""

    folder: Path
    ray_folder: Path
    ray_address: str | None = None
    """A cluster to run on; None lets every sweep start its own."""
    ray_token: str | None = None
    """What that cluster asks for."""
    tracking_uri: str | None = None
    """A server of MLflow; None lets every sweep use the home's own file."""

    @property
    def environment(self) -> dict[str, str]:
        """Variables of a command that runs here."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
        kept.pop("RAY_ADDRESS", None)
        if self.ray_address is not None:
            kept["RAY_ADDRESS"] = self.ray_address
        if self.ray_token is not None:
            kept["RAY_AUTH_TOKEN"] = self.ray_token
        if self.tracking_uri is not None:
            kept["MLFLOW_TRACKING_URI"] = self.tracking_uri
        return {
            **kept,
            # A job's `python` is the one that runs the tests.
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "RAYFLEET_HOME": str(self.folder / "home"),
            "RAY_TMPDIR": str(self.ray_folder),
            "PYTHONUNBUFFERED": "1",
        }

    def on(self, head: "Head") -> "Bench":
        """The same home, but on a cluster that is already there."""
        return replace(self, ray_address=head.address, ray_token=head.token)

    @property
    def client(self) -> MlflowClient:
        """A client to the home's MLflow."""
        own = f"sqlite:///{self.folder / 'home' / 'mlflow.db'}"
        return MlflowClient(self.tracking_uri or own)

    def write(self, **changes: Any) -> Path:
        """Write the fake sweep with some fields changed."""
        path = self.folder / "sweep.yaml"
        path.write_text(yaml.safe_dump({**FAKE, **changes}))
        return path

    def run(
        self, path: Path, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run a sweep to its end."""
        return self.tuning(str(path), *arguments, variables=variables)

    def tuning(
        self, *arguments: str, variables: Mapping[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run `python -m tuning`, with more variables beside the bench's own."""
        return subprocess.run(
            [sys.executable, "-m", "tuning", *arguments],
            env={**self.environment, **(variables or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    @contextmanager
    def started(self, path: Path) -> "Iterator[subprocess.Popen[str]]":
        """Start a sweep in a process group of its own, as a shell does."""
        with subprocess.Popen(
            [sys.executable, "-X", "faulthandler", "-m", "tuning", str(path)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def trial_runs(self, sweep: str = "fake") -> list[Run]:
        """All runs of a sweep's trials, by trial."""
        runs = self._runs(f"tags.`{SWEEP}` = '{sweep}' and tags.`{TRIAL_ID}` LIKE '%'")
        children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        return sorted(children, key=lambda run: int(run.data.tags[TRIAL_ID]))

    def sweep_runs(self, sweep: str = "fake") -> list[Run]:
        """All parent runs of a sweep."""
        runs = self._runs(f"tags.`{SWEEP}` = '{sweep}'")
        return [run for run in runs if "mlflow.parentRunId" not in run.data.tags]

    def history(self, run: Run, metric: str) -> list[float]:
        """A metric's values, report by report."""
        return [each.value for each in self.client.get_metric_history(run.info.run_id, metric)]

    def _runs(self, query: str) -> list[Run]:
        experiment = self.client.get_experiment_by_name("rayfleet")
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id], query))


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a cluster, started as an operator does."""

    address: str
    folder: Path
    token: str
    pid: int


@contextmanager
def ray_head(folder: Path) -> Iterator[Head]:
    """Start a head on ports and in a folder of its own, beside any other Ray there is.

    Sweeps need no dashboard, whose nine processes would start first.
    """
    token = secrets.token_hex(32)
    port, client_port = free_port(), free_port()
    binary = Path(sys.executable).with_name("ray")
    command = [
        *(str(binary), "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={folder}"),
        *(f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"),
        *("--object-store-memory=200000000", f"--ray-client-server-port={client_port}"),
    ]
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": token,
                "RAY_prestart_worker_first_driver": "0",  # as in a Ray of a sweep's own
            },
            start_new_session=True,
        )
        try:
            wait_until(lambda: head.poll() is not None or listens(port))
            assert head.poll() is None, (folder / "head.log").read_text()
            yield Head(f"127.0.0.1:{port}", folder, token, head.pid)
        finally:
            head.terminate()
            head.wait(timeout=TIMEOUT_S)


@contextmanager
def ray_node(head: Head) -> Iterator["subprocess.Popen[bytes]"]:
    """Start one more node of a cluster, on this machine."""
    binary = Path(sys.executable).with_name("ray")
    command = [
        *(str(binary), "start", f"--address={head.address}", "--block", "--num-cpus=1"),
        *("--disable-usage-stats", "--object-store-memory=100000000"),
    ]
    with (head.folder / "node.log").open("w") as log:
        node = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head.token},
            start_new_session=True,
        )
        try:
            try:
                wait_until(lambda: node.poll() is not None or n_nodes(head) == 2)
            except TimeoutError:
                said = status_of(head), (head.folder / "node.log").read_text()
                raise AssertionError("\n".join(said)) from None
            assert node.poll() is None, (head.folder / "node.log").read_text()
            yield node
        finally:
            kill_all(node.pid)
            node.wait(timeout=TIMEOUT_S)


def n_nodes(head: Head) -> int:
    """How many nodes a cluster knows."""
    return len(re.findall(r"\b1 node_", status_of(head)))


def status_of(head: Head) -> str:
    """What Ray says of a cluster."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ray")), "status", f"--address={head.address}"],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head.token},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    return str(done.stdout)


def actors_of(pid: int) -> list[psutil.Process]:
    """Processes that run trials, below a node's."""
    # A node's agents are named likewise, and a node ends with them.
    others = ("IDLE", "Agent")
    titles = ((each, _title(each)) for each in tree(pid))
    return [
        each
        for each, title in titles
        if title.startswith("ray::") and not any(word in title for word in others)
    ]


def kill_all(pid: int) -> None:
    """SIGKILL a process and all below it, as when a machine loses its power."""
    for process in tree(pid):
        with suppress(psutil.Error):
            process.kill()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def listens(port: int) -> bool:
    """Whether a connection to the port is accepted."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def wait_until(fact: Callable[[], bool]) -> None:
    """Await a condition."""
    give_up_at_s = time.monotonic() + TIMEOUT_S
    while not fact():
        if time.monotonic() > give_up_at_s:
            raise TimeoutError(f"not so within {TIMEOUT_S} s")
        time.sleep(POLL_S)


def wait_while_running(process: "subprocess.Popen[str]", fact: Callable[[], bool]) -> None:
    """Await a condition that a process brings about, and show what it said if it does not."""
    try:
        wait_until(lambda: process.poll() is not None or fact())
    except TimeoutError:
        process.kill()
    if process.poll() is not None:
        raise AssertionError("\n".join(process.communicate(timeout=TIMEOUT_S)))


def read_until(process: "subprocess.Popen[str]", wanted: Callable[[str], bool]) -> str:
    """Read a process's lines until one is wanted."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if wanted(line):
            return line
    assert process.stderr is not None
    raise AssertionError("".join(seen) + process.stderr.read())


def exit_status(process: "subprocess.Popen[str]") -> int:
    """Wait for a sweep's end; one that hangs says where."""
    try:
        process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        said = "\n".join(process.communicate(timeout=TIMEOUT_S))
        raise AssertionError(f"it hangs:\n{said}") from None
    return process.returncode
