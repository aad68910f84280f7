"""A fleet of the benchmark's own, and what is asked of it."""

import json
import os
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mlflow import MlflowClient

from benchmarks.deploy import Place, cluster, status, wait
from benchmarks.pool import body_of
from benchmarks.releasing.load import Load, Question
from tuning.home import HOME_VARIABLE, resolve_home

N_GATEWAYS = 2


@dataclass(frozen=True, slots=True)
class Hosted:
    """A fleet that runs."""

    place: Place
    questions: tuple[Question, ...]
    registry: MlflowClient
    alive: Callable[[], None]
    """Raises once it has ended."""

    def load(self, *models: str, rate_per_s: float) -> Load:
        """Clients for its express port."""
        return Load(self.place.ports["express"], models, self.questions, rate_per_s=rate_per_s)

    def call(self, path: str, body: Any = None) -> Any:
        """Ask the control API."""
        url = self.place.url("control", path)
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def wait(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait for something while it runs.

        Raises:
            StartError: It did not come, or the fleet has ended.
        """
        wait(what, holds, self.alive)

    def reaches(self, model: str, phase: str) -> dict[str, Any]:
        """Wait until a model's last rollout is in a phase; returns it."""
        found: dict[str, Any] = {}

        def there() -> bool:
            found.update(self.call(f"/api/v1/deployments/{model}/rollout"))
            return bool(found["phase"] == phase)

        self.wait(f"{model}: {phase}", there)
        return found


@contextmanager
def hosted(folder: Path, home: Path, build: str, models: Mapping[str, Any]) -> Iterator[Hosted]:
    """Host models until the block ends.

    Args:
        folder: To be made, for the cluster's files.
        home: With the registry, and `known.npz`.
        build: Import path of the application.
        models: Their settings by name.
    """
    folder.mkdir()
    (folder / "home").symlink_to(home)
    with cluster(folder) as (place, alive):
        path = folder / "fleet.yaml"
        path.write_text(yaml.safe_dump(config(place, build, models), sort_keys=False))
        place.run("serve", "deploy", str(path), "--address", place.url("dashboard", ""))
        for name in models:
            _wait_for(place, name, alive)
        with np.load(home / "known.npz") as known:
            pairs = zip(known["rows"], known["answers"], strict=True)
            questions = tuple(Question(body_of(row), float(answer)) for row, answer in pairs)
        os.environ[HOME_VARIABLE] = str(home)
        uris = resolve_home()
        registry = MlflowClient(uris.tracking_uri, uris.registry_uri)
        yield Hosted(place, questions, registry, alive)


def config(place: Place, build: str, models: Mapping[str, Any]) -> dict[str, Any]:
    """The native Serve config."""
    shown = place.config({})
    (fleet,) = shown["applications"]
    fleet["import_path"] = build
    fleet["deployments"] = [
        {"name": "Gateway", "num_replicas": N_GATEWAYS},
        {"name": "Controller", "user_config": {"models": dict(models)}},
    ]
    return shown


def _wait_for(place: Place, model: str, alive: Callable[[], None]) -> None:
    url = place.url("express", f"/v2/models/{model}/ready")
    wait(f"model {model}", lambda: status(url) == 200, alive)
