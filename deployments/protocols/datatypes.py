"""Which word of one world is which word of another: Open Inference, NumPy, MLflow.

Source:
    Open Inference Protocol V2, "Tensor Data Types"; BF16 is Triton's addition to it.
    MLflow 3.17, `mlflow.types.schema.DataType`.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    # NumPy has no bfloat16. Every bfloat16 is a float32, so we hold it as one.
    "BF16": np.dtype("<f4"),
    "BYTES": np.dtype("O"),
}
"""Array type in which we hold each datatype; BYTES are Python strings or bytes."""

ITEM_BYTES: Mapping[str, int] = {
    **{word: dtype.itemsize for word, dtype in DTYPES.items() if word != "BYTES"},
    "BF16": 2,
}
"""Size of one element on the wire; BYTES have none, each element carries its own."""

BINARY_ONLY = frozenset({"FP16", "BF16"})
"""Datatypes that JSON cannot carry in Triton and in KServe, so neither here."""

COLUMN_DATATYPES: Mapping[str, str] = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}
"""MLflow's column types; arrays, objects and maps have no entry."""

_BY_DTYPE: Mapping[str, str] = {
    dtype.str[1:]: word for word, dtype in DTYPES.items() if word not in ("BF16", "BYTES")
}


@lru_cache(maxsize=256)  # NumPy makes up a type's name anew each time
def datatype_of(dtype: np.dtype[Any]) -> str | None:
    """Name an array type on the wire; None if the protocol has no word for it, as for complex."""
    if dtype.kind in "OUSM":
        return "BYTES"
    if dtype.name == "bfloat16":  # From `ml_dtypes`, which TensorFlow and JAX bring along.
        return "BF16"
    return _BY_DTYPE.get(dtype.str[1:])
