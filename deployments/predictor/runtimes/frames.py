"""Between the arrays of the wire and the forms that models take and give."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.extensions import ExtensionDtype
from pydantic import BaseModel

from deployments.protocols.tensors import UNNAMED_OUTPUT, Array, Batch, Form, Layout, Outputs


def model_input(batch: Batch) -> Any:
    """The batch in the form that its layout asks for: an array, a mapping or a data frame."""
    match batch.layout:
        case Layout.COLUMNS:
            frame = pd.DataFrame({name: _column(item) for name, item in batch.inputs.items()})
            if batch.labels:
                frame.columns = pd.Index(batch.labels)
            return frame
        case Layout.NAMED_TENSORS:
            return dict(batch.inputs)
        case _:
            return sole_array(batch.inputs)


def sole_array(inputs: Mapping[str, Array]) -> Array:
    """The only input of a model that takes one array."""
    if len(inputs) != 1:
        raise ValueError(f"the model takes one input, got {len(inputs)}: {', '.join(inputs)}")
    return next(iter(inputs.values()))


def as_outputs(answer: Any) -> Outputs:
    """Turn what a model returned into arrays by output name.

    Numbers of one kind become an array of theirs. Everything else stays as it is, in an array
    of objects: lists of unequal lengths or of this and that, texts, and what is no list.

    Raises:
        TypeError: The answer cannot be expressed as tensors.
    """
    if isinstance(answer, pd.DataFrame):
        labels = [str(label) for label in answer.columns]
        columns = (_values(answer.iloc[:, place]) for place in range(len(labels)))
        return Outputs(dict(zip(labels, columns, strict=True)), Form.COLUMNS)
    if isinstance(answer, pd.Series) and answer.name is not None:
        return Outputs({str(answer.name): _values(answer)}, Form.COLUMNS)
    if isinstance(answer, BaseModel):
        answer = answer.model_dump()
    if isinstance(answer, Mapping):
        return Outputs({str(name): _values(item) for name, item in answer.items()}, Form.NAMED)
    form = Form.SERIES if isinstance(answer, pd.Series) else Form.ARRAY
    return Outputs({UNNAMED_OUTPUT: _values(answer)}, form)


def _column(array: Array) -> Any:
    if array.ndim == 2 and array.shape[1] == 1:
        return array.reshape(len(array))
    # A column of arrays: pandas takes them as objects only.
    return array if array.ndim == 1 else list(array)


def _values(item: Any) -> Array:
    array = _array(item)
    match array.dtype.kind:
        case "O":
            return _portable(array)
        case "b" | "i" | "u" | "f" | "S" | "U" | "M":
            return array
        case "m":
            return array.astype(str)
    raise TypeError(f"the model answered {type(item).__name__} of {array.dtype}, not a tensor")


def _array(item: Any) -> Array:
    match item:
        case np.ndarray():
            return item
        case pd.Series() | pd.Index():
            return _of_pandas(item)
        case list() | tuple():
            return _of_list(item)
        case str() | bytes() | bytearray() | Mapping() | BaseModel():
            return _objects([item]).reshape(())
        case _:
            return np.asarray(item)


def _of_pandas(item: "pd.Series[Any] | pd.Index[Any]") -> Array:
    is_nullable = isinstance(item.dtype, ExtensionDtype) and item.dtype.na_value is pd.NA
    if is_nullable and item.hasnans:
        return _objects(item.tolist())
    # As arrays, extension types would become Python objects.
    array: Array = item.to_numpy()
    return array


def _of_list(items: Sequence[Any]) -> Array:
    try:
        objects = np.asarray(items, dtype=object)
    except ValueError:  # arrays that differ in their later axes
        objects = _objects(items)
    kinds = set(map(type, objects.ravel().tolist()))
    if kinds <= {bool} or kinds <= {int} or kinds <= {float} or kinds <= {complex}:
        array = np.asarray(items)
        # Integers that no type holds become floats or objects.
        if not (kinds == {int} and array.dtype.kind == "f"):
            return array
    elif len(kinds) == 1 and issubclass(next(iter(kinds)), np.generic):
        return np.asarray(items)
    return objects


def _portable(objects: Array) -> Array:
    """Replace what gateways would have to import pandas for, as MLflow writes it."""
    items = objects.ravel().tolist()
    if not any(issubclass(kind, _REPLACED) for kind in set(map(type, items))):
        return objects
    return _objects([_portable_item(item) for item in items]).reshape(objects.shape)


def _portable_item(item: Any) -> Any:
    if item is pd.NA:
        return None
    if item is pd.NaT:
        return "NaT"
    if isinstance(item, pd.Timestamp):
        return item.isoformat()
    return item.model_dump() if isinstance(item, BaseModel) else item


_REPLACED = (pd.Timestamp, type(pd.NaT), type(pd.NA), BaseModel)


def _objects(items: Sequence[Any]) -> Array:
    # One by one: assigned at once, arrays of one length would become an axis.
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        array[place] = item
    return array
