"""Everything that can be measured, and how each is started. A new peer is a new row."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec
import yaml

from benchmarks.serving import bare
from benchmarks.serving.environment import python_of
from benchmarks.serving.running import Launch, free_port
from benchmarks.serving.workload import Workload

MLSERVER_LOCK = Path(__file__).with_name("requirements-mlserver.lock")


class Role(StrEnum):
    """What a target's figure says about ours."""

    OURS = "ours"
    PEER = "peer"
    BARE = "bare"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Site:
    """Where a target runs."""

    folder: Path
    """Empty, the target's own, and short: Ray's sockets lie in it, whose paths are bounded."""

    port: int
    workload: Workload


@dataclass(frozen=True, slots=True)
class Target:
    """One server under measurement."""

    title: str
    role: Role
    launch: Callable[[Site], Launch]

    lock: Path | None = None
    """Pinned environment that it needs, named as the target; None means ours."""


def rayfleet(*, express: bool = False, **settings: float | str) -> Callable[[Site], Launch]:
    """Host the model as users do, with Serve's own port in HAProxy mode.

    Args:
        express: Whether the express port is measured instead of Serve's.
        settings: Of the model; without any it has the defaults.
    """
    return lambda site: _rayfleet(site, settings, express=express)


def _rayfleet(site: Site, settings: Mapping[str, float | str], *, express: bool) -> Launch:
    serve_port, express_port = (free_port(), site.port) if express else (site.port, free_port())
    models = {site.workload.model: dict(settings)}
    controller = {"name": "Controller", "user_config": {"models": models}}
    config = {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": serve_port},
        "applications": [
            {
                "name": "fleet",
                "route_prefix": "/",
                "import_path": "deployments.fleet:build",
                "args": {"express": {"port": express_port, "grpc_port": None}},
                "deployments": [controller],
            }
        ],
    }
    path = site.folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command = str(Path(sys.executable).with_name("rayfleet"))
    return Launch((command, "serve", str(path)), _ray_environment(site))


def _ray_environment(site: Site) -> dict[str, str]:
    return {
        "RAYFLEET_HOME": str(site.workload.home),
        "RAY_TMPDIR": str(site.folder),
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def mlserver(site: Site) -> Launch:
    """Host the model in MLServer's own process with adaptive batching.

    Without its worker pool, which makes a cheap model slower.
    """
    settings = {
        "host": "127.0.0.1",
        "http_port": site.port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,  # the default logs every request
    }
    model = {
        "name": site.workload.model,
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(site.workload.pickled_model), "version": "1"},
        "max_batch_size": 32,
        "max_batch_time": 0.001,  # seconds; at 32 connections 0.02 is no faster, 0.0002 slower
    }
    (site.folder / "settings.json").write_bytes(msgspec.json.encode(settings))
    (site.folder / "model-settings.json").write_bytes(msgspec.json.encode(model))
    command = str(python_of("mlserver").with_name("mlserver"))
    path = os.pathsep.join((str(Path(command).parent), os.environ["PATH"]))
    return Launch((command, "start", str(site.folder)), {"PATH": path})


def uvicorn(factory: Callable[[], bare.App]) -> Callable[[Site], Launch]:
    """Host the model in a bare ASGI app."""

    def launch(site: Site) -> Launch:
        command = [sys.executable, "-m", "uvicorn", "--factory", "--host", "127.0.0.1"]
        command += ["--port", str(site.port), "--no-access-log", "--log-level", "warning"]
        command += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
        command += [f"{bare.__name__}:{factory.__name__}"]
        return Launch(tuple(command), {bare.MODEL_VARIABLE: str(site.workload.pickled_model)})

    return launch


TARGETS: Mapping[str, Target] = {
    "rayfleet": Target("Rayfleet, Serve's port", Role.OURS, rayfleet()),
    "express": Target("Rayfleet, express port", Role.OURS, rayfleet(express=True)),
    "direct": Target(
        "Rayfleet, express and direct", Role.OURS, rayfleet(express=True, transport="direct")
    ),
    "rayfleet-0": Target("Rayfleet, no window", Role.BARE, rayfleet(batch_wait_timeout_s=0)),
    "rayfleet-1": Target("Rayfleet, 1 ms window", Role.BARE, rayfleet(batch_wait_timeout_s=0.001)),
    "mlserver": Target("MLServer, adaptive batching", Role.PEER, mlserver, MLSERVER_LOCK),
    "uvicorn": Target("bare uvicorn", Role.BARE, uvicorn(bare.unbatched)),
    "uvicorn-batched": Target("bare uvicorn, batched", Role.LIMIT, uvicorn(bare.batched)),
}
"""By name on the command line, in the order of the report."""

USUAL = ("rayfleet", "express", "direct", "mlserver", "uvicorn", "uvicorn-batched")
"""What is measured unless somebody asks for others."""
