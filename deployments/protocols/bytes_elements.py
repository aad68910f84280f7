"""BYTES elements, and the Python values that they stand for on the model's side.

| MLflow's type              | the model gets               | an element on the wire         |
|----------------------------|------------------------------|--------------------------------|
| string                     | `str` in an object array     | UTF-8 text                     |
| binary                     | `bytes` in an object array   | the bytes; in JSON, UTF-8 text |
| datetime                   | datetime64[ns], naive        | ISO 8601; an offset becomes UTC |
| str, bytes (tensors)       | NumPy's own `U` or `S`       | UTF-8 text; the bytes          |
| nested (array, object, ..) | what the JSON text holds     | JSON text                      |
| none, or tensor of objects | `str` if all are UTF-8       | either                         |
"""

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from deployments.errors import MalformedRequestError
from deployments.protocols.tensors import Array

_FIRST_YEAR, _LAST_YEAR = 1678, 2261
"""What datetime64[ns] holds for certain; NumPy wraps around outside it, even when comparing."""

_DATE_EXPECTED = (
    f"an ISO 8601 date and time from {_FIRST_YEAR} to {_LAST_YEAR}, such as 2026-01-31T12:00:00"
)


def to_model(name: str, array: Array, mlflow_type: str) -> Array:
    """Turn decoded BYTES, `str` or `bytes` elements alike, to what the model expects.

    Raises:
        MalformedRequestError: An element is no UTF-8, no date or no JSON where one is expected.
    """
    elements = array.ravel().tolist()
    try:
        converted = _CONVERSIONS.get(mlflow_type, _texts_or_bytes)(elements)
    except _ElementError as error:
        raise MalformedRequestError(
            f"input {name!r}: element {error.index} is not {error.expected}"
        ) from None
    return converted.reshape(array.shape)


def to_texts(array: Array) -> list[str]:
    """Write an output's elements as JSON strings, flat.

    Raises:
        UnicodeDecodeError: An element is `bytes` that only a binary output can carry.
        TypeError: An element has no text, being neither string, date nor JSON.
    """
    return [_wire_bytes(item).decode() for item in _items(array)]


def to_bytes(array: Array) -> Array:
    """Write an output's elements as `bytes`, flat.

    Raises:
        TypeError: An element has no text, being neither string, date nor JSON.
    """
    return _objects([_wire_bytes(item) for item in _items(array)])


class _ElementError(Exception):
    def __init__(self, index: int, expected: str) -> None:
        super().__init__(index, expected)
        self.index = index
        self.expected = expected


def _items(array: Array) -> list[Any]:
    if array.dtype.kind == "M":
        # As text first: `tolist` gives nanoseconds as integers.
        array = np.datetime_as_string(array)
    items: list[Any] = array.ravel().tolist()
    return items


def _wire_bytes(item: Any) -> bytes:
    if isinstance(item, str):
        # A lone surrogate, which no request can bring in, must not take the answer down.
        return item.encode(errors="replace")
    if isinstance(item, bytes | bytearray):
        return bytes(item)
    return msgspec.json.encode(item, enc_hook=_plain)


def _plain(item: Any) -> Any:
    if isinstance(item, np.ndarray | np.generic):
        return item.tolist()
    raise TypeError(f"an output of type {type(item).__name__} has no form on the wire")


def _objects(elements: list[Any]) -> Array:
    # Assigned, not constructed: `np.array` would turn lists of one length into an axis.
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array


def _texts(elements: list[Any]) -> Array:
    return _objects([_text(index, item) for index, item in enumerate(elements)])


def _text(index: int, item: str | bytes) -> str:
    try:
        return item if isinstance(item, str) else item.decode()
    except UnicodeDecodeError:
        raise _ElementError(index, "UTF-8 text") from None


def _bytes(elements: list[Any]) -> Array:
    return _objects([item.encode() if isinstance(item, str) else item for item in elements])


def _texts_or_bytes(elements: list[Any]) -> Array:
    try:
        return _texts(elements)
    except _ElementError:
        return _bytes(elements)


def _numpy_texts(elements: list[Any]) -> Array:
    return np.array(_texts(elements).tolist(), dtype=np.str_)


def _numpy_bytes(elements: list[Any]) -> Array:
    return np.array(_bytes(elements).tolist(), dtype=np.bytes_)


def _json_values(elements: list[Any]) -> Array:
    return _objects([_json_value(index, item) for index, item in enumerate(elements)])


def _json_value(index: int, item: str | bytes) -> Any:
    try:
        return msgspec.json.decode(item)
    except (ValueError, RecursionError):
        raise _ElementError(
            index, "a JSON text, which this column of nested values needs"
        ) from None


def _datetimes(elements: list[Any]) -> Array:
    return np.array(
        [_datetime(index, _text(index, item)) for index, item in enumerate(elements)],
        dtype="datetime64[ns]",
    )


def _datetime(index: int, text: str) -> "np.datetime64[Any]":
    try:
        moment = dt.datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            moment = moment.astimezone(dt.UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise _ElementError(index, _DATE_EXPECTED) from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise _ElementError(index, _DATE_EXPECTED)
    return np.datetime64(moment)


_CONVERSIONS: Mapping[str, Callable[[list[Any]], Array]] = {
    "string": _texts,
    "str": _numpy_texts,
    "binary": _bytes,
    "bytes": _numpy_bytes,
    "datetime": _datetimes,
    "datetime64[ns]": _datetimes,
    "array": _json_values,
    "object": _json_values,
    "map": _json_values,
    "any": _json_values,
}
