"""Does a decoded request fit the model's signature, and which casts are safe?

Triton and KServe want the declared datatype to be the model's, to the letter; MLflow casts
silently and loses digits. We cast where no information is lost, so that a script which
says FP64 or INT64 for every number reaches an FP32 model:

| sent          | model's      | cast                                                    |
|---------------|--------------|---------------------------------------------------------|
| narrower      | wider        | always, integers to floats included                     |
| integer       | integer      | if every value is in range                              |
| integer       | float        | if every value is below the float's gap-free limit      |
| wider float   | narrower     | JSON: rounded, as decimal text is anyway; binary: exact |
| float         | integer      | never: whether it works would hang on the values        |
| BOOL or BYTES | another type | never                                                   |

Zero rows are refused: models raise on them, and that would count against the version. A
tensor with rows but no elements, shape [1, 0], is legal.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from deployments.errors import MalformedRequestError
from deployments.protocols.bytes_elements import to_model
from deployments.protocols.datatypes import DTYPES
from deployments.protocols.json_tensors import narrow
from deployments.protocols.signature import SignatureMismatchError
from deployments.protocols.tensors import Array, Layout, Signature, TensorSpec


class WireTensor(msgspec.Struct, frozen=True):
    """One input as it was sent."""

    name: str
    datatype: str
    array: Array

    decimal: bool
    """Whether numbers came as decimal text."""


def conform(tensors: Sequence[WireTensor], signature: Signature) -> dict[str, Array]:
    """Check inputs against the signature, and cast them to it, in its order.

    Without a signature all pass as they are.

    Raises:
        SignatureMismatchError: An input is unknown, missing, or of another type or shape.
        MalformedRequestError: Two inputs share a name.
    """
    given = {tensor.name: tensor for tensor in tensors}
    if len(given) != len(tensors):
        raise MalformedRequestError(
            f"inputs: names {[tensor.name for tensor in tensors]} repeat, expected each once"
        )
    if signature.layout is Layout.UNKNOWN:
        return {name: _as_sent(tensor) for name, tensor in given.items()}
    arrays = {
        spec.name: _conform(given[spec.name], spec, signature.layout)
        for spec in signature.inputs
        if spec.name in given
    }
    if len(arrays) != len(given) or len(arrays) != len(signature.inputs):
        _check_names(given, signature.inputs)
    return arrays


def count_rows(arrays: Mapping[str, Array]) -> int:
    """Return the rows that all inputs share.

    Raises:
        MalformedRequestError: There are none, or inputs differ in their number.
    """
    lengths = {array.shape[0] if array.ndim else 0 for array in arrays.values()}
    rows = lengths.pop() if len(lengths) == 1 else 0
    if rows == 0:
        shapes = {name: list(array.shape) for name, array in arrays.items()}
        raise MalformedRequestError(
            f"inputs: shapes are {shapes}, expected the same number of rows in each, at least 1"
        )
    return rows


def _check_names(given: Mapping[str, WireTensor], specs: Sequence[TensorSpec]) -> None:
    expected = [spec.name for spec in specs]
    unknown = [name for name in given if name not in expected]
    missing = [spec.name for spec in specs if spec.required and spec.name not in given]
    if unknown:
        raise SignatureMismatchError(f"inputs: {unknown} are unknown, expected {expected}")
    if missing:
        raise SignatureMismatchError(f"inputs: {missing} are missing, expected {expected}")


def _as_sent(tensor: WireTensor) -> Array:
    if tensor.datatype == "BYTES":
        return to_model(tensor.name, tensor.array, "")
    return tensor.array


def _conform(tensor: WireTensor, spec: TensorSpec, layout: Layout) -> Array:
    array = tensor.array
    if (
        layout is Layout.COLUMNS
        and array.ndim == 2
        and array.shape[1] == 1
        and len(spec.shape) == 1
    ):
        array = array.reshape(-1)  # MLServer writes a column as [n, 1].
    _check_shape(tensor.name, array.shape, spec)
    if spec.datatype == "BYTES" or tensor.datatype == "BYTES":
        array = _conform_bytes(tensor, array, spec)
    elif tensor.datatype != spec.datatype:
        array = _cast(tensor, array, spec)
    return _rows_as_objects(array) if layout is Layout.COLUMNS and array.ndim > 1 else array


def _check_shape(name: str, shape: tuple[int, ...], spec: TensorSpec) -> None:
    if len(shape) == 1 and spec.shape == (-1,):  # Each column of a table comes by here.
        return
    fits = len(shape) == len(spec.shape) and all(
        expected in (-1, length) for length, expected in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise SignatureMismatchError(
            f"input {name!r}: shape {list(shape)} does not fit, expected {list(spec.shape)}"
        )


def _conform_bytes(tensor: WireTensor, array: Array, spec: TensorSpec) -> Array:
    if tensor.datatype != spec.datatype:
        raise _refusal(tensor, spec, "these never mix")
    # The elements of a column of arrays are plain; only deeper nesting travels as JSON.
    return to_model(tensor.name, array, "" if array.ndim > 1 else spec.mlflow_type)


def _rows_as_objects(array: Array) -> Array:
    rows = np.empty(len(array), dtype=object)
    rows[:] = list(array)
    return rows


def _cast(tensor: WireTensor, array: Array, spec: TensorSpec) -> Array:
    target = DTYPES[spec.datatype]
    kinds = array.dtype.kind + target.kind
    if "b" in kinds or (kinds[0] == "f" and kinds[1] != "f"):
        raise _refusal(tensor, spec, "values of these kinds are not turned into one another")
    # NumPy calls int64 to float64 safe, though it has gaps from 2**53 on.
    gapless = kinds[1] != "f" or kinds[0] == "f"
    if array.size == 0 or (gapless and np.can_cast(array.dtype, target, "safe")):
        return array.astype(target)
    if kinds == "ff":
        return _cast_float(tensor, array, spec, target)
    low, high = _exact_range(target)
    if array.min() < low or array.max() > high:
        raise _refusal(tensor, spec, f"values from {low} to {high} can be cast without loss")
    return array.astype(target)


def _cast_float(tensor: WireTensor, array: Array, spec: TensorSpec, target: np.dtype[Any]) -> Array:
    rounded = narrow(tensor.name, array, target, spec.datatype)
    if not tensor.decimal and not np.array_equal(rounded, array, equal_nan=True):
        raise _refusal(tensor, spec, "the binary values would lose digits")
    return rounded


def _exact_range(target: np.dtype[Any]) -> tuple[int, int]:
    """Give the integers that `target` holds without a gap."""
    if target.kind == "f":
        limit = 2 ** (np.finfo(target).nmant + 1)
        return -limit, limit
    return int(np.iinfo(target).min), int(np.iinfo(target).max)


def _refusal(tensor: WireTensor, spec: TensorSpec, reason: str) -> SignatureMismatchError:
    return SignatureMismatchError(
        f"input {tensor.name!r}: datatype {tensor.datatype} does not fit, "
        f"expected {spec.datatype}: {reason}"
    )
