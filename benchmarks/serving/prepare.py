"""Fit and register the measured model: python -m benchmarks.serving.prepare MODEL FOLDER.

A process of its own, so that the run neither carries MLflow in memory nor lets a tracking
server of the user's environment receive a throw-away model.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import joblib
import mlflow
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.serving.workload import MODEL, Example, encode_row, write_examples
from tuning.home import resolve_home

N_EXAMPLES = 64
"""Requests sent in turn: an answer handed to the wrong caller then shows soon."""

Rows = NDArray[np.float64]


def main() -> None:
    """Leave the pickled model, the registered model and the examples in the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()

    estimator, rows = MODELS[arguments.model]()
    joblib.dump(estimator, arguments.folder / MODEL)
    register(arguments.model, estimator, rows)
    labels = estimator.predict(rows[:N_EXAMPLES])
    examples = [
        Example(encode_row(position, row.tolist()), int(label))
        for position, (row, label) in enumerate(zip(rows[:N_EXAMPLES], labels, strict=True))
    ]
    write_examples(arguments.folder, examples)


def fit_breast_cancer() -> tuple[Pipeline, Rows]:
    """Fit the cheap model: predicting costs far less than a server's own work."""
    rows, labels = load_breast_cancer(return_X_y=True)
    estimator = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1_000))
    return estimator.fit(rows, labels), rows


def fit_forest() -> tuple[Pipeline, Rows]:
    """Fit the dear model: some milliseconds, and hardly more for 32 rows than for one."""
    rows, labels = load_breast_cancer(return_X_y=True)
    return make_pipeline(RandomForestClassifier(100, random_state=0)).fit(rows, labels), rows


MODELS: Mapping[str, Callable[[], tuple[Pipeline, Rows]]] = {
    "breast-cancer": fit_breast_cancer,
    "forest": fit_forest,
}
"""Measured models by registered name."""


def register(model: str, estimator: Pipeline, rows: Rows) -> None:
    """Register the estimator as champion in the registry of RAYFLEET_HOME."""
    home = resolve_home()
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.registry_uri)
    mlflow.create_experiment(model, artifact_location=home.artifacts_uri)
    mlflow.set_experiment(model)
    labels = estimator.predict(rows[:1])
    logged = mlflow.sklearn.log_model(
        estimator,
        name="model",
        registered_model_name=model,
        signature=ModelSignature(
            inputs=Schema([TensorSpec(rows.dtype, (-1, rows.shape[1]))]),
            outputs=Schema([TensorSpec(labels.dtype, (-1,))]),
        ),
        pip_requirements=[],  # targets run in environments that exist already
        skops_trusted_types=["sklearn.tree._tree.Tree"],  # our own forest
    )
    client = mlflow.MlflowClient()
    client.set_registered_model_alias(model, "champion", str(logged.registered_model_version))


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main()
