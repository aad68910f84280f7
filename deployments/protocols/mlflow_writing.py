"""MLflow's scoring protocol from the other side: what Python callers hold, as a body of JSON.

Source:
    MLflow 3.17, `mlflow.utils.proto_json_utils`, whose words for times and bytes these are.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from mlflow.utils.proto_json_utils import NumpyEncoder

from deployments.protocols.tensors import Array


def write_inputs(inputs: Any) -> bytes:
    """Write a body whose reader gets the same values: all digits, times in ISO 8601, base64.

    Args:
        inputs: A data frame, a series, an array, a mapping of names to arrays or lists, a
            list or a scalar.

    Raises:
        TypeError: A value has no JSON form, such as a complex number.
        ValueError: A value contains itself.
    """
    if isinstance(inputs, pd.Series):
        inputs = inputs.to_frame()  # as models themselves take it
    if isinstance(inputs, pd.DataFrame):
        body = {"dataframe_split": _split(inputs)}
    elif isinstance(inputs, Mapping):
        body = {"inputs": {str(name): _listed(values) for name, values in inputs.items()}}
    else:
        body = {"inputs": _listed(inputs)}
    return json.dumps(body, cls=_Encoder).encode()


class _Encoder(NumpyEncoder):
    def default(self, o: Any) -> Any:
        if o is pd.NA or o is pd.NaT:
            return None
        if isinstance(o, np.datetime64):  # MLflow's would count its nanoseconds
            return pd.Timestamp(o)
        return super().default(o)  # type: ignore[no-untyped-call]


def _split(frame: pd.DataFrame) -> dict[str, Any]:
    columns = [_listed(frame.iloc[:, place]) for place in range(frame.shape[1])]
    return {
        "columns": frame.columns.tolist(),
        "index": frame.index.tolist(),
        "data": list(zip(*columns, strict=True)),
    }


def _listed(values: Any) -> Any:
    """Lists and scalars as they are, arrays of all kinds as lists."""
    if isinstance(values, str | bytes | bytearray | int | float | list | dict | None):
        return values
    if hasattr(values, "toarray"):  # sparse
        values = values.toarray()
    is_pandas = isinstance(values, pd.Series | pd.Index)
    array = values if is_pandas else np.asarray(values)
    return _times(np.asarray(array)) if _is_naive_time(array) else array.tolist()


def _is_naive_time(array: Any) -> bool:
    return isinstance(array.dtype, np.dtype) and array.dtype.kind == "M"


def _times(moments: Array) -> list[str | None]:
    # All with the same digits: MLflow reads a column in the form that its first element has.
    seconds = moments.astype("M8[s]")
    is_whole = bool(((seconds == moments) | np.isnat(moments)).all())
    texts = np.datetime_as_string(seconds if is_whole else moments).astype(object)
    texts[np.isnat(moments)] = None
    listed: list[str | None] = texts.tolist()
    return listed
