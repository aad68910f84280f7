"""What the integration tests hold of a real cluster and of a fleet on it."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import yaml
from mlflow import MlflowClient

from deployments import haproxy
from deployments.haproxy import free_port
from deployments.processes import ProcessTree
from tuning.home import TRACKING_VARIABLE

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
SERVED = ("breast-cancer", "digits", "wine")

REPLICA_TITLE = "ray::ServeReplica:"
"""How Ray titles the processes of Serve's replicas."""

SILENCE_S = 5
"""Longest that HAProxy waits for a client; less than a deployment's, so that tests see it."""

READ_TIMEOUT_S = 4.0
"""Longest that a request may take to arrive; as above."""

READY_S = 180.0
"""Longest wait for anything on a busy machine, seconds."""


@dataclass(frozen=True, slots=True)
class Redis:
    """A server that keeps a cluster's own state."""

    address: str
    password: str


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster of the tests' own."""

    dashboard: str
    gcs_address: str
    ray_tmpdir: Path
    home: Path
    environment: Mapping[str, str]

    @property
    def registry(self) -> MlflowClient:
        """Where its fleet finds models, and its sweeps put them."""
        uri = self.environment.get(TRACKING_VARIABLE) or f"sqlite:///{self.home / 'mlflow.db'}"
        return MlflowClient(uri, uri)

    def run(self, *command: str | Path, timeout_s: float = READY_S) -> str:
        """Run one of the environment's commands against this cluster; returns its output."""
        finished = subprocess.run(
            [str(BIN / str(command[0])), *map(str, command[1:])],
            env={**os.environ, **self.environment},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return finished.stdout


@contextmanager
def started_cluster(
    home: Path, variables: Mapping[str, str] | None = None, redis: Redis | None = None
) -> Iterator[Cluster]:
    """`ray start --head`, ended with everything that it started.

    Args:
        home: The fleet's, for its embedded state.
        variables: Of the environment, beside those that every cluster here has.
        redis: Where the head keeps its state; None leaves it in its memory.
    """
    # Short: unix socket paths are bounded at about a hundred characters.
    ray_tmpdir = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    gcs_port, dashboard_port = free_port(), free_port()
    environment = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_TMPDIR": str(ray_tmpdir),
        "RAY_ADDRESS": f"127.0.0.1:{gcs_port}",
        "RAYFLEET_HOME": str(home),
        **haproxy.environment(ray_tmpdir),
        "RAY_USAGE_STATS_ENABLED": "0",
        # As `rayfleet serve` sets it: else clients at full speed starve the gateways.
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        **(variables or {}),
    }
    command = [
        str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=4",
        "--node-ip-address=127.0.0.1",
        f"--port={gcs_port}", f"--dashboard-port={dashboard_port}",
        f"--dashboard-agent-listen-port={free_port()}",
        f"--ray-client-server-port={free_port()}",
        f"--metrics-export-port={free_port()}",
    ]  # fmt: skip
    # Its own address must not tell `ray start` to join a cluster.
    starting = {**environment, "RAY_ADDRESS": ""}
    if redis is not None:
        command.append(f"--redis-password={redis.password}")
        starting |= {
            "RAY_REDIS_ADDRESS": redis.address,
            "RAY_external_storage_namespace": "tests",
        }
    with (ray_tmpdir / "ray.log").open("wb") as log, ProcessTree(command, starting, log):
        dashboard = f"http://127.0.0.1:{dashboard_port}"
        eventually("Ray's dashboard", lambda: answers(f"{dashboard}/api/version"))
        yield Cluster(dashboard, environment["RAY_ADDRESS"], ray_tmpdir, home, environment)
    shutil.rmtree(ray_tmpdir, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class HostedModel:
    """A model of the fleet and what is known of it offline."""

    version: str
    holdout_rows: Any
    expected: Any


@dataclass(slots=True)
class Fleet:
    """A fleet on the cluster."""

    cluster: Cluster
    url: str
    folder: Path
    models: dict[str, HostedModel]
    express_url: str
    grpc_address: str
    """Of Serve's gRPC door."""

    express_grpc_address: str
    control_url: str
    user_config: dict[str, Any] = field(default_factory=dict)
    more_args: dict[str, Any] = field(default_factory=dict)
    """Of the fleet's application, beside or instead of those that every fleet here has."""

    n_gateways: int = 2

    @property
    def args(self) -> dict[str, Any]:
        """Of the fleet's application, unless a test says otherwise."""
        ports = {
            "port": port_of(self.express_url),
            "grpc_port": port_of(self.express_grpc_address),
            "read_timeout_s": READ_TIMEOUT_S,
        }
        return {
            "request_deadline_s": 8,
            "express": ports,
            "control": {"port": port_of(self.control_url)},
            "model_control_mode": "explicit",
            **self.more_args,
        }

    @property
    def ray_tmpdir(self) -> Path:
        """Where Ray keeps its session."""
        return self.cluster.ray_tmpdir

    @property
    def doors(self) -> dict[str, str]:
        """Addresses for HTTP by name."""
        return {"serve": self.url, "express": self.express_url}

    @property
    def grpc_doors(self) -> dict[str, str]:
        """Addresses for gRPC by name."""
        return {"serve": self.grpc_address, "express": self.express_grpc_address}

    def deploy(
        self,
        models: Mapping[str, Any],
        args: Mapping[str, Any] | None = None,
        pools: Mapping[str, Any] | None = None,
    ) -> None:
        """Do what `serve deploy` does with a config of these models, in less time."""
        config = fleet_config(
            self.url, models, {**self.args, **(args or {})}, grpc_address=self.grpc_address
        )
        gateway, controller = config["applications"][0]["deployments"]
        gateway["num_replicas"] = self.n_gateways
        controller["user_config"]["pools"] = dict(pools or {})
        self._ask_serve("PUT", json.dumps(config).encode())

    def deploy_by_command(self, models: Mapping[str, Any]) -> None:
        """`serve deploy` a config with these models; returns when Serve has it."""
        config = fleet_config(self.url, models, self.args, grpc_address=self.grpc_address)
        path = self.folder / "fleet.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        self.cluster.run("serve", "deploy", path, "-a", self.cluster.dashboard)

    def status(self) -> dict[str, Any]:
        """Serve's own view: applications by name. `serve status` costs seconds, this does not."""
        return dict(json.loads(self._ask_serve("GET"))["applications"])

    def status_messages(self) -> str:
        """What Serve says of it, and of its deployments."""
        application = self.status()["fleet"]
        deployments = application["deployments"].values()
        return "\n".join([application["message"], *(item["message"] for item in deployments)])

    def _ask_serve(self, method: str, body: bytes | None = None) -> bytes:
        token = self.cluster.environment["RAY_AUTH_TOKEN"]
        request = urllib.request.Request(
            f"{self.cluster.dashboard}/api/serve/applications/",
            data=body,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} of the config: {error}: {error.read()!r}") from error

    def call(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        door: str | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request, to Serve's door unless said otherwise; any status is an answer."""
        url = (door or self.url) + path
        request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, lowered(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            return error.code, lowered(error.headers), error.read()

    def infer(
        self, model: str, rows: Any, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send rows as JSON; returns status and body."""
        status, _, body = self.call(f"/v2/models/{model}/infer", infer_body(rows), headers)
        return status, json.loads(body)

    def index(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Repository index by model and version."""
        _, _, body = self.call("/v2/repository/index", b"")
        return {(entry["name"], entry["version"]): entry for entry in json.loads(body)}


def lowered(headers: Any) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def infer_body(rows: Any) -> bytes:
    """A JSON inference request for the unnamed input."""
    array = np.asarray(rows)
    datatype = {"float64": "FP64", "float32": "FP32"}[array.dtype.name]
    tensor = {"name": "input-0", "shape": array.shape, "datatype": datatype}
    return json.dumps({"inputs": [{**tensor, "data": array.ravel().tolist()}]}).encode()


def eventually(what: str, condition: Callable[[], Any], within_s: float = READY_S) -> Any:
    """Wait for a condition of another process; returns its first true value."""
    deadline_s = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        time.sleep(0.1)


def make_fleet(
    cluster: Cluster, folder: Path, models: Mapping[str, HostedModel], **settings: Any
) -> Fleet:
    """A fleet with ports of its own, not deployed yet."""
    doors = [f"127.0.0.1:{free_port()}" for _ in range(5)]
    return Fleet(
        cluster,
        f"http://{doors[0]}",
        folder,
        dict(models),
        express_url=f"http://{doors[1]}",
        grpc_address=doors[2],
        express_grpc_address=doors[3],
        control_url=f"http://{doors[4]}",
        **settings,
    )


class Registering:
    """Registers the models of the tests, in a process of its own that nobody waits for yet."""

    def __init__(self, folder: Path, variables: Mapping[str, str]) -> None:
        """Begin.

        Args:
            folder: For rows, for what is known of them offline, and for what the process says.
            variables: Of the environment: where the registry is.
        """
        self.folder = folder
        self._log = folder / "register.log"
        command = [BIN / "python", REPOSITORY / "tests/integration/register_models.py", folder]
        environment = {**os.environ, **variables}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log
            )

    def __enter__(self) -> "Registering":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def models(self) -> dict[str, HostedModel]:
        """Wait for the end; returns those whose answers are known."""
        assert self._process.wait(READY_S) == 0, self._log.read_text()
        models = {}
        for name in SERVED:
            known = np.load(self.folder / f"{name}.npz")
            models[name] = HostedModel("1", known["rows"], known["expected"])
        return models


def port_of(url: str) -> int:
    """The port at the end of an address."""
    return int(url.rpartition(":")[2])


def fleet_config(
    url: str, models: Mapping[str, Any], args: Mapping[str, Any], *, grpc_address: str
) -> dict[str, Any]:
    """The shipped config with other models, other ports and two gateways."""
    config: dict[str, Any] = yaml.safe_load((REPOSITORY / "configs" / "fleet.yaml").read_text())
    config["http_options"]["port"] = port_of(url)
    config["grpc_options"]["port"] = port_of(grpc_address)
    application = config["applications"][0]
    # Nobody's default port: other tests run beside this one.
    application["args"] = {"express": None, "control": None, **args}
    application["deployments"] = [
        {"name": "Gateway", "num_replicas": 2},
        {"name": "Controller", "user_config": {"models": dict(models)}},
    ]
    return config


def answers(url: str) -> bool:
    """Whether anything answers there, be it that a token is missing."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def in_parallel(calls: Sequence[Callable[[], None]]) -> None:
    """Run each call in a thread of its own, to its end."""
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads)


def replica_pids(fleet: Fleet) -> dict[tuple[str, int], float]:
    """Start times of the replicas' processes, by application#deployment and process id."""
    session = str(fleet.ray_tmpdir)
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        # ray::ServeReplica:APPLICATION:DEPLOYMENT, then `.method` while one runs, then blanks.
        title = " ".join(process.info["cmdline"] or []).strip()
        if not title.startswith(REPLICA_TITLE):
            continue
        with suppress(psutil.Error):  # it has ended, or is another user's
            if process.environ().get("RAY_TMPDIR") != session:
                continue
            application, deployment = title.removeprefix(REPLICA_TITLE).split(":")[:2]
            name = f"{application}#{deployment.partition('.')[0]}"
            found[name, process.pid] = process.create_time()
    return found


def pids_of(fleet: Fleet, name: str) -> set[int]:
    """Process ids of one deployment's replicas, by application#deployment."""
    return {pid for (replica, pid) in replica_pids(fleet) if replica == name}


def kill(pids: dict[tuple[str, int], float], name: str) -> int:
    """Kill one of the processes that `replica_pids` found; returns which."""
    pid = next(pid for (replica, pid) in pids if replica == name)
    os.kill(pid, signal.SIGKILL)
    return pid
