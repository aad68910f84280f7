"""Between the arrays of the wire and the forms that models take and give."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

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

    Raises:
        TypeError: The answer cannot be expressed as tensors.
    """
    if isinstance(answer, pd.DataFrame):
        columns = {str(name): _values(answer[name]) for name in answer.columns}
        return Outputs(columns, Form.COLUMNS)
    if isinstance(answer, Mapping):
        return Outputs({str(name): _values(item) for name, item in answer.items()}, Form.NAMED)
    return Outputs({UNNAMED_OUTPUT: _values(answer)}, Form.ARRAY)


def _column(array: Array) -> Any:
    if array.ndim == 2 and array.shape[1] == 1:
        return array.reshape(len(array))
    # A column of arrays: pandas takes them as objects only.
    return array if array.ndim == 1 else list(array)


def _values(item: Any) -> Array:
    # pandas extension types would become arrays of Python objects.
    array = item.to_numpy() if isinstance(item, pd.Series | pd.Index) else np.asarray(item)
    if array.dtype.kind in "biufSUO":
        return array
    if array.dtype.kind in "mM":
        return array.astype(str)
    raise TypeError(f"the model answered {type(item).__name__} of {array.dtype}, not a tensor")
