"""One tensor of the binary tensor data extension: packed, little-endian, row-major.

BYTES are each an unsigned 32-bit length and as many bytes.

Source:
    KServe, "Open Inference Protocol: Binary Tensor Data Extension".
"""

import struct
from typing import Any

import numpy as np

from deployments.errors import MalformedRequestError
from deployments.protocols.datatypes import DTYPES, ITEM_BYTES
from deployments.protocols.json_tensors import element_count, reshape
from deployments.protocols.tensors import Array

_LENGTH = struct.Struct("<I")


def decode_blob(name: str, datatype: str, shape: tuple[int, ...], blob: memoryview) -> Array:
    """Read the array of one input; numbers are a read-only view of `blob` where possible.

    BYTES give an object array of `bytes`.

    Raises:
        MalformedRequestError: The size is not what shape and datatype ask for, or a BYTES
            element reaches over the end.
    """
    count = element_count(shape)
    if datatype == "BYTES":
        return reshape(name, _elements(name, shape, count, blob), shape)
    size_bytes = count * ITEM_BYTES[datatype]
    if len(blob) != size_bytes:
        raise MalformedRequestError(
            f"input {name!r}: binary data has {len(blob)} bytes, "
            f"expected {size_bytes} for shape {list(shape)} of {datatype}"
        )
    return reshape(name, _numbers(name, datatype, blob), shape)


def encode_blob(array: Array, datatype: str) -> bytes:
    """Pack an output; BYTES elements must be `bytes` already."""
    if datatype == "BYTES":
        return b"".join(_LENGTH.pack(len(item)) + item for item in array.ravel().tolist())
    if datatype == "BF16":
        return array.view(np.uint16).astype("<u2", copy=False).tobytes()
    return array.astype(DTYPES[datatype], copy=False).tobytes()


def _numbers(name: str, datatype: str, blob: memoryview) -> Array:
    if datatype == "BF16":
        # The upper half of a float32 is the bfloat16.
        return (np.frombuffer(blob, "<u2").astype("<u4") << 16).view("<f4")
    array: Array = np.frombuffer(blob, DTYPES[datatype])
    if datatype == "BOOL" and array.size and array.view(np.uint8).max() > 1:
        raise MalformedRequestError(
            f"input {name!r}: binary data of BOOL has byte {int(array.view(np.uint8).max())}, "
            "expected 0 or 1"
        )
    return array


def _elements(name: str, shape: tuple[int, ...], count: int, blob: memoryview) -> Array:
    elements: list[Any] = []
    start, end = 0, len(blob)
    while (first := start + _LENGTH.size) <= end:
        stop = first + _LENGTH.unpack_from(blob, start)[0]
        if stop > end:
            break
        elements.append(bytes(blob[first:stop]))
        start = stop
    if start != end or len(elements) != count:
        fault = f", and {end - start} bytes that are no element" if start != end else ""
        raise MalformedRequestError(
            f"input {name!r}: binary data has {len(elements)} BYTES elements{fault}, "
            f"expected {count} for shape {list(shape)}"
        )
    array = np.empty(count, dtype=object)
    array[:] = elements
    return array
