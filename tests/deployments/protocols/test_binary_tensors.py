import struct

import numpy as np
import pytest

from deployments.errors import MalformedRequestError
from deployments.protocols.binary_tensors import decode_blob, encode_blob
from deployments.protocols.tensors import Array

ROWS = [
    pytest.param("BOOL", np.array([True, False]), b"\x01\x00", id="bool"),
    pytest.param("UINT8", np.array([1, 255], "u1"), b"\x01\xff", id="uint8"),
    pytest.param("UINT16", np.array([258], "u2"), b"\x02\x01", id="uint16-little-endian"),
    pytest.param("UINT32", np.array([1], "u4"), b"\x01\0\0\0", id="uint32"),
    pytest.param("UINT64", np.array([2**64 - 1], "u8"), b"\xff" * 8, id="uint64"),
    pytest.param("INT8", np.array([-1], "i1"), b"\xff", id="int8"),
    pytest.param("INT16", np.array([-2], "i2"), b"\xfe\xff", id="int16"),
    pytest.param("INT32", np.array([1, -1], "i4"), struct.pack("<ii", 1, -1), id="int32"),
    pytest.param("INT64", np.array([2**53 + 1]), struct.pack("<q", 2**53 + 1), id="int64"),
    pytest.param("FP16", np.array([1.5], "f2"), struct.pack("<e", 1.5), id="fp16"),
    pytest.param("FP32", np.array([1.5, -2], "f4"), struct.pack("<ff", 1.5, -2), id="fp32"),
    pytest.param("FP64", np.array([0.1]), struct.pack("<d", 0.1), id="fp64"),
    pytest.param(
        "BYTES",
        np.array([b"ab", b"", b"\xff"], dtype=object),
        b"\x02\0\0\0ab" + b"\0\0\0\0" + b"\x01\0\0\0\xff",
        id="bytes-with-length-prefix",
    ),
    pytest.param("FP64", np.empty(0), b"", id="empty"),
]


@pytest.mark.parametrize(("datatype", "array", "blob"), ROWS)
def test_decodes(datatype: str, array: Array, blob: bytes) -> None:
    decoded = decode_blob("x", datatype, array.shape, memoryview(blob))

    assert decoded.dtype == array.dtype
    np.testing.assert_array_equal(decoded, array)


@pytest.mark.parametrize(("datatype", "array", "blob"), ROWS)
def test_encodes(datatype: str, array: Array, blob: bytes) -> None:
    assert encode_blob(array, datatype) == blob


def test_bfloat16_is_held_as_the_float32_that_it_is() -> None:
    # 1.0 and -2.0: sign, 8 bits of exponent, 7 of fraction.
    blob = struct.pack("<HH", 0x3F80, 0xC000)

    decoded = decode_blob("x", "BF16", (2,), memoryview(blob))

    np.testing.assert_array_equal(decoded, np.array([1.0, -2.0], "f4"))


@pytest.mark.parametrize(
    ("array", "blob"),
    [
        pytest.param(np.array([1, 2], ">i2"), b"\x01\0\x02\0", id="big-endian"),
        pytest.param(np.array([[1, 2], [3, 4]], "i2").T, b"\x01\0\x03\0\x02\0\x04\0", id="turned"),
    ],
)
def test_output_in_any_memory_order_leaves_row_major_and_little_endian(
    array: Array, blob: bytes
) -> None:
    assert encode_blob(array, "INT16") == blob


@pytest.mark.parametrize(
    ("datatype", "shape", "blob", "message"),
    [
        pytest.param("FP32", (2,), b"\0" * 7, "has 7 bytes, expected 8", id="one-byte-short"),
        pytest.param("FP32", (2,), b"\0" * 9, "has 9 bytes, expected 8", id="one-byte-long"),
        pytest.param("BOOL", (1,), b"\x02", "byte 2, expected 0 or 1", id="neither-true-nor-false"),
        pytest.param("BYTES", (2,), b"\x01\0\0\0a", "has 1 BYTES elements", id="element-missing"),
        pytest.param("BYTES", (1,), b"\x02\0\0\0a", "5 bytes that are no element", id="cut-short"),
        pytest.param("BYTES", (1,), b"\x01\0\0", "3 bytes that are no element", id="cut-length"),
        pytest.param("BYTES", (0,), b"\0\0\0\0", "has 1 BYTES elements", id="element-too-many"),
        pytest.param("BYTES", (1,), b"\xff\xff\xff\xff", "no element", id="longest-length"),
        pytest.param("FP32", (16, 2**60 + 2), b"", "has 0 bytes", id="overflowing-shape"),
        pytest.param("FP32", (0, 2**62), b"", "too large", id="unthinkable-shape"),
    ],
)
def test_refuses(datatype: str, shape: tuple[int, ...], blob: bytes, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=f"input 'x'.*{message}"):
        decode_blob("x", datatype, shape, memoryview(blob))
