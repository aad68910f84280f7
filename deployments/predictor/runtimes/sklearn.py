"""scikit-learn estimators, without MLflow's wrapper and pandas on the way."""

from collections.abc import Callable
from typing import Any

import mlflow.sklearn
from mlflow.models.model import Model

from deployments.predictor.runtimes.frames import as_outputs, model_input
from deployments.protocols.tensors import Batch, Outputs
from tuning.safeformat import import_skops


class SklearnRuntime:
    """Calls the estimator's own method: `predict` unless the version was logged with another."""

    def __init__(self, model_uri: str) -> None:
        flavors = Model.load(model_uri).flavors
        if flavors["sklearn"].get("serialization_format") == "skops":
            import_skops()
        estimator = mlflow.sklearn.load_model(model_uri)
        self._call: Callable[[Any], Any] = getattr(
            estimator, flavors["python_function"].get("predict_fn", "predict")
        )

    def predict(self, batch: Batch) -> Outputs:
        """See `Runtime.predict`; an estimator takes no params."""
        return as_outputs(self._call(model_input(batch)))
