"""The cheap way through MLflow's scoring protocol: plain numbers for a known signature.

Handles `inputs` and `instances` for tensors, `dataframe_split` and `dataframe_records` for
columns, with `params` of the right types. Whatever else a body may be, MLflow's own parser
decides it: see `mlflow_parsing`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from deployments.errors import MalformedRequestError
from deployments.protocols.conformance import count_rows
from deployments.protocols.json_tensors import decode_data
from deployments.protocols.model_params import cast_params
from deployments.protocols.signature import column_labels
from deployments.protocols.tensors import Array, Layout, Request, Signature, TensorSpec

_FORMATS = frozenset({"dataframe_split", "dataframe_records", "instances", "inputs"})

_UNIFIED = frozenset({"messages", "prompt", "input"})
"""Any of these makes the body one of MLflow's unified LLM form."""

_CHEAP_DATATYPES = frozenset({"INT32", "INT64", "FP32", "FP64"})

_MAX_COLUMN_ROWS = 256
"""Most rows that are transposed in Python; pandas is faster beyond."""


class _NotCheapError(Exception):
    """The body needs MLflow's own parser."""


def read_numbers(body: bytes, signature: Signature) -> Request | None:
    """Read a body that holds nothing but numbers which fit; None leaves it to MLflow."""
    if any(spec.datatype not in _CHEAP_DATATYPES for spec in signature.inputs):
        return None
    try:
        return _read(msgspec.json.decode(body), signature)
    # ValueError: no JSON, or, outside msgspec's own errors, no UTF-8.
    except (ValueError, RecursionError, MalformedRequestError, _NotCheapError):
        return None


def _read(envelope: Any, signature: Signature) -> Request:
    if not isinstance(envelope, dict) or not _UNIFIED.isdisjoint(envelope):
        raise _NotCheapError
    formats = _FORMATS.intersection(envelope)
    params = envelope.get("params")
    if len(formats) != 1 or not isinstance(params, dict | None):
        raise _NotCheapError
    (name,) = formats
    inputs = _inputs(name, envelope[name], signature)
    return Request(
        inputs=inputs,
        rows=count_rows(inputs),
        params=cast_params(params or {}, signature),
        layout=signature.layout,
        labels=column_labels(signature, inputs),
    )


def _inputs(name: str, value: Any, signature: Signature) -> Mapping[str, Array]:
    columns = name.startswith("dataframe")
    match signature.layout:
        case Layout.TENSOR if not columns:
            spec = signature.inputs[0]
            return {spec.name: _tensor(value, spec)}
        case Layout.NAMED_TENSORS if name == "inputs" and isinstance(value, dict):
            if value.keys() != {spec.name for spec in signature.inputs}:
                raise _NotCheapError
            return {spec.name: _tensor(value[spec.name], spec) for spec in signature.inputs}
        case Layout.COLUMNS if name == "dataframe_split":
            return _split(value, signature.inputs)
        case Layout.COLUMNS if name == "dataframe_records":
            return _records(value, signature.inputs)
    raise _NotCheapError


def _tensor(value: Any, spec: TensorSpec) -> Array:
    shape = _shape_of(value)
    if len(shape) != len(spec.shape) or any(
        expected not in (-1, length) for length, expected in zip(shape, spec.shape, strict=True)
    ):
        raise _NotCheapError
    return decode_data(spec.name, spec.datatype, shape, value)


def _shape_of(value: Any) -> tuple[int, ...]:
    """Follow the first elements down; `decode_data` checks that the others agree."""
    shape = []
    while isinstance(value, list) and value:
        shape.append(len(value))
        value = value[0]
    return tuple(shape)


def _split(value: Any, specs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    if not isinstance(value, dict) or not {"columns", "data"} <= value.keys() <= {
        "columns",
        "data",
        "index",
    }:
        raise _NotCheapError
    names, rows = value["columns"], value["data"]
    if not _is_table(names, rows) or len(value.get("index") or rows) != len(rows):
        raise _NotCheapError
    cells = dict(zip(names, zip(*rows, strict=True), strict=True))
    if len(cells) != len(names):
        raise _NotCheapError
    return _columns(cells, specs)


def _is_table(names: Any, rows: Any) -> bool:
    return (
        isinstance(names, list)
        and isinstance(rows, list)
        and 0 < len(rows) <= _MAX_COLUMN_ROWS
        and all(isinstance(name, str) for name in names)
        and all(isinstance(row, list) and len(row) == len(names) for row in rows)
    )


def _records(value: Any, specs: Sequence[TensorSpec]) -> Mapping[str, Array]:
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_COLUMN_ROWS:
        raise _NotCheapError
    names = value[0].keys() if isinstance(value[0], dict) else ()
    if not all(isinstance(row, dict) and row.keys() == names for row in value):
        raise _NotCheapError
    return _columns({name: [row[name] for row in value] for name in names}, specs)


def _columns(
    cells: Mapping[str, Sequence[Any]], specs: Sequence[TensorSpec]
) -> Mapping[str, Array]:
    arrays = {}
    for spec in specs:
        if spec.name in cells:
            column = list(cells[spec.name])
            arrays[spec.name] = decode_data(spec.name, spec.datatype, (len(column),), column)
        elif spec.required:
            raise _NotCheapError
    return arrays
