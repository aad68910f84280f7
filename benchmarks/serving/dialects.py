"""How a request is written for each kind of server, and how its answer is read and checked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.cases import Wire
from benchmarks.serving.workload import Workload

Array = NDArray[Any]

TOLERANCE = 1e-4
"""Of float32 models, whose last digits depend on the batch; relative above 1, else absolute."""

DATATYPES = {"float32": "FP32", "float64": "FP64", "int64": "INT64"}

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Question:
    """One HTTP request's body with the headers that it needs."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """What an answer says."""

    id: str | None
    """The request that it belongs to, where the dialect says so."""

    values: Array


class UnreadableError(Exception):
    """An answer is not what the dialect promises."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way to ask over HTTP."""

    path: str
    """Where questions go; `{model}` is the model's name."""

    ready_path: str
    """What answers 200 once the model can predict."""

    has_ids: bool
    """Whether an answer repeats the id of its request."""

    encode: Callable[[int, Array], Question]
    """Write rows as a request; the number is its id."""

    decode: Callable[[bytes, Mapping[str, str]], Answer]
    """Read an answer from its body and its headers, whose names are in lower case."""


class _Tensor(msgspec.Struct):
    data: list[Any] = []
    datatype: str = ""
    parameters: dict[str, Any] | None = None


class _Response(msgspec.Struct):
    outputs: list[_Tensor]
    id: str | None = None


class _Predictions(msgspec.Struct):
    predictions: list[Any]


_decode_response = msgspec.json.Decoder(_Response).decode
_decode_predictions = msgspec.json.Decoder(_Predictions).decode
_decode_list = msgspec.json.Decoder(list[Any]).decode


def check(workload: Workload, dialect: Dialect) -> Callable[[int, bytes, Mapping[str, str]], bool]:
    """Make what says whether a body answers the question at a position as the model does."""
    answers = list(workload.answers)

    def is_right(position: int, body: bytes, headers: Mapping[str, str]) -> bool:
        try:
            answer = dialect.decode(body, headers)
        except UnreadableError:
            return False
        if answer.id is not None and answer.id != str(position):
            return False
        return is_close(answer.values, answers[position])

    return is_right


def is_close(values: Array, expected: Array) -> bool:
    """Whether an answer is the expected one but for the last digits of float32."""
    if values.size != expected.size:
        return False
    if values.size == 1:  # the common case, made cheap
        wanted = float(expected[0])
        return abs(float(values.reshape(-1)[0]) - wanted) <= TOLERANCE * max(1.0, abs(wanted))
    difference = np.abs(values.reshape(-1) - expected)
    return bool((difference <= TOLERANCE * np.maximum(1.0, np.abs(expected))).all())


def _encode_open_inference(position: int, rows: Array) -> Question:
    tensor = {**_tensor(rows), "data": rows.reshape(-1).tolist()}
    return Question(JSON, msgspec.json.encode({"id": str(position), "inputs": [tensor]}))


def _encode_binary(position: int, rows: Array) -> Question:
    tensor = {**_tensor(rows), "parameters": {"binary_data_size": rows.nbytes}}
    head = msgspec.json.encode(
        {
            "id": str(position),
            "parameters": {"binary_data_output": True},
            "inputs": [tensor],
        }
    )
    headers = {
        "Content-Type": "application/octet-stream",
        "Inference-Header-Content-Length": str(len(head)),
    }
    return Question(headers, head + rows.tobytes())


def _tensor(rows: Array) -> dict[str, Any]:
    datatype = DATATYPES[rows.dtype.name]
    return {"name": "input-0", "shape": list(rows.shape), "datatype": datatype}


def _encode_mlflow(_position: int, rows: Array) -> Question:
    return Question(JSON, msgspec.json.encode({"inputs": rows.tolist()}))


def _encode_bentoml(_position: int, rows: Array) -> Question:
    return Question(JSON, msgspec.json.encode({"rows": rows.tolist()}))


def _decode_open_inference(body: bytes, headers: Mapping[str, str]) -> Answer:
    length = headers.get("inference-header-content-length")
    head = body if length is None else body[: int(length)]
    try:
        response = _decode_response(head)
        (output,) = response.outputs
        if length is None:
            return Answer(response.id, np.asarray(output.data, dtype=np.float64))
        types = {name: dtype for dtype, name in DATATYPES.items()}
        values = np.frombuffer(body[int(length) :], types[output.datatype])
    except (msgspec.DecodeError, ValueError, KeyError) as error:
        raise UnreadableError(str(error)) from None
    return Answer(response.id, values)


def _decode_mlflow(body: bytes, _headers: Mapping[str, str]) -> Answer:
    try:
        values = _decode_predictions(body).predictions
        return Answer(None, np.asarray(values, dtype=np.float64))
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableError(str(error)) from None


def _decode_bentoml(body: bytes, _headers: Mapping[str, str]) -> Answer:
    try:
        return Answer(None, np.asarray(_decode_list(body), dtype=np.float64))
    except (msgspec.DecodeError, ValueError) as error:
        raise UnreadableError(str(error)) from None


OPEN_INFERENCE = Dialect(
    "/v2/models/{model}/infer",
    "/v2/models/{model}/ready",
    has_ids=True,
    encode=_encode_open_inference,
    decode=_decode_open_inference,
)
BINARY = Dialect(
    OPEN_INFERENCE.path,
    OPEN_INFERENCE.ready_path,
    has_ids=True,
    encode=_encode_binary,
    decode=_decode_open_inference,
)
MLFLOW = Dialect(
    "/invocations", "/ping", has_ids=False, encode=_encode_mlflow, decode=_decode_mlflow
)
BENTOML = Dialect(
    "/predict", "/readyz", has_ids=False, encode=_encode_bentoml, decode=_decode_bentoml
)


def dialect_for(wire: Wire, json_dialect: Dialect) -> Dialect:
    """The dialect of a target that speaks this one in JSON; binary tensors are all alike."""
    return BINARY if wire is Wire.BINARY else json_dialect
