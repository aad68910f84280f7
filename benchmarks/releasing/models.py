"""Register the models that are rolled out.

    python -m benchmarks.releasing.models FOLDER VERSIONS REAL SIMULATED

A process of its own, as `benchmarks.pooled_models`.
"""

import os
import sys
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models.model import ModelInfo
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.releasing.names import RELEASED, real, simulated
from tuning.flavors import make_signature, require_flavor
from tuning.home import resolve_home
from tuning.registry import CHAMPION

ROWS = 64
"""Rows with known answers."""


def main(folder: Path, n_versions: int, n_real: int, n_simulated: int) -> None:
    """Leave rows, the answers to them, and a registry in the folder.

    All versions are fitted alike, so that they answer alike: a rollout of one ends well.
    """
    os.environ["RAYFLEET_HOME"] = str(folder)
    home = resolve_home()
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.registry_uri)
    mlflow.create_experiment("rollouts", artifact_location=home.artifacts_uri)
    mlflow.set_experiment("rollouts")
    rows, labels = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    answers = model.predict(rows[:ROWS])
    np.savez(folder / "known.npz", rows=rows[:ROWS], answers=answers)
    flavor = require_flavor("sklearn")
    flavor.prepare()
    logged = []
    for _ in range(n_versions):
        with mlflow.start_run():
            signature = make_signature(rows, answers)
            arguments = {"name": "model", "signature": signature, "pip_requirements": []}
            logged.append(flavor.log(model, **arguments))
    register(RELEASED, logged)
    for name in [*map(real, range(n_real)), *map(simulated, range(n_simulated))]:
        register(name, logged[:2])


def register(name: str, versions: list[ModelInfo]) -> None:
    """Register versions of a model, the first as champion."""
    client = mlflow.MlflowClient()
    client.create_registered_model(name)
    for logged in versions:
        client.create_model_version(name, source=logged.model_uri, model_id=logged.model_id)
    client.set_registered_model_alias(name, CHAMPION, "1")


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]))
