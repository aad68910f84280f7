"""Measure how long a fleet takes from nothing to ready: python -m benchmarks.deploy.

Nothing means no Ray: the clock starts with `ray start`, and goes on through `serve deploy`
until every model has answered rightly. Some of the models have replicas of their own, the
others share a pool's. Then the config changes in one model, once so that its replica can stay
and once so that it must be replaced, and the processes of all others must still be the same.
"""

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import psutil
import yaml

from benchmarks.pool import body_of, register
from benchmarks.pooled_models import DEDICATED, KINDS, name_of
from benchmarks.serving.running import (
    REPOSITORY,
    Launch,
    StartError,
    free_port,
    require_alive,
    running,
)
from deployments import haproxy

BAR_S = 180.0
"""Longest time from nothing until every model has answered."""

POOL = "shared"

WITHIN_S = 600.0
"""After which a measurement is given up, seconds."""

POLL_S = 0.1

BIN = Path(sys.executable).parent

REPLICA_TITLE = "ray::ServeReplica:"

Processes = Mapping[int, tuple[str, float]]
"""Title up to the method, and start time, by process id."""


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster of this benchmark's own, and the fleet's doors on it."""

    folder: Path
    ports: Mapping[str, int]
    environment: Mapping[str, str]

    def run(self, *command: str) -> None:
        """Run one of Ray's commands against it.

        Raises:
            StartError: It failed.
        """
        finished = subprocess.run(
            [str(BIN / command[0]), *command[1:]],
            env={**os.environ, **self.environment},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise StartError(f"{command[0]}: {(finished.stderr or finished.stdout)[-500:]}")

    def deploy(self, models: Mapping[str, Any]) -> None:
        """`serve deploy` a config with these models."""
        path = self.folder / "fleet.yaml"
        path.write_text(yaml.safe_dump(self.config(models), sort_keys=False))
        dashboard = f"http://127.0.0.1:{self.ports['dashboard']}"
        self.run("serve", "deploy", str(path), "--address", dashboard)

    def config(self, models: Mapping[str, Any]) -> dict[str, Any]:
        """The native Serve config, with one gateway and one controller."""
        user_config = {"models": dict(models), "pools": {POOL: {"num_replicas": 1}}}
        fleet = {
            "name": "fleet",
            "route_prefix": "/",
            "import_path": "deployments.fleet:build",
            "args": {
                "express": {"port": self.ports["express"], "grpc_port": None},
                "control": {"port": self.ports["control"]},
            },
            "deployments": [{"name": "Controller", "user_config": user_config}],
        }
        return {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": self.ports["http"]},
            "applications": [fleet],
        }

    def url(self, door: str, path: str) -> str:
        """An address at one of the ports."""
        return f"http://127.0.0.1:{self.ports[door]}{path}"

    def replicas(self) -> Processes:
        """Every replica of Serve's on this cluster: gateway, controller, models, pool."""
        found = {}
        for process in psutil.process_iter(["cmdline", "environ", "create_time"]):
            title = " ".join(process.info["cmdline"] or []).strip()
            ours = (process.info["environ"] or {}).get("RAY_TMPDIR")
            if ours == self.environment["RAY_TMPDIR"] and title.startswith(REPLICA_TITLE):
                name = title.removeprefix(REPLICA_TITLE).partition(".")[0]
                found[process.pid] = name, process.info["create_time"]
        return found


def main() -> int:
    """Run the benchmark; 0 if every answer was right, whether or not the bars were met."""
    plan = parser().parse_args()
    if not 1 <= plan.dedicated < plan.models:
        allowed = f"1 to {plan.models - 1}"
        print(f"benchmark: --dedicated: {plan.dedicated}, allowed: {allowed}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="rd-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        print(f"registering {plan.models} models", flush=True)
        register(folder / "home", plan.models - 1)
        try:
            return measure(plan, folder)
        except StartError as error:
            print(f"benchmark: {error}", file=sys.stderr)
            return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.deploy",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--models", type=int, default=20, help="in the fleet")
    parser.add_argument("--dedicated", type=int, default=8, help="of them, with their own replica")
    return parser


def measure(plan: argparse.Namespace, folder: Path) -> int:
    """Deploy, change, print; returns the exit status."""
    names = [*map(name_of, range(plan.models - 1)), DEDICATED]  # as they were registered
    models: dict[str, Any] = {
        name: {"pool": POOL} if number < plan.models - plan.dedicated else {}
        for number, name in enumerate(names)
    }
    began_s = time.monotonic()
    with cluster(folder) as (place, alive):
        up_s = time.monotonic() - began_s
        place.deploy(models)
        wait("the fleet", lambda: all(is_ready(place, name) for name in names), alive)
        ready_s = time.monotonic() - began_s
        with np.load(folder / "home" / "known.npz") as stored:
            body, known = body_of(stored["rows"][0]), stored["answers"][:, 0]
        wrong = [
            name
            for number, name in enumerate(names)
            if ask(place, name, body) != known[number % KINDS]
        ]
        answered_s = time.monotonic() - began_s

        before = place.replicas()
        models[DEDICATED] = {"max_batch_size": 16}
        in_place_s = change(place, models, alive)
        kept = place.replicas()
        models[DEDICATED] = {"max_batch_size": 16, "ray_actor_options": {"num_cpus": 0.2}}
        replaced_s = change(place, models, alive)
        own = {pid for pid, (title, _) in before.items() if title.startswith(f"{DEDICATED}--")}
        wait("its new replica", lambda: not own & place.replicas().keys(), alive)
        after = place.replicas()

    lost = before.items() - kept.items()
    lost_beside = {each for each in before.items() - after.items() if each[0] not in own}
    own_after = [title for title, _ in after.values() if title.startswith(f"{DEDICATED}--")]
    print(f"{plan.models} models, {plan.dedicated} with their own replica, the others in a pool")
    print(f"Ray was up after {up_s:.1f} s, all models were ready after {ready_s:.1f} s")
    others = f"{len(lost_beside)} replicas of others restarted"
    bars = [
        (f"all models had answered after {answered_s:.1f} s, bar {BAR_S:g}", answered_s <= BAR_S),
        (
            f"batch size changed in {in_place_s:.1f} s: {len(lost)} replicas restarted, bar 0",
            not lost,
        ),
        (
            f"CPU share changed in {replaced_s:.1f} s: {others}, bar 0",
            not lost_beside and len(own_after) == 1,
        ),
        (f"{len(wrong)} wrong answers, bar 0{''.join(f' {name}' for name in wrong)}", not wrong),
    ]
    for said, is_met in bars:
        print(f"{said}: {'met' if is_met else 'not met'}")
    return 0 if all(is_met for _, is_met in bars) else 1


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Place, Callable[[], None]]]:
    """Start Ray; gives the place, and what raises once Ray has ended."""
    ray_tmpdir = folder / "ray"
    ray_tmpdir.mkdir()
    ports = {
        name: free_port()
        for name in ("gcs", "dashboard", "agent", "client", "metrics", "http", "express", "control")
    }
    environment = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "RAY_TMPDIR": str(ray_tmpdir),
        "RAY_ADDRESS": f"127.0.0.1:{ports['gcs']}",
        "RAYFLEET_HOME": str(folder / "home"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        **haproxy.environment(ray_tmpdir),
    }
    command = (
        str(BIN / "ray"), "start", "--head", "--block", "--num-cpus=2",
        "--node-ip-address=127.0.0.1",
        f"--port={ports['gcs']}", f"--dashboard-port={ports['dashboard']}",
        f"--dashboard-agent-listen-port={ports['agent']}",
        f"--ray-client-server-port={ports['client']}", f"--metrics-export-port={ports['metrics']}",
    )  # fmt: skip
    log = folder / "log"
    with running(Launch(command, {**environment, "RAY_ADDRESS": ""}), log=log) as process:
        place = Place(folder, ports, environment)

        def alive() -> None:
            require_alive(process, log=log)

        wait("Ray", lambda: status(place.url("dashboard", "/api/version")) in {200, 401}, alive)
        yield place, alive


def change(place: Place, models: Mapping[str, Any], alive: Callable[[], None]) -> float:
    """Deploy a config; returns the seconds until the gateway acts on what it changes."""
    began_s, before = time.monotonic(), revision(place)
    place.deploy(models)
    wait("the change at the gateway", lambda: revision(place) > before, alive)
    return time.monotonic() - began_s


def revision(place: Place) -> float:
    """Of the routing table that the gateway acts on."""
    with urllib.request.urlopen(place.url("express", "/metrics"), timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    (line,) = [each for each in lines if each.startswith("rayfleet_table_revision{")]
    return float(line.rpartition(" ")[2])


def is_ready(place: Place, model: str) -> bool:
    """Whether a model says that it can answer."""
    return status(place.url("express", f"/v2/models/{model}/ready")) == 200


def ask(place: Place, model: str, body: bytes) -> float:
    """What a model answers to one row."""
    url = place.url("express", f"/v2/models/{model}/infer")
    with urllib.request.urlopen(url, data=body, timeout=60) as answer:
        (number,) = json.load(answer)["outputs"][0]["data"]
    return float(number)


def status(url: str) -> int:
    """Of an answer; 0 where there is none."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return int(answer.status)
    except URLError as error:
        return int(getattr(error, "code", 0))
    except OSError:
        return 0


def wait(what: str, holds: Callable[[], bool], alive: Callable[[], None]) -> None:
    """Wait for something while Ray runs.

    Raises:
        StartError: It did not come, or Ray has ended.
    """
    deadline_s = time.monotonic() + WITHIN_S
    while not holds():
        alive()
        if time.monotonic() > deadline_s:
            raise StartError(f"not within {WITHIN_S:g} s: {what}")
        time.sleep(POLL_S)


if __name__ == "__main__":
    sys.exit(main())
