"""One tensor's `data` in JSON, to an array and back."""

from itertools import chain
from typing import Any

import numpy as np

from deployments.errors import MalformedRequestError
from deployments.protocols.datatypes import BINARY_ONLY, DTYPES
from deployments.protocols.tensors import Array

MAX_AXES = 64
"""Most axes that a NumPy array has."""

_BOOL = frozenset({bool})
_INTEGER = frozenset({int})
_NUMBER = frozenset({int, float})
_TEXT = frozenset({str})

_ELEMENTS = {
    word: {"b": _BOOL, "u": _INTEGER, "i": _INTEGER, "f": _NUMBER, "O": _TEXT}[dtype.kind]
    for word, dtype in DTYPES.items()
    if word not in BINARY_ONLY
}

_WORDS = {_BOOL: "true or false", _INTEGER: "integers", _NUMBER: "numbers", _TEXT: "strings"}


def decode_data(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> Array:
    """Build the array of one input.

    `data` is flat, or nested exactly as `shape` says; anything between would be a guess at
    the order of elements. Element types are checked, since NumPy alone would read `"1"` and
    `true` as numbers and cut 1.5 to 1.

    Raises:
        MalformedRequestError: Nesting, number or type of elements is not as declared.
    """
    allowed = _ELEMENTS.get(datatype)
    if allowed is None:
        raise MalformedRequestError(
            f"input {name!r}: datatype {datatype} cannot travel as JSON, "
            "expected the binary tensor extension (parameters.binary_data_size)"
        )
    elements = _flatten(name, shape, data)
    # A set of types costs a quarter of a loop of `isinstance`, and bool is not int in it.
    if not allowed.issuperset(map(type, elements)):
        raise MalformedRequestError(_wrong_element(name, datatype, allowed, elements))
    return reshape(name, _pack(name, datatype, elements), shape)


def reshape(name: str, array: Array, shape: tuple[int, ...]) -> Array:
    """Give the flat `array` its shape; the number of elements must agree already.

    Raises:
        MalformedRequestError: No array can have this shape, such as [0, 2**62].
    """
    if array.shape == shape:
        return array
    try:
        return array.reshape(shape)
    except (ValueError, OverflowError):
        raise MalformedRequestError(
            f"input {name!r}: shape {list(shape)} is too large, "
            f"expected at most {MAX_AXES} axes and 2**63 bytes"
        ) from None


def element_count(shape: tuple[int, ...]) -> int:
    """Multiply the axes, exactly: Python integers do not overflow as the wire's uint64 would."""
    count = 1
    for length in shape:
        count *= length
    return count


def json_type(value: Any) -> str:
    """Describe a JSON value in a word or two, so that a message need not carry all of it."""
    match value:
        case None:
            return "null"
        case bool() | int() | float():
            return f"the {type(value).__name__} {value!s:.40}"
        case str():
            return f"the string {value:.40}"
        case list():
            return "an array"
        case _:
            return "an object"


def _flatten(name: str, shape: tuple[int, ...], data: Any) -> list[Any]:
    if type(data) is not list:
        raise MalformedRequestError(
            f"input {name!r}: data is {json_type(data)}, expected an array of elements"
        )
    if not data or type(data[0]) is not list:
        if len(data) != element_count(shape):
            raise MalformedRequestError(
                f"input {name!r}: data has {len(data)} elements, "
                f"expected {element_count(shape)} for shape {list(shape)}"
            )
        return data
    elements: list[Any] = [data]
    for axis, length in enumerate(shape):
        if not all(type(element) is list and len(element) == length for element in elements):
            raise MalformedRequestError(
                f"input {name!r}: data is not nested as shape {list(shape)} says, "
                f"expected arrays of length {length} on axis {axis}, or one flat array"
            )
        elements = list(chain.from_iterable(elements))
    return elements


def _pack(name: str, datatype: str, elements: list[Any]) -> Array:
    dtype = DTYPES[datatype]
    try:
        # Overflow to infinity is looked for below, where its warning says nothing to a caller.
        if dtype.kind != "f" or dtype == np.float64:
            return np.array(elements, dtype=dtype)
        wide = np.array(elements, dtype=np.float64)
    except OverflowError:
        raise MalformedRequestError(
            f"input {name!r}: a value of data is outside the range of {datatype}"
        ) from None
    return narrow(name, wide, dtype, datatype)


def narrow(name: str, wide: Array, dtype: np.dtype[Any], datatype: str) -> Array:
    """Round to a smaller float type, refusing what would become infinite.

    Raises:
        MalformedRequestError: A finite value is outside the range of `dtype`.
    """
    with np.errstate(over="ignore"):
        array = wide.astype(dtype)
    lost = np.isinf(array) & ~np.isinf(wide)
    if lost.any():
        raise MalformedRequestError(
            f"input {name!r}: value {wide[lost][0]!s} is outside the range of {datatype}, "
            f"expected at most {np.finfo(dtype).max!s} in magnitude"
        )
    return array


def _wrong_element(name: str, datatype: str, allowed: frozenset[type], elements: list[Any]) -> str:
    index = next(index for index, element in enumerate(elements) if type(element) not in allowed)
    return (
        f"input {name!r}: element {index} of data is {json_type(elements[index])}, "
        f"expected {_WORDS[allowed]} for datatype {datatype}"
    )
