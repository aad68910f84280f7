"""Native runtimes answer what MLflow's own wrapper answers, number for number."""

from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ParamSchema, ParamSpec
from mlflow.types.schema import DataType

from deployments.errors import ConfigError
from deployments.predictor.runtimes.runtime import RUNTIMES, make_runtime
from deployments.protocols.signature import column_labels, signature_from_mlflow
from deployments.protocols.tensors import Batch, Layout

ROWS = np.random.default_rng(7).normal(size=(12, 4)).astype(np.float32)
LABELS = np.arange(12) % 3


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A registry of this module's own, as an address."""
    folder: Path = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    experiment = mlflow.create_experiment("tests", artifact_location=folder.as_uri())
    mlflow.set_experiment(experiment_id=experiment)
    return uri


def batch_of(uri: str, rows: Any) -> Batch:
    """What the gateway would send for these rows."""
    signature = signature_from_mlflow(mlflow.models.get_model_info(uri).signature)
    if isinstance(rows, pd.DataFrame):
        inputs = {str(name): rows[name].to_numpy() for name in rows.columns}
    elif isinstance(rows, dict):
        inputs = rows
    else:
        inputs = {"input-0": rows}
    return Batch(inputs, {}, signature.layout, column_labels(signature, inputs))


def answers(kind: str, uri: str, store: str, rows: Any) -> list[Any]:
    runtime = make_runtime(kind, uri, store, store)
    outputs = runtime.predict(batch_of(uri, rows))
    (array,) = outputs.arrays.values()
    return list(array.tolist())


def pyfunc_answers(uri: str, rows: Any) -> list[Any]:
    return list(np.asarray(mlflow.pyfunc.load_model(uri).predict(rows)).tolist())


@pytest.mark.ray
@pytest.mark.parametrize("framed", [False, True], ids=["array", "frame"])
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_sklearn(store: str, method: str, framed: bool) -> None:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415, only here

    rows: Any = pd.DataFrame(ROWS.astype(float), columns=list("abcd")) if framed else ROWS
    model = LogisticRegression().fit(rows, LABELS)
    uri = mlflow.sklearn.log_model(
        model,
        name="m",
        signature=infer_signature(rows, getattr(model, method)(rows)),
        pyfunc_predict_fn=method,
        serialization_format="cloudpickle",
        pip_requirements=[],
    ).model_uri

    expected = pyfunc_answers(uri, rows)
    assert answers("sklearn", uri, store, rows) == expected
    assert answers("pyfunc", uri, store, rows) == expected


@pytest.mark.ray
def test_torch(store: str) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Dropout(0.5)).eval()
    uri = mlflow.pytorch.log_model(
        module,
        name="m",
        signature=infer_signature(ROWS, module(torch.from_numpy(ROWS)).detach().numpy()),
        serialization_format="pickle",
        pip_requirements=[],
    ).model_uri

    expected = pyfunc_answers(uri, ROWS)
    assert answers("torch", uri, store, ROWS) == expected
    assert answers("pyfunc", uri, store, ROWS) == expected


@pytest.mark.ray
def test_tensorflow(store: str) -> None:
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    uri = mlflow.tensorflow.log_model(
        model,
        name="m",
        signature=infer_signature(ROWS, model.predict(ROWS, verbose=0)),
        pip_requirements=[],
    ).model_uri

    expected = pyfunc_answers(uri, ROWS)
    # A traced function may fuse operations that the interpreter does not.
    np.testing.assert_allclose(answers("tensorflow", uri, store, ROWS), expected, rtol=1e-6)
    assert answers("pyfunc", uri, store, ROWS) == expected


def scaled() -> Any:
    """A user's own model, with a parameter."""

    # Here, as MLflow looks at the class when it is made.
    class Scaled(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined]
        # Without annotations, which MLflow would take for a signature.
        def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
            return model_input.sum(axis=1) * (params or {"factor": 1.0})["factor"]

    return Scaled()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("params", "expected"), [({"factor": 2.0}, 20.0), ({}, 10.0)], ids=["given", "default"]
)
def test_pyfunc_hands_params_over(store: str, params: dict[str, Any], expected: float) -> None:
    rows = np.array([[1.0, 2.0, 3.0, 4.0]])
    plain = infer_signature(rows, np.array([1.0]))
    schema = ParamSchema([ParamSpec("factor", DataType.double, 1.0)])
    signature = ModelSignature(plain.inputs, plain.outputs, schema)
    info = mlflow.pyfunc.log_model(
        name="m", python_model=scaled(), signature=signature, pip_requirements=[]
    )

    runtime = make_runtime("pyfunc", info.model_uri, store, store)
    outputs = runtime.predict(Batch({"input-0": rows}, params, Layout.TENSOR))

    assert [array.tolist() for array in outputs.arrays.values()] == [[expected]]


def test_an_unknown_runtime_names_the_known_ones() -> None:
    with pytest.raises(ConfigError) as caught:
        make_runtime("onnx", "models:/m/1", "", "")

    known = ", ".join(sorted(RUNTIMES))
    assert str(caught.value) == f"unknown runtime 'onnx', known: {known}"
