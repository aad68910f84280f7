"""MLflow's scoring protocol, as `mlflow models serve` speaks it.

Two ways lead from a body to a `Request`. The cheap one reads plain numbers for a known
signature with msgspec and NumPy in microseconds. The other hands the body to MLflow's own
parser and schema enforcement, a millisecond and more. The cheap way gives up instead of
refusing: every error is MLflow's own, so the two cannot disagree about what is one.

What we change on purpose: a missing Content-Type is 415 (there a crash, 500); errors carry
neither input nor stack trace; zero rows are 400 before the model sees them; arrays of times in
nanoseconds are ISO 8601 (there a count).

Source:
    MLflow 3.17, `mlflow.pyfunc.scoring_server`.
"""

import base64
import datetime as dt
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import orjson

from deployments.errors import PredictionError, UnsupportedMediaError
from deployments.protocols.mlflow_numbers import read_numbers
from deployments.protocols.mlflow_parsing import parse_csv, parse_json, parse_parquet
from deployments.protocols.tensors import Array, Form, Outputs, Request, Signature

JSON_TYPE = "application/json"

CSV_TYPE = "text/csv"

PARQUET_TYPE = "application/vnd.apache.parquet"

CONTENT_TYPES = (CSV_TYPE, JSON_TYPE, PARQUET_TYPE)

PING = b"\n"
"""Body of `/ping` and `/health`, labelled JSON although it is none."""

VERSION = version("mlflow").encode()
"""Body of `/version`, labelled JSON although it is none."""

CHEAP_BODY_BYTES = 64 * 1024
"""Largest body that is read on the event loop; as numbers, a quarter of a millisecond."""

_NANOSECONDS = np.dtype("datetime64[ns]")


def decode_cheaply(body: bytes, content_type: str | None, signature: Signature) -> Request | None:
    """Read an invocation within microseconds, or not at all.

    Returns:
        None if the body is long, is not plain numbers, does not fit the signature, or is
        wrong: `decode_invocation` decides, in a thread.

    Raises:
        UnsupportedMediaError: The content type is none of `CONTENT_TYPES`.
    """
    if check_content_type(content_type) != JSON_TYPE or len(body) > CHEAP_BODY_BYTES:
        return None
    return read_numbers(body, signature)


def decode_invocation(body: bytes, content_type: str | None, signature: Signature) -> Request:
    """Read an invocation as MLflow does; slow, and the first call imports MLflow.

    Raises:
        UnsupportedMediaError: The content type is none of `CONTENT_TYPES`.
        SignatureMismatchError: The input does not fit the signature.
        MalformedRequestError: The body is not what its content type says, or has no rows.
    """
    match check_content_type(content_type):
        case "application/json":
            return read_numbers(body, signature) or parse_json(body, signature)
        case "text/csv":
            return parse_csv(body, signature)
        case _:
            return parse_parquet(body, signature)


def check_content_type(content_type: str | None) -> str:
    """Return the media type without its parameters.

    Raises:
        UnsupportedMediaError: It is none of `CONTENT_TYPES`, or has a parameter other than
            `charset=utf-8`. MLflow compares the media type as it stands, so do we.
    """
    if content_type == JSON_TYPE:
        return JSON_TYPE
    media_type, *parameters = [part.strip() for part in (content_type or "").split(";")]
    values = {key: value for key, _, value in (part.partition("=") for part in parameters)}
    if values.pop("charset", "utf-8").lower() != "utf-8":
        raise UnsupportedMediaError("The scoring server only supports UTF-8")
    if values:
        raise UnsupportedMediaError(
            f"Unrecognized content type parameters: {', '.join(values)}. "
            "Since MLflow 2.0 the form of the data is named in the body, not in the content type."
        )
    if media_type not in CONTENT_TYPES:
        raise UnsupportedMediaError(
            "This predictor only supports the following content types: "
            f"Types: {list(CONTENT_TYPES)}. Got {content_type!r:.80}."
        )
    return media_type


def encode_predictions(
    outputs: Outputs, *, model: str, version: str, wrapped: bool = True
) -> bytes:
    """Write a response: records for a data frame, nested lists for arrays.

    Args:
        outputs: What the model answered.
        model: Its name, for the error.
        version: Its version, for the error.
        wrapped: The request's own `wrapped`.

    Raises:
        PredictionError: An output cannot be written as JSON.
    """
    predictions = _predictions(outputs)
    response = {"predictions": predictions} if wrapped else predictions
    if isinstance(predictions, np.ndarray) and predictions.dtype.kind in "biuf":
        text = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
        # orjson writes NaN as null, MLflow as NaN; numbers hold no other null.
        if b"null" not in text:
            return text
    try:
        return json.dumps(response, default=_plain, ensure_ascii=False).encode(errors="replace")
    except (TypeError, ValueError) as error:
        raise PredictionError(model, version, f"outputs have no JSON form: {error}") from None


def _predictions(outputs: Outputs) -> Any:
    match outputs.form:
        case Form.ARRAY:
            (array,) = outputs.arrays.values()
            return _wide(array) if array.ndim else _listed(array)
        case Form.NAMED:
            return dict(outputs.arrays)
        case Form.COLUMNS:
            return _records(outputs.arrays)
        case Form.SERIES:
            (array,) = outputs.arrays.values()
            return _records({"0": array})  # what pandas calls a column without a label


def _records(arrays: Mapping[str, Array]) -> list[dict[str, Any]]:
    columns = [_cells(array) for array in arrays.values()]
    return [dict(zip(arrays, row, strict=True)) for row in zip(*columns, strict=True)]


def _cells(column: Array) -> list[Any]:
    if column.dtype.kind == "M":  # as pandas' Timestamp writes itself
        return [_isoformat(moment) for moment in column]
    cells: list[Any] = column.tolist()
    return cells


def _listed(array: Array) -> Any:
    if array.dtype == _NANOSECONDS:  # which `tolist` gives as integers
        texts = np.array([_isoformat(moment) for moment in array.ravel()], dtype=object)
        return texts.reshape(array.shape).tolist()
    return array.tolist()


def _wide(array: Array) -> Array:
    # MLflow goes through Python's float, which shows all digits of a float32 as a double:
    # 0.1 becomes 0.10000000149011612. orjson alone would write the shorter one.
    if array.dtype.kind == "f":
        return np.ascontiguousarray(array, dtype=np.float64)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def _isoformat(moment: "np.datetime64[Any]") -> str:
    seconds, _, fraction = str(np.datetime_as_string(moment, unit="ns")).partition(".")
    if seconds == "NaT" or not fraction.strip("0"):
        return seconds
    return f"{seconds}.{fraction[:6] if fraction.endswith('000') else fraction}"


def _plain(value: Any) -> Any:
    """Write what JSON does not know, as MLflow's `NumpyEncoder` does."""
    match value:
        case np.ndarray():
            return _listed(value)
        case np.generic():
            return value.item()
        case bytes() | bytearray():
            return base64.encodebytes(value).decode("ascii")
        case dt.date() | dt.time():
            return value.isoformat()
        case Mapping():
            return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
