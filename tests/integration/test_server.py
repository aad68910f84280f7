"""`rayfleet serve` and `rayfleet stop`, used as from a terminal."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml

from deployments.processes import tree
from tests.integration.hosting import (
    BIN,
    REPOSITORY,
    Fleet,
    answers,
    eventually,
    fleet_config,
    free_port,
)

pytestmark = pytest.mark.ray


@pytest.fixture
def served(fleet: Fleet, tmp_path: Path) -> Iterator["Served"]:
    server = Served(fleet, tmp_path)
    yield server
    for process in server.members:
        if process.is_running():
            process.kill()


def test_ctrl_c_ends_it_cleanly(served: "Served") -> None:
    served.wait_ready()

    served.process.send_signal(signal.SIGINT)

    output, _ = served.process.communicate(timeout=120)
    assert served.process.returncode == 0
    assert "rayfleet: ready at" in output
    assert output.rstrip().endswith("rayfleet: stopped")
    assert "Traceback" not in output
    assert served.survivors() == []


def test_stop_ends_what_a_killed_terminal_left(served: "Served") -> None:
    served.wait_ready()
    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait()

    stopped = served.rayfleet("stop")

    assert (stopped.returncode, stopped.stdout) == (0, "rayfleet: stopped\n")
    eventually("nothing is left", lambda: served.survivors() == [], within_s=30)


def test_a_port_in_use_is_refused_before_anything_starts(fleet: Fleet, tmp_path: Path) -> None:
    port = int(fleet.url.rpartition(":")[2])
    path = write_config(tmp_path, port)

    refused = run_rayfleet(fleet, "serve", str(path))

    assert refused.returncode == 2
    assert refused.stderr == (
        f"{path}: http_options.port: {port} on 127.0.0.1: Address already in use;"
        " free it or change it\n"
    )


def test_stop_with_nothing_to_stop(fleet: Fleet) -> None:
    stopped = run_rayfleet(fleet, "stop")

    assert (stopped.returncode, stopped.stdout) == (0, "rayfleet: nothing to stop\n")


class Served:
    """A server with a Ray of its own, on the registry of the session's fleet."""

    def __init__(self, fleet: Fleet, folder: Path) -> None:
        self._fleet = fleet
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        path = write_config(folder, port)

        self.process = subprocess.Popen(
            [BIN / "rayfleet", "serve", path, "--no-haproxy", "--address", "local"],
            env={**os.environ, **fleet.cluster.environment},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.members: list[psutil.Process] = []

    def wait_ready(self) -> None:
        eventually("the fleet", lambda: answers(f"{self.url}/v2/health/ready"))
        self.members = tree(self.process.pid)
        assert len(self.members) > 5

    def survivors(self) -> list[str]:
        return [
            process.name()
            for process in self.members
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        ]

    def rayfleet(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_rayfleet(self._fleet, *arguments)


def write_config(folder: Path, port: int) -> Path:
    config = fleet_config(f"http://127.0.0.1:{port}", {"breast-cancer": {}}, {})
    config["applications"][0]["deployments"][0]["num_replicas"] = 1
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def run_rayfleet(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "rayfleet", *arguments],
        env={**os.environ, **fleet.cluster.environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
