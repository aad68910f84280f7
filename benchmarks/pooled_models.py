"""Register many models quickly: python -m benchmarks.pooled_models FOLDER N.

Fits and logs a few, and registers each under many names, since logging costs a second and
registering milliseconds; a pool cannot tell the difference. A process of its own, so that the
run does not carry MLflow in memory.
"""

import os
import sys
from pathlib import Path

import mlflow
import numpy as np
from sklearn.tree import DecisionTreeClassifier

from tuning.flavors import make_signature, require_flavor
from tuning.home import resolve_home
from tuning.registry import CHAMPION

DEDICATED = "dedicated"
"""The model that has a replica of its own."""

KINDS = 10
"""Models that differ in their answers; what is registered as number i is one of kind i modulo."""

FITTED_ROWS, FEATURES, LABELS = 6_000, 10, 10
"""Of noise, so that a tree has a leaf for every other row."""

ROWS = 64
"""Rows with known answers."""


def name_of(number: int) -> str:
    """How a model of the pool is registered."""
    return f"tail-{number:04}"


def main(folder: Path, n_models: int) -> None:
    """Leave rows, each kind's answers to them, and a registry in the folder."""
    os.environ["RAYFLEET_HOME"] = str(folder)
    home = resolve_home()
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.registry_uri)
    mlflow.create_experiment("pool", artifact_location=home.artifacts_uri)
    mlflow.set_experiment("pool")
    asked = np.random.default_rng(KINDS).standard_normal((ROWS, FEATURES))
    flavor = require_flavor("sklearn")
    flavor.prepare()
    kinds, answers = [], []
    for number in range(KINDS):
        # A megabyte that are cheap to predict with, as memory is what a pool is short of.
        random = np.random.default_rng(number)
        rows = random.standard_normal((FITTED_ROWS, FEATURES))
        labels = random.integers(LABELS, size=FITTED_ROWS)
        model = DecisionTreeClassifier(random_state=number).fit(rows, labels)
        answers.append(model.predict(asked))
        signature = make_signature(asked, answers[-1])
        with mlflow.start_run():
            kinds.append(flavor.log(model, name="model", signature=signature, pip_requirements=[]))
    np.savez(folder / "known.npz", rows=asked, answers=np.stack(answers))
    client = mlflow.MlflowClient()
    for number, name in enumerate([*map(name_of, range(n_models)), DEDICATED]):
        logged = kinds[number % KINDS]
        client.create_registered_model(name)
        version = client.create_model_version(
            name, source=logged.model_uri, model_id=logged.model_id
        )
        client.set_registered_model_alias(name, CHAMPION, version.version)


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main(Path(sys.argv[1]), int(sys.argv[2]))
