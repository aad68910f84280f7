"""`rayfleet serve` and `rayfleet stop`, used as from a terminal."""

import json
import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import mlflow
import mlflow.sklearn
import psutil
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from deployments.haproxy import free_port
from deployments.node import node_folder
from deployments.processes import hold, tree
from tests.integration.hosting import (
    BIN,
    REPOSITORY,
    answers,
    eventually,
    fleet_config,
)
from tests.stores import new_mlflow

pytestmark = [pytest.mark.ray, pytest.mark.thorough]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder with one registered model."""
    home = tmp_path_factory.mktemp("home")
    uri = new_mlflow(home)
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    experiment = mlflow.create_experiment("models", artifact_location=(home / "files").as_uri())
    model = LogisticRegression().fit([[0.0], [1.0]], [0, 1])
    with mlflow.start_run(experiment_id=experiment):
        mlflow.sklearn.log_model(
            model, name="tiny", registered_model_name="tiny", pip_requirements=[],
            serialization_format="cloudpickle",
        )  # fmt: skip
    mlflow.MlflowClient().set_registered_model_alias("tiny", "champion", "1")
    return home


@pytest.fixture
def served(home: Path, tmp_path: Path) -> Iterator["Served"]:
    # Short: unix socket paths are bounded at about a hundred characters.
    with tempfile.TemporaryDirectory(prefix="rf-", dir="/tmp") as ray_tmpdir:
        server = Served(environment(home, ray_tmpdir), tmp_path)
        yield server
        for process in tree(server.process.pid) + server.members:
            if process.is_running():
                process.kill()


def test_ctrl_c_ends_it_cleanly(served: "Served", home: Path) -> None:
    served.wait_ready()
    again = served.rayfleet("serve", str(served.config))
    assert again.returncode == 2
    assert again.stderr == (
        f"{home}: process {served.process.pid} serves from this folder already;"
        " end it with `rayfleet stop`, or set another RAYFLEET_HOME\n"
    )

    served.process.send_signal(signal.SIGINT)

    assert served.process.wait(timeout=120) == 0
    output = served.output()
    assert "rayfleet: tiny version 1 READY\n" in output
    assert output.endswith("rayfleet: stopped\n")
    assert "Traceback" not in output
    assert served.survivors() == []


def test_stop_ends_what_a_killed_terminal_left(
    served: "Served", home: Path, tmp_path: Path
) -> None:
    served.wait_ready()
    folder = Path(json.loads((home / "serve.json").read_text())["folder"])
    assert folder.is_dir()
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait()

    elsewhere = write_config(tmp_path, free_port(), free_port())
    refused = served.rayfleet("serve", str(elsewhere))
    stopped = served.rayfleet("stop")

    assert refused.stderr == (
        f"{home}: a server that was killed has left processes behind;"
        " end them with `rayfleet stop`\n"
    )
    assert (stopped.returncode, stopped.stdout) == (
        0,
        "rayfleet: stopping\nrayfleet: stopped\n",
    )
    eventually("nothing is left", lambda: served.survivors() == [], within_s=30)
    assert not folder.exists()


def test_a_port_in_use_is_refused_before_anything_starts(home: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        path = write_config(tmp_path, port, free_port())

        refused = run_rayfleet(environment(home), "serve", str(path))

    assert refused.returncode == 2
    assert refused.stderr == (
        f"{path}: http_options.port: {port} on 127.0.0.1: Address already in use;"
        " free it or change it\n"
    )


def test_a_second_one_is_refused_while_the_first_has_yet_to_listen(
    home: Path, tmp_path: Path
) -> None:
    port = free_port()
    path = write_config(tmp_path, port, free_port())
    first = f"process {os.getpid()}"
    with hold(home / "serve.lock"):
        same_home = run_rayfleet(environment(home), "serve", str(path))
    with hold(node_folder() / f"http-{port}.lock"):
        same_port = run_rayfleet(environment(home), "serve", str(path))

    assert (same_home.returncode, same_port.returncode) == (2, 2)
    assert same_home.stderr == (
        f"{home}: {first} serves from this folder already;"
        " end it with `rayfleet stop`, or set another RAYFLEET_HOME\n"
    )
    assert same_port.stderr == (
        f"{path}: http_options.port: {port}: is about to be taken by another"
        f" `rayfleet serve`, {first}; choose another\n"
    )


def test_an_address_without_a_ray_is_refused_at_once(home: Path) -> None:
    nowhere = f"127.0.0.1:{free_port()}"

    refused = run_rayfleet(environment(home), "serve", "--address", nowhere)

    assert refused.returncode == 2
    assert refused.stderr == f"--address: '{nowhere}': no Ray there: Connection refused\n"


def test_stop_with_nothing_to_stop(tmp_path: Path) -> None:
    stopped = run_rayfleet(environment(tmp_path / "home"), "stop")

    assert (stopped.returncode, stopped.stdout) == (0, "rayfleet: nothing to stop\n")
    assert not (tmp_path / "home").exists()


class Served:
    """A server with a Ray of its own."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self._environment = environment
        port, express_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.express_url = f"http://127.0.0.1:{express_port}"
        self.config = write_config(folder, port, express_port)

        self.process = subprocess.Popen(
            [BIN / "rayfleet", "serve", self.config, "--no-haproxy", "--address", "local"],
            env=environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.members: list[psutil.Process] = []
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_ready(self) -> None:
        where = f"{self.url}, express port {self.express_url}"
        ready = f"rayfleet: ready at {where}, Ctrl-C stops\n"
        eventually("the fleet", lambda: ready in self._lines)
        assert answers(f"{self.url}/v2/health/ready")
        assert answers(f"{self.express_url}/v2/health/ready")
        self.members = tree(self.process.pid)
        assert len(self.members) > 5

    def output(self) -> str:
        """All that it printed; call when it has ended."""
        self._reader.join(timeout=30)
        return "".join(self._lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    def survivors(self) -> list[str]:
        return [
            process.name()
            for process in self.members
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]

    def rayfleet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_rayfleet(self._environment, *arguments)


def write_config(folder: Path, port: int, express_port: int) -> Path:
    args = {"express": {"port": express_port, "grpc_port": free_port()}}
    grpc_address = f"127.0.0.1:{free_port()}"
    config = fleet_config(f"http://127.0.0.1:{port}", {"tiny": {}}, args, grpc_address=grpc_address)
    config["applications"][0]["deployments"][0]["num_replicas"] = 1
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def environment(home: Path, ray_tmpdir: str = "") -> dict[str, str]:
    """Ours without what would lead to another cluster."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    ours = {"RAYFLEET_HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
    return {**kept, **ours, **({"RAY_TMPDIR": ray_tmpdir} if ray_tmpdir else {})}


def run_rayfleet(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "rayfleet", *arguments],
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
