"""The same bytes to MLflow's own scoring server and to ours: status and body must agree.

Known differences are not compared: a missing Content-Type, the text of messages (MLflow's
quote the input) and the stack trace.
"""

import asyncio
import io
import json
import logging
import pickle
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from deployments.gateway.app import GatewayApp
from deployments.gateway.inference import Inference
from deployments.predictor.prediction import Prediction
from deployments.predictor.predictor import Predictor
from deployments.predictor.runtimes.runtime import RuntimeOptions
from deployments.protocols.mlflow_scoring import decode_cheaply
from deployments.protocols.signature import signature_from_mlflow
from deployments.protocols.tensors import Batch, Signature
from deployments.telemetry import Counters
from tests.deployments.gateway.hosted import INVOKE, Surroundings, plain_door
from tests.fakes import FakeTransport, make_route, make_table

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # pandas' and scikit-learn's, of the requests we make
]

JSON = "application/json"
COLUMNS = ["a", "b", "c"]
FLOATS = [[1.0, 2.0, 3.0], [4.0, 5.5, 6.0]]


class Replica(FakeTransport):
    """The real one, in this process; its answers are pickled as on their way to a gateway."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self._predictor = predictor

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        prediction = await self._predictor.predict(batch, "gateway-1", depth)
        return Prediction.of(*pickle.loads(pickle.dumps(prediction.plain())))  # noqa: S301, ours


@dataclass(frozen=True)
class Peer:
    """One model, behind MLflow's server and behind our gateway."""

    client: Any
    predictor: Predictor
    signature: Signature

    def theirs(self, body: bytes, content_type: str) -> tuple[int, Any]:
        answer = self.client.post(
            "/invocations", content=body, headers={"content-type": content_type}
        )
        return answer.status_code, _comparable(answer.status_code, answer.content)

    def ours(self, body: bytes, content_type: str) -> tuple[int, Any]:
        answer = asyncio.run(self._ask(body, content_type))
        return answer.status_code, _comparable(answer.status_code, answer.content)

    async def _ask(self, body: bytes, content_type: str) -> Any:
        counters = Counters("gateway-1")
        inference = Inference(lambda _: Replica(self.predictor), counters)
        inference.apply(make_table(churn=(make_route(signature=self.signature),)))
        app = GatewayApp(inference, counters, Surroundings(counters), 2**20)
        headers = {"content-type": content_type}
        async with plain_door(app) as client:
            return await client.post(INVOKE, content=body, headers=headers)


def _comparable(status: int, body: bytes) -> Any:
    if status == 415:
        return None
    parsed = json.loads(body, parse_constant=str)  # NaN is not even equal to itself
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
    mlflow.pyfunc.save_model(folder / "answers", python_model=_chosen, pip_requirements=[])
    return peers | {name: _peer(folder / name) for name in ("echo", "answers")}


def _peer(path: Path) -> Peer:
    import mlflow.pyfunc  # noqa: PLC0415
    from mlflow.pyfunc import scoring_server  # noqa: PLC0415
    from starlette.testclient import TestClient  # noqa: PLC0415

    loaded = mlflow.pyfunc.load_model(str(path))
    ours = signature_from_mlflow(loaded.metadata.signature)
    options = RuntimeOptions(files=str(path))
    predictor = Predictor("churn", "1", "pyfunc", str(path), str(path), options=options)
    return Peer(TestClient(scoring_server.init(loaded)), predictor, ours)


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False).encode()


def _parquet(frame: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def _echo(model_input: Any) -> Any:
    return model_input


def _chosen(model_input: Any) -> Any:
    return ANSWERS[model_input["case"].iloc[0]]


ANSWERS: Mapping[str, Any] = {
    "series": pd.Series([1.5, 2.5]),
    "named-series": pd.Series([1, 2], name="y"),
    "numbered-series": pd.Series([1, 2], name=7),
    "series-of-times": pd.Series(pd.to_datetime(["2026-01-31"])),
    "list": [1, 2],
    "ragged": [[1, 2], [3]],
    "ragged-arrays": [np.ones(2), np.ones(3)],
    "ragged-deep": [np.zeros((2, 3)), np.zeros((2, 4))],
    "mixed": [1, "a"],
    "booleans-and-numbers": [True, 2, 2.5],
    "wide": [2**70, -1],
    "nested-mixed": [[1, 2], "a"],
    "objects": [{"a": 1}, {"b": [None, "x"]}],
    "tuple": (1, 2.5),
    "empty": [],
    "zero-bytes": ["a\x00", "b"],
    "number": 5,
    "numpy-s-number": np.float32(0.1),
    "text": "text",
    "bytes": b"ab",
    "null": None,
    "bool": True,
    "dict": {"a": [1, 2], "b": "text", "c": {"d": 1.5}, "e": np.float32(0.1)},
    "arrays-by-name": {"a": np.array([0.1], "f4"), "b": np.array(["x"])},
    "dates-by-name": {"a": np.array(["2026-01-31"], "M8[D]")},
    "float32": np.array([[0.1, 2.0]], "f4"),
    "array-of-none": np.array([None, 1.5], object),
    "scalar-array": np.array(5),
    "array-of-seconds": np.array(["2026-01-31T12:00"], "M8[s]"),
    "list-of-times": [pd.Timestamp("2026-01-31T12:00"), pd.NaT],
    "frame": pd.DataFrame({"a": [1, 2], 1: ["x", "y"], "c": [0.1, np.nan]}),
    "frame-of-na": pd.DataFrame({"a": pd.array([1, None], dtype="Int64"), "b": [pd.NA, "x"]}),
    "frame-of-nullable-floats": pd.DataFrame({"a": pd.array([1.5, None], dtype="Float64")}),
    "frame-of-nullable-booleans": pd.DataFrame({"a": pd.array([True, None], dtype="boolean")}),
    "frame-of-times": pd.DataFrame({"a": np.array(["2026-01-31T12:00", None], "M8[ns]")}),
    "frame-of-fractions": pd.DataFrame({"a": pd.to_datetime(["2026-01-31T12:00:00.5"])}),
    "frame-of-utc": pd.DataFrame({"a": pd.to_datetime(["2026-01-31T12:00"], utc=True)}),
    "frame-of-lists": pd.DataFrame({"a": [[1, 2], [3]]}),
    "frame-of-none": pd.DataFrame({"a": ["x", None]}),
    "frame-with-a-label-twice": pd.DataFrame([[1, 2]], columns=["a", "a"]),
}
"""What a model may answer, by the text that it is asked."""

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


@pytest.mark.parametrize("case", ANSWERS)
def test_whatever_a_model_answers_is_written_as_by_mlflow(
    peers: Mapping[str, Peer], case: str
) -> None:
    body = json.dumps({"dataframe_records": [{"case": case}]}).encode()

    status, theirs = peers["answers"].theirs(body, JSON)

    assert status == 200
    assert peers["answers"].ours(body, JSON) == (200, theirs)


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
