"""How each server is started with one model."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import yaml

from benchmarks.serving import bare
from benchmarks.serving.environment import python_of
from benchmarks.serving.models import MODELS
from benchmarks.serving.running import REPOSITORY, Launch, free_port
from benchmarks.serving.workload import ROWS, Model
from deployments import haproxy


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server runs."""

    folder: Path
    """Empty, the server's own, and short: Ray's sockets lie in it, whose paths are bounded."""

    model: Model
    port: int
    express_port: int
    grpc_port: int


def find_site(folder: Path, model: Model) -> Site:
    """Make a site of a folder, with free ports."""
    return Site(folder, model, free_port(), free_port(), free_port())


Start = Callable[[Site], Launch]


@dataclass(frozen=True, slots=True)
class Host:
    """One server with its settings; a target is one of its doors."""

    start: Start

    environment: str | None = None
    """Of `environment.LOCKS`, that it runs in; None is ours."""


def rayfleet(**settings: Any) -> Start:
    """Host the model as users do, with Serve's own port in HAProxy mode.

    Args:
        settings: Of the model; without any it has the defaults.
    """

    def start(site: Site) -> Launch:
        express = {"port": site.express_port, "grpc_port": site.grpc_port}
        controller = {"name": "Controller", "user_config": {"models": {site.model.name: settings}}}
        config = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": site.port},
            "applications": [
                {
                    "name": "fleet",
                    "route_prefix": "/",
                    "import_path": "deployments.fleet:build",
                    "args": {"express": express, "control": None},
                    "deployments": [controller],
                }
            ],
        }
        command = (_ours("rayfleet"), "serve", str(_write_yaml(site, config)))
        environment = {**_ray(site), "RAYFLEET_HOME": str(site.model.home)}
        return Launch(command, environment)

    return start


def ray_serve(application: str, *, use_haproxy: bool) -> Start:
    """Host the model in a plain Serve application, as `serve run` does.

    With HAProxy: the two variables of Serve's manual for high throughput.
    """

    def start(site: Site) -> Launch:
        config = {
            "proxy_location": "HeadOnly",
            "http_options": {"host": "127.0.0.1", "port": site.port},
            "applications": [
                {
                    "name": "model",
                    "route_prefix": "/",
                    "import_path": f"benchmarks.serving.peers.ray_serve:{application}",
                }
            ],
        }
        command = (_ours("serve"), "run", str(_write_yaml(site, config)), "--address", "local")
        proxy = haproxy.environment(site.folder) if use_haproxy else haproxy.OFF
        return Launch(command, {**_ray(site), **proxy, **_model(site)})

    return start


def mlserver(site: Site) -> Launch:
    """Host the model in MLServer's own process with adaptive batching.

    Without its worker pool, which makes a cheap model slower.
    """
    settings = {
        "host": "127.0.0.1",
        "http_port": site.port,
        "grpc_port": site.grpc_port,
        "metrics_port": free_port(),
        "parallel_workers": 0,
        "debug": False,  # the default logs every request
    }
    is_sklearn = MODELS[site.model.name].flavor == "sklearn"
    model = {
        "name": site.model.name,
        "implementation": "mlserver_sklearn.SKLearnModel"
        if is_sklearn
        else "benchmarks.serving.peers.mlserver_model.LoadedModel",
        "parameters": {"uri": str(site.model.file), "version": "1"},
        "max_batch_size": 64,
        "max_batch_time": 0.0001,  # of 0.0001 to 0.01 the best at 32 connections
    }
    (site.folder / "settings.json").write_bytes(msgspec.json.encode(settings))
    (site.folder / "model-settings.json").write_bytes(msgspec.json.encode(model))
    command = (_program("mlserver", "mlserver"), "start", str(site.folder))
    return Launch(command, {**_model(site), "PATH": _path(python_of("mlserver"))})


def mlflow(site: Site) -> Launch:
    """Host the model in MLflow's own scoring server, with two workers."""
    command = [_ours("mlflow"), "models", "serve", "--model-uri", f"models:/{site.model.name}/1"]
    command += ["--env-manager", "local", "--workers", "2"]
    command += ["--host", "127.0.0.1", "--port", str(site.port)]
    uri = f"sqlite:///{site.model.home / 'mlflow.db'}"
    variables = {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": _path(Path(sys.executable)),  # it starts the uvicorn that it finds there
    }
    return Launch(tuple(command), {**_model(site), **variables})


def bentoml(site: Site) -> Launch:
    """Host the model in a BentoML service with adaptive batching."""
    command = [_program("bentoml", "bentoml"), "serve", "benchmarks.serving.peers.bento:Model"]
    command += ["--host", "127.0.0.1", "--port", str(site.port)]
    variables = {
        "BENCHMARK_DTYPE": np.load(site.model.folder / ROWS, mmap_mode="r").dtype.name,
        "BENTOML_HOME": str(site.folder),
        "BENTOML_DO_NOT_TRACK": "true",
        "PATH": _path(python_of("bentoml")),
    }
    return Launch(tuple(command), {**_model(site), **variables})


def uvicorn(factory: Callable[[], bare.App], window_s: float = 0.0) -> Start:
    """Host the model in a bare ASGI app."""

    def start(site: Site) -> Launch:
        command = [sys.executable, "-m", "uvicorn", "--factory", "--host", "127.0.0.1"]
        command += ["--port", str(site.port), "--no-access-log", "--log-level", "warning"]
        command += ["--loop", "uvloop", "--http", "httptools", "--lifespan", "off"]
        command += [f"{bare.__name__}:{factory.__name__}"]
        variables = {
            bare.NAME_VARIABLE: site.model.name,
            bare.WINDOW_VARIABLE: str(window_s),
        }
        return Launch(tuple(command), {**_model(site), **variables})

    return start


def _write_yaml(site: Site, config: Mapping[str, Any]) -> Path:
    path = site.folder / "config.yaml"
    path.write_text(yaml.safe_dump(dict(config), sort_keys=False))
    return path


def _ray(site: Site) -> dict[str, str]:
    return {"RAY_TMPDIR": str(site.folder), "RAY_USAGE_STATS_ENABLED": "0"}


def _model(site: Site) -> dict[str, str]:
    """Where a process finds the model, and our modules.

    One thread for each call of a model: Ray gives its replicas no more, and on few cores a
    second one is in the way of the server.
    """
    return {
        bare.MODEL_VARIABLE: str(site.model.file),
        "PYTHONPATH": str(REPOSITORY),
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
    }


def _path(python: Path) -> str:
    return os.pathsep.join((str(python.parent), os.environ["PATH"]))


def _ours(program: str) -> str:
    return str(Path(sys.executable).with_name(program))


def _program(environment: str, program: str) -> str:
    return str(python_of(environment).with_name(program))


HOSTS: Mapping[str, Host] = {
    "rayfleet": Host(rayfleet(transport="handle")),
    "direct": Host(rayfleet(transport="direct")),
    "inline": Host(rayfleet(transport="inline")),
    "split": Host(rayfleet(transport="direct", traffic={"champion": 90, "challenger": 10})),
    "unsplit": Host(rayfleet(transport="direct", num_replicas=2)),
    "shadowed": Host(rayfleet(transport="direct", mirror={"challenger": 100})),
    "no-window": Host(rayfleet(transport="handle", batch_wait_timeout_s=0)),
    "1ms-window": Host(rayfleet(transport="handle", batch_wait_timeout_s=0.001)),
    "mlserver": Host(mlserver, "mlserver"),
    "mlflow": Host(mlflow),
    "bentoml": Host(bentoml, "bentoml"),
    "ray-serve": Host(ray_serve("plain", use_haproxy=False)),
    "ray-serve-haproxy": Host(ray_serve("plain", use_haproxy=True)),
    "ray-serve-batched": Host(ray_serve("batched", use_haproxy=True)),
    "uvicorn": Host(uvicorn(bare.unbatched)),
    "uvicorn-batched": Host(uvicorn(bare.batched)),
    "uvicorn-1ms": Host(uvicorn(bare.batched, 0.001)),
    "uvicorn-2ms": Host(uvicorn(bare.batched, 0.002)),
    "uvicorn-4ms": Host(uvicorn(bare.batched, 0.004)),
}
"""By name, as targets refer to them."""
