"""What a replica asks of a framework, and which frameworks there are."""

import importlib
from collections.abc import Callable, Mapping
from typing import Protocol

import mlflow

from deployments.errors import ConfigError
from deployments.protocols.tensors import Batch, Outputs


class Runtime(Protocol):
    """A loaded model. Called from one thread at a time; may be slow, must not keep state."""

    def predict(self, batch: Batch) -> Outputs:
        """Answer a batch.

        Args:
            batch: Arrays by input name, rows on axis 0, already checked against the
                signature; not modified.

        Raises:
            Exception: Whatever the model raises.
        """
        ...


RUNTIMES: Mapping[str, str] = {
    "sklearn": "deployments.predictor.runtimes.sklearn:SklearnRuntime",
    "torch": "deployments.predictor.runtimes.torch:TorchRuntime",
    "tensorflow": "deployments.predictor.runtimes.tensorflow:TensorflowRuntime",
    "pyfunc": "deployments.predictor.runtimes.pyfunc:PyfuncRuntime",
}
"""Import paths, not classes: importing TensorFlow costs seconds and half a gigabyte."""


def make_runtime(kind: str, model_uri: str, tracking_uri: str, registry_uri: str) -> Runtime:
    """Load a registered model with the runtime of that name.

    Args:
        kind: A key of `RUNTIMES`.
        model_uri: `models:/NAME/VERSION`.
        tracking_uri: Where MLflow finds the run's artifacts; absolute.
        registry_uri: Where MLflow finds the version; absolute.

    Raises:
        ConfigError: No such runtime.
    """
    path = RUNTIMES.get(kind)
    if path is None:
        raise ConfigError(f"unknown runtime {kind!r}, known: {', '.join(sorted(RUNTIMES))}")
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(registry_uri)
    module, _, name = path.partition(":")
    load: Callable[[str], Runtime] = getattr(importlib.import_module(module), name)
    return load(model_uri)
