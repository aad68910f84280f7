"""The same bytes to MLflow's own scoring server and to ours: status and body must agree.

Known differences are not compared: a missing Content-Type, the text of messages (MLflow's
quote the input) and the stack trace.
"""

import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deployments.errors import FleetError, PredictionError
from deployments.protocols.mlflow_scoring import (
    decode_cheaply,
    decode_invocation,
    encode_predictions,
)
from deployments.protocols.signature import signature_from_mlflow
from deployments.protocols.statuses import mlflow_error
from deployments.protocols.tensors import UNNAMED_OUTPUT, Form, Layout, Outputs, Request, Signature

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # pandas' and scikit-learn's, of the requests we make
]

JSON = "application/json"
COLUMNS = ["a", "b", "c"]
FLOATS = [[1.0, 2.0, 3.0], [4.0, 5.5, 6.0]]


@dataclass(frozen=True)
class Peer:
    """One model, behind MLflow's server and in our hands."""

    client: Any
    model: Any
    signature: Signature

    def theirs(self, body: bytes, content_type: str) -> tuple[int, Any]:
        answer = self.client.post(
            "/invocations", content=body, headers={"content-type": content_type}
        )
        return answer.status_code, _comparable(answer.status_code, answer.content)

    def ours(self, body: bytes, content_type: str) -> tuple[int, Any]:
        try:
            request = decode_invocation(body, content_type, self.signature)
            outputs = self._predict(request)
            text = encode_predictions(outputs, model="m", version="1", wrapped=request.wrapped)
        except FleetError as error:
            response = mlflow_error(error)
            return response.status, _comparable(response.status, response.body)
        return 200, _comparable(200, text)

    def _predict(self, request: Request) -> Outputs:
        argument = _argument(request)
        # Around the signature check, which is the part of `predict` that decoding does.
        predict = self.model._predict_fn
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _outputs(predict(argument))
        except Exception as error:
            raise PredictionError("m", "1", str(error)) from error


def _argument(request: Request) -> Any:
    match request.layout:
        case Layout.COLUMNS:
            frame = pd.DataFrame(dict(enumerate(request.inputs.values())))
            return frame.set_axis(request.labels or list(request.inputs), axis=1)
        case Layout.TENSOR:
            return next(iter(request.inputs.values()))
        case _:
            return request.inputs


def _outputs(predictions: Any) -> Outputs:
    match predictions:
        case pd.DataFrame():
            arrays = {str(name): column.to_numpy() for name, column in predictions.items()}
            return Outputs(arrays, Form.COLUMNS)
        case dict():
            return Outputs({name: np.asarray(v) for name, v in predictions.items()}, Form.NAMED)
        case _:
            return Outputs({UNNAMED_OUTPUT: np.asarray(predictions)})


def _comparable(status: int, body: bytes) -> Any:
    if status == 415:
        return None
    parsed = json.loads(body)
    if status == 200:
        return parsed
    return {key: parsed.get(key) for key in ("error_code", "sqlstate", "error_class")}


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Peer]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield _save_models(tmp_path_factory.mktemp("models"))


def _save_models(folder: Path) -> Mapping[str, Peer]:
    # Not at the top: collecting the fast tests must not cost the seconds of these imports.
    import mlflow.pyfunc  # noqa: PLC0415
    import mlflow.sklearn  # noqa: PLC0415
    from mlflow.models import ModelSignature, infer_signature  # noqa: PLC0415
    from sklearn.linear_model import LinearRegression  # noqa: PLC0415

    frame = pd.DataFrame(np.random.default_rng(0).random((20, 3)), columns=COLUMNS)
    mixed = pd.DataFrame(
        {
            "a": frame["a"],
            "b": np.arange(20),
            "c": frame["c"].astype("float32"),
        }
    )
    target = frame.to_numpy() @ [1.0, 2.0, 3.0]
    on_frame = LinearRegression().fit(frame, target)
    on_array = LinearRegression().fit(frame.to_numpy(), target)
    positional = frame.set_axis([0, 1, 2], axis=1)
    params = {"k": 1, "scale": 1.0}
    array = frame.to_numpy()
    models = {
        "columns": (on_frame, infer_signature(frame, target)),
        "mixed-columns": (on_frame, infer_signature(mixed, target)),
        "tensor": (on_array, infer_signature(array, target)),
        "float32-tensor": (on_array, infer_signature(array.astype("f4"), target.astype("f4"))),
        "params": (on_array, infer_signature(array, target, params)),
        "positional": (on_array, infer_signature(positional, target)),
        "unsigned": (on_frame, None),
    }
    peers = {}
    for name, (model, signature) in models.items():
        mlflow.sklearn.save_model(
            model,
            folder / name,
            signature=signature,
            pip_requirements=[],
            serialization_format="cloudpickle",
        )
        peers[name] = _peer(folder / name)
    mlflow.pyfunc.save_model(
        folder / "echo",
        python_model=_echo,
        signature=ModelSignature.from_dict({"inputs": json.dumps(TYPED)}),
        pip_requirements=[],
    )
    return peers | {"echo": _peer(folder / "echo")}


def _peer(path: Path) -> Peer:
    import mlflow.pyfunc  # noqa: PLC0415
    from mlflow.pyfunc import scoring_server  # noqa: PLC0415
    from starlette.testclient import TestClient  # noqa: PLC0415

    loaded = mlflow.pyfunc.load_model(str(path))
    ours = signature_from_mlflow(loaded.metadata.signature)
    return Peer(TestClient(scoring_server.init(loaded)), loaded, ours)


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def _echo(model_input: Any) -> Any:
    return model_input


TYPED = [
    {"name": "text", "type": "string", "required": True},
    {"name": "raw", "type": "binary", "required": True},
    {"name": "when", "type": "datetime", "required": True},
    {"name": "yes", "type": "boolean", "required": True},
    {"name": "small", "type": "integer", "required": True},
    {"name": "list", "type": "array", "items": {"type": "long"}, "required": True},
    {
        "name": "object",
        "type": "object",
        "properties": {"a": {"type": "string", "required": True}},
        "required": True,
    },
    {"name": "maybe", "type": "double", "required": False},
]

TYPED_RECORD = {
    "text": "ö",
    "raw": "YWI=",
    "when": "2026-01-31T12:00:00.5",
    "yes": True,
    "small": 7,
    "list": [1, 2],
    "object": {"a": "x"},
}

TYPED_BODIES: Mapping[str, Any] = {
    "records": {"dataframe_records": [TYPED_RECORD, TYPED_RECORD]},
    "optional": {"dataframe_records": [TYPED_RECORD | {"maybe": 1.5}]},
    "split": {
        "dataframe_split": {"columns": list(TYPED_RECORD), "data": [list(TYPED_RECORD.values())]}
    },
    "instances": {"instances": [TYPED_RECORD]},
    "inputs": {"inputs": {name: [value] for name, value in TYPED_RECORD.items()}},
    "inputs-records": {"inputs": [TYPED_RECORD]},
    "no-base64": {"dataframe_records": [TYPED_RECORD | {"raw": 1}]},
    "no-date": {"dataframe_records": [TYPED_RECORD | {"when": "soon"}]},
    "no-boolean": {"dataframe_records": [TYPED_RECORD | {"yes": "x"}]},
    "number-for-text": {"dataframe_records": [TYPED_RECORD | {"text": 1}]},
    "text-for-integer": {"dataframe_records": [TYPED_RECORD | {"small": "x"}]},
    "scalar-for-list": {"dataframe_records": [TYPED_RECORD | {"list": 1}]},
    "property-missing": {"dataframe_records": [TYPED_RECORD | {"object": {}}]},
    "null-for-text": {"dataframe_records": [TYPED_RECORD | {"text": None}]},
    "null-for-optional": {"dataframe_records": [TYPED_RECORD | {"maybe": None}]},
}

FRAME = pd.DataFrame(FLOATS, columns=COLUMNS)
RECORDS = [dict(zip(COLUMNS, row, strict=True)) for row in FLOATS]
LISTS = {name: [row[i] for row in FLOATS] for i, name in enumerate(COLUMNS)}

BODIES: Mapping[str, Any] = {
    "split": {"dataframe_split": {"columns": COLUMNS, "data": FLOATS}},
    "split-with-index": {"dataframe_split": {"columns": COLUMNS, "data": FLOATS, "index": [7, 8]}},
    "split-short-index": {"dataframe_split": {"columns": COLUMNS, "data": FLOATS, "index": [7]}},
    "split-without-columns": {"dataframe_split": {"data": FLOATS}},
    "split-extra-key": {"dataframe_split": {"columns": COLUMNS, "data": FLOATS, "x": 1}},
    "split-without-data": {"dataframe_split": {"columns": COLUMNS}},
    "split-list": {"dataframe_split": FLOATS},
    "split-ragged": {"dataframe_split": {"columns": COLUMNS, "data": [[1.0, 2.0, 3.0], [1.0]]}},
    "split-strings": {"dataframe_split": {"columns": COLUMNS, "data": [["x", "y", "z"]]}},
    "split-numeric-strings": {"dataframe_split": {"columns": COLUMNS, "data": [["1", "2", "3"]]}},
    "split-booleans": {"dataframe_split": {"columns": COLUMNS, "data": [[True, False, True]]}},
    "split-null": {"dataframe_split": {"columns": COLUMNS, "data": [[None, 2.0, 3.0]]}},
    "split-integers": {"dataframe_split": {"columns": COLUMNS, "data": [[1, 2, 3]]}},
    "split-wide-integers": {"dataframe_split": {"columns": COLUMNS, "data": [[2**62, 2, 3]]}},
    "split-other-order": {
        "dataframe_split": {"columns": ["c", "a", "b"], "data": [[3.0, 1.0, 2.0]]}
    },
    "split-repeated-column": {
        "dataframe_split": {"columns": ["a", "a", "b", "c"], "data": [[1.0, 1.0, 2.0, 3.0]]}
    },
    "split-integer-columns": {"dataframe_split": {"columns": [0, 1, 2], "data": FLOATS}},
    "split-no-rows": {"dataframe_split": {"columns": COLUMNS, "data": []}},
    "records": {"dataframe_records": RECORDS},
    "records-dict": {"dataframe_records": LISTS},
    "records-unlike": {"dataframe_records": [RECORDS[0], {"a": 1.0}]},
    "records-empty": {"dataframe_records": []},
    "instances-lists": {"instances": FLOATS},
    "instances-dicts": {"instances": RECORDS},
    "instances-dict": {"instances": LISTS},
    "instances-unequal": {"instances": {"a": [1.0], "b": [1.0, 2.0], "c": [3.0]}},
    "instances-ragged": {"instances": [[1.0, 2.0, 3.0], [4.0]]},
    "inputs-lists": {"inputs": FLOATS},
    "inputs-dict": {"inputs": LISTS},
    "inputs-dicts": {"inputs": RECORDS},
    "inputs-scalar": {"inputs": 1.0},
    "inputs-string": {"inputs": "x"},
    "inputs-null": {"inputs": None},
    "inputs-flat": {"inputs": FLOATS[0]},
    "inputs-too-deep": {"inputs": [FLOATS]},
    "inputs-integers": {"inputs": [[1, 2, 3]]},
    "inputs-numeric-strings": {"inputs": [["1", "2", "3"]]},
    "inputs-booleans": {"inputs": [[True, False, True]]},
    "inputs-null-element": {"inputs": [[None, 1.0, 2.0]]},
    "inputs-too-large-for-float32": {"inputs": [[1e39, 1.0, 2.0]]},
    "inputs-four-wide": {"inputs": [[1.0, 2.0, 3.0, 4.0]]},
    "inputs-empty": {"inputs": []},
    "two-formats": {"inputs": FLOATS, "instances": FLOATS},
    "no-format": {"data": FLOATS},
    "unknown-key-ignored": {"inputs": FLOATS, "signature_name": "x"},
    "bare-list": FLOATS,
    "bare-string": "x",
    "bare-null": None,
    "missing-column": {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, 2.0]]}},
    "extra-column": {"dataframe_records": [RECORDS[0] | {"z": 9.0}]},
    "extra-text-column": {"dataframe_records": [RECORDS[0] | {"z": "text"}]},
    "params-default": {"inputs": FLOATS, "params": {}},
    "params-right": {"inputs": FLOATS, "params": {"k": 3, "scale": 2}},
    "params-null": {"inputs": FLOATS, "params": None},
    "params-unknown": {"inputs": FLOATS, "params": {"unknown": 1}},
    "params-wrong-type": {"inputs": FLOATS, "params": {"k": "x"}},
    "params-bool-for-int": {"inputs": FLOATS, "params": {"k": True}},
    "params-float-for-int": {"inputs": FLOATS, "params": {"k": 1.5}},
    "params-list": {"inputs": FLOATS, "params": [1]},
    "params-empty-list": {"inputs": FLOATS, "params": []},
    "params-false": {"inputs": FLOATS, "params": False},
    "unified": {"input": FLOATS},
    "unified-beside-format": {"inputs": FLOATS, "input": 1},
}

RAW: Mapping[str, tuple[bytes, str]] = {
    **{name: (json.dumps(body).encode(), JSON) for name, body in BODIES.items()},
    "malformed": (b'{"inputs": [', JSON),
    "empty": (b"", JSON),
    "bad-utf8": (b'{"inputs": "\xff"}', JSON),
    "nan-token": (b'{"inputs": [[NaN, 1.0, 2.0]]}', JSON),
    "nan-token-split": (
        b'{"dataframe_split": {"columns": ["a", "b", "c"], "data": [[NaN, 1.0, 2.0]]}}',
        JSON,
    ),
    "charset": (json.dumps(BODIES["split"]).encode(), "application/json; charset=UTF-8"),
    "csv": (_csv(FRAME), "text/csv"),
    "csv-header-only": (b"a,b,c\n", "text/csv"),
    "csv-missing-column": (_csv(FRAME[["a", "b"]]), "text/csv"),
    "csv-extra-column": (_csv(FRAME.assign(z=1.0)), "text/csv"),
    "csv-text": (b"a,b,c\nx,y,z\n", "text/csv"),
    "csv-empty": (b"", "text/csv"),
    "csv-bad-utf8": (b"a,b,c\n\xff,1,2\n", "text/csv"),
    "parquet": (_parquet(FRAME), "application/vnd.apache.parquet"),
    "parquet-corrupt": (b"PAR1 nothing", "application/vnd.apache.parquet"),
    "other-type": (b"{}", "text/plain"),
    "other-charset": (b"{}", "application/json; charset=latin-1"),
    "other-parameter": (b"{}", "application/json; format=pandas-split"),
    "upper-case-type": (b"{}", "Application/JSON"),
}

MODELS = (
    "columns",
    "mixed-columns",
    "tensor",
    "float32-tensor",
    "params",
    "positional",
    "unsigned",
)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", RAW)
def test_status_and_body_are_those_of_mlflow(
    peers: Mapping[str, Peer], model: str, case: str
) -> None:
    body, content_type = RAW[case]
    peer = peers[model]

    theirs = peer.theirs(body, content_type)

    assert peer.ours(body, content_type) == theirs


@pytest.mark.parametrize("case", TYPED_BODIES)
def test_every_column_type_is_read_and_written_as_by_mlflow(
    peers: Mapping[str, Peer], case: str
) -> None:
    body = json.dumps(TYPED_BODIES[case]).encode()

    theirs = peers["echo"].theirs(body, JSON)

    assert peers["echo"].ours(body, JSON) == theirs


def test_the_cheap_way_is_taken_where_it_should_be(peers: Mapping[str, Peer]) -> None:
    taken = {
        (model, case)
        for model in MODELS
        for case in ("split", "records", "inputs-lists", "instances-lists")
        if decode_cheaply(*RAW[case], peers[model].signature) is not None
    }

    assert taken >= {
        ("columns", "split"),
        ("columns", "records"),
        ("tensor", "inputs-lists"),
        ("tensor", "instances-lists"),
        ("float32-tensor", "inputs-lists"),
        ("params", "inputs-lists"),
    }


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.WARNING)  # MLflow warns of every dropped column and parameter.
    yield
    logging.disable(logging.NOTSET)
