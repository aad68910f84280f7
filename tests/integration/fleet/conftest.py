"""One real Ray cluster and one real fleet for the tests of this folder.

The cluster is started with `ray start --head` and the fleet with `serve deploy`, as on a
cluster of one's own, with HAProxy mode and Ray's token authentication as Ray ships it.
"""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deployments import haproxy
from deployments.haproxy import free_port
from deployments.processes import ProcessTree
from tests.integration.hosting import (
    BIN,
    READY_S,
    REPOSITORY,
    SERVED,
    SILENCE_S,
    Cluster,
    Fleet,
    HostedModel,
    answers,
    eventually,
)


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the registry is."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="package")
def registering(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """What registers the models, meanwhile, and the folder it writes to."""
    folder = tmp_path_factory.mktemp("fleet")
    command = [BIN / "python", REPOSITORY / "tests/integration/register_models.py", folder]
    environment = {**os.environ, "RAYFLEET_HOME": str(home)}
    with (
        (folder / "register.log").open("wb") as log,
        subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log
        ) as process,
    ):
        yield process, folder
        process.kill()


@pytest.fixture(scope="package")
def cluster(home: Path) -> Iterator[Cluster]:
    """`ray start --head`, ended with everything that it started."""
    # Short: unix socket paths are bounded at about a hundred characters.
    ray_tmpdir = Path(tempfile.mkdtemp(prefix="rf-", dir="/tmp"))
    gcs_port, dashboard_port = free_port(), free_port()
    environment = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_TMPDIR": str(ray_tmpdir),
        "RAY_ADDRESS": f"127.0.0.1:{gcs_port}",
        "RAYFLEET_HOME": str(home),
        **haproxy.environment(ray_tmpdir),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(SILENCE_S),
        "RAY_USAGE_STATS_ENABLED": "0",
        # As `rayfleet serve` sets it: else clients at full speed starve the gateways.
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
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
    with (ray_tmpdir / "ray.log").open("wb") as log, ProcessTree(command, starting, log):
        dashboard = f"http://127.0.0.1:{dashboard_port}"
        eventually("Ray's dashboard", lambda: answers(f"{dashboard}/api/version"))
        yield Cluster(dashboard, environment["RAY_ADDRESS"], ray_tmpdir, home, environment)
    shutil.rmtree(ray_tmpdir, ignore_errors=True)


@pytest.fixture(scope="package")
def fleet(registering: tuple[subprocess.Popen[bytes], Path], cluster: Cluster) -> Fleet:
    """A fleet of the three frameworks and of two troubled models, ready."""
    process, folder = registering
    assert process.wait(READY_S) == 0, (folder / "register.log").read_text()
    models = {}
    for name in SERVED:
        known = np.load(folder / f"{name}.npz")
        models[name] = HostedModel("1", known["rows"], known["expected"])
    doors = [f"127.0.0.1:{free_port()}" for _ in range(5)]
    fleet = Fleet(
        cluster,
        f"http://{doors[0]}",
        folder,
        models,
        express_url=f"http://{doors[1]}",
        grpc_address=doors[2],
        express_grpc_address=doors[3],
        control_url=f"http://{doors[4]}",
    )
    fleet.user_config = {name: {} for name in (*SERVED, "moody", "broken", "columns")}
    # Short for the others, so that a retired version goes soon; here a replica is killed,
    # and on a busy machine its replacement imports PyTorch for longer than that.
    fleet.user_config["digits"] = {"request_deadline_s": 60, "transport": "direct"}
    fleet.user_config["breast-cancer"] = {
        "traffic": {"champion": 90, "challenger": 10},
        "transport": "direct",
    }
    fleet.user_config["moody"] = {"transport": "direct"}
    fleet.deploy_by_command(fleet.user_config)
    eventually("the fleet", lambda: answers(f"{fleet.url}/v2/health/ready"))
    return fleet
