"""Register the models of the integration tests, in a process of its own.

Run as a script: it imports three frameworks, which the test process need not carry. Writes
rows and MLflow's own offline predictions for them to the folder given.
"""

import gc
import os
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import mlflow
import numpy as np
import pandas as pd
import torch
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import Schema, TensorSpec
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tuning.home import resolve_home
from tuning.registry import keep_profile

ROWS = 16

N_TAIL, TAIL_MIB = 12, 25
"""Models of a pool, and what each takes in memory."""


ASIDES = {
    1001.5: sys.getswitchinterval,
    1002.5: lambda: len(warnings.filters),
    1003.5: gc.get_freeze_count,
}
"""Numbers that are not doubled, but answered with what the process asks of its interpreter."""


def aside(values: Any) -> Any:
    """An answer about the process; None where it is about a number."""
    found = ASIDES.get(float(values.flat[0])) if values.size == 1 else None
    return None if found is None else np.full(values.shape, float(found()))


class Moody(PythonModel):
    """Doubles a number, raises on negative ones, answers NaN for 99; 20 ms from a million on."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        values = np.asarray(model_input, dtype=np.float64)
        if (answer := aside(values)) is not None:
            return answer
        if (values < 0).any():
            raise ValueError("negative numbers are beyond me")
        if (values >= 1e6).any():
            time.sleep(0.02)
        return np.where(values == 99, np.nan, values * 2)


class Heavy(PythonModel):
    """Doubles a number, with more luggage than it needs for that."""

    def load_context(self, context: Any) -> None:
        self.luggage = np.ones(TAIL_MIB * 2**17)

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        values = np.asarray(model_input, dtype=np.float64)
        answer = aside(values)
        return values * 2 if answer is None else answer


class Fickle(PythonModel):
    """Doubles a number in 10 ms, and has a fault that shows in a few of a hundred numbers."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def load_context(self, context: Any) -> None:
        if self.fault == "torn":
            raise RuntimeError("weights file is torn")
        if self.fault == "dies":
            # Not os.abort, which would write a core file.
            threading.Timer(3.0, os._exit, [1]).start()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        values = np.asarray(model_input, dtype=np.float64)
        rare = values % 33 == 0
        time.sleep(0.03 if self.fault == "slow" else 0.01)
        if self.fault == "raises" and rare.any():
            raise ValueError("multiples of 33 are beyond me")
        if self.fault == "nan":
            return np.where(rare, np.nan, values * 2)
        if self.fault == "differs":
            return np.where(values % 5 == 0, values, values * 2)
        return values * 2


FICKLE = ("none", "none", "raises", "slow", "nan", "differs", "torn", "dies")
"""Faults of the versions of `fickle`, from 1 on."""


class Broken(PythonModel):
    """Cannot be loaded."""

    def load_context(self, context: Any) -> None:
        raise RuntimeError("weights file is torn")

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input


def main(folder: Path) -> None:
    """Register every model once, as champion; breast-cancer and moody twice."""
    home = resolve_home()
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_experiment(
        experiment_id=mlflow.create_experiment("models", artifact_location=home.artifacts_uri)
    )
    rows, labels = load_breast_cancer(return_X_y=True)
    for strength in (1.0, 0.001):
        estimator = make_pipeline(StandardScaler(), LogisticRegression(C=strength))
        signature = tensors("float64", (-1, 30), "int64", (-1,))
        model_id = register("breast-cancer", "sklearn", estimator.fit(rows, labels), signature)
        keep_profile(mlflow.MlflowClient(), model_id, rows, [str(place) for place in range(30)])
    write(folder, "breast-cancer", rows[:ROWS])

    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 10)
    )
    register("digits", "pytorch", net, tensors("float32", (-1, 1, 8, 8), "float32", (-1, 10)))
    write(folder, "digits", random((ROWS, 1, 8, 8)))

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Input((13,)), keras.layers.Dense(3, activation="softmax")]
    signature = tensors("float32", (-1, 13), "float32", (-1, 3))
    register("wine", "tensorflow", keras.Sequential(layers), signature)
    write(folder, "wine", random((ROWS, 13)))

    number = tensors("float64", (-1, 1), "float64", (-1, 1))
    register("moody", "pyfunc", Moody(), number)
    register("broken", "pyfunc", Broken(), number)
    for fault in FICKLE:
        register("fickle", "pyfunc", Fickle(fault), number)
    register("tail-00", "pyfunc", Heavy(), number)
    for each in range(1, N_TAIL):
        register_again("tail-00", f"tail-{each:02}")
    register_again("broken", "tail-broken")

    frame = pd.DataFrame({"age": [30.0, 60.0, 41.0], "smoker": [0.0, 1.0, 1.0]})
    columns = LogisticRegression().fit(frame, [0, 1, 1])
    register("columns", "sklearn", columns, infer_signature(frame, columns.predict(frame)))
    register("spare", "sklearn", columns, infer_signature(frame, columns.predict(frame)))


def tensors(
    input_type: str, input_shape: tuple[int, ...], output_type: str, output_shape: tuple[int, ...]
) -> ModelSignature:
    """A signature of one unnamed tensor in and one out."""
    return ModelSignature(
        Schema([TensorSpec(np.dtype(input_type), input_shape)]),
        Schema([TensorSpec(np.dtype(output_type), output_shape)]),
    )


def register(name: str, flavor: str, model: Any, signature: ModelSignature) -> str:
    """Log and register a version; the first of a name becomes champion. Gives the model's id."""
    argument = {"sklearn": "sk_model", "pytorch": "pytorch_model", "pyfunc": "python_model"}
    formats = {"sklearn": "cloudpickle", "pytorch": "pickle"}
    options = {"serialization_format": formats[flavor]} if flavor in formats else {}
    info = getattr(mlflow, flavor).log_model(
        **{argument.get(flavor, "model"): model},
        name=name,
        signature=signature,
        pip_requirements=[],
        registered_model_name=name,
        **options,
    )
    if int(info.registered_model_version) == 1:  # text, where a server said it
        mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")
    return str(info.model_id)


def register_again(known: str, name: str) -> None:
    """Register what is known under another name, in a hundredth of the time."""
    client = mlflow.MlflowClient()
    version = client.get_model_version(known, "1")
    client.create_registered_model(name)
    # MLflow's server names the model in the source alone, and wants to be told.
    source = str(version.source)
    model_id = version.model_id or source.removeprefix("models:/")
    client.create_model_version(name, source, model_id=model_id)
    client.set_registered_model_alias(name, "champion", "1")


def random(shape: tuple[int, ...]) -> Any:
    """Seeded rows."""
    return np.random.default_rng(0).random(shape, dtype=np.float32)


def write(folder: Path, name: str, rows: Any) -> None:
    """Keep rows and what version 1 answers to them offline."""
    expected = mlflow.pyfunc.load_model(f"models:/{name}/1").predict(rows)
    np.savez(folder / f"{name}.npz", rows=rows, expected=expected)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
