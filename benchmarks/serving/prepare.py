"""Fit and register a measured model: python -m benchmarks.serving.prepare MODEL FOLDER.

A process of its own, so that the run neither carries MLflow in memory nor lets a tracking
server of the user's environment receive a throw-away model.
"""

import argparse
import os
from pathlib import Path

import mlflow
import numpy as np

from benchmarks.serving.models import MODELS, Array, Fitted, save
from benchmarks.serving.workload import ANSWERS, ROWS, Model
from tuning.flavors import Flavor, make_signature, require_flavor
from tuning.home import resolve_home
from tuning.registry import CHALLENGER, CHAMPION


def main() -> None:
    """Leave the model's file, the registered model, rows and offline answers in the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()

    kind = MODELS[arguments.model]
    flavor = require_flavor(kind.flavor)
    flavor.prepare()
    fitted = kind.fit()
    # The flavor of scikit-learn answers class codes, which would round a regression's numbers.
    predict = getattr(fitted.model, "predict", None) if kind.flavor == "sklearn" else None
    outputs = flavor.outputs(fitted.model, fitted.rows) if predict is None else predict(fitted.rows)
    save(fitted.model, Model(arguments.model, arguments.folder).file)
    np.save(arguments.folder / ROWS, fitted.rows)
    np.save(arguments.folder / ANSWERS, outputs)
    register(arguments.model, fitted, flavor, outputs)


def register(model: str, fitted: Fitted, flavor: Flavor, answers: Array) -> None:
    """Register the model twice in the registry of RAYFLEET_HOME: champion and challenger."""
    home = resolve_home()
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.registry_uri)
    mlflow.create_experiment(model, artifact_location=home.artifacts_uri)
    mlflow.set_experiment(model)
    with mlflow.start_run():
        logged = flavor.log(
            fitted.model,
            name="model",
            signature=make_signature(fitted.rows, answers),
            pip_requirements=[],  # targets run in environments that exist already
        )
    client = mlflow.MlflowClient()
    client.create_registered_model(model)
    for alias in (CHAMPION, CHALLENGER):
        version = client.create_model_version(
            model, source=logged.model_uri, model_id=logged.model_id
        )
        client.set_registered_model_alias(model, alias, version.version)


if __name__ == "__main__":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    main()
