from typing import Any

import numpy as np
import pytest

from deployments.errors import MalformedRequestError
from deployments.protocols.json_tensors import decode_data


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "expected"),
    [
        pytest.param("FP64", (2, 2), [1, 2.5, 3, 4], [[1, 2.5], [3, 4]], id="flat"),
        pytest.param("FP64", (2, 2), [[1, 2.5], [3, 4]], [[1, 2.5], [3, 4]], id="nested"),
        pytest.param("FP32", (1,), [0.1], [np.float32(0.1)], id="fp32-rounds"),
        pytest.param("BOOL", (2,), [True, False], [True, False], id="bool"),
        pytest.param("BYTES", (2,), ["a", "ö"], ["a", "ö"], id="bytes-as-strings"),
        pytest.param("INT64", (1,), [-(2**63)], [-(2**63)], id="lowest-int64-exact"),
        pytest.param("INT64", (1,), [2**53 + 1], [2**53 + 1], id="int64-beyond-float-exact"),
        pytest.param("UINT64", (2,), [2**64 - 1, 1], [2**64 - 1, 1], id="highest-uint64-exact"),
        pytest.param("FP64", (2, 0), [[], []], np.empty((2, 0)), id="rows-without-elements"),
        pytest.param("FP64", (0, 3), [], np.empty((0, 3)), id="no-rows"),
        pytest.param("FP64", (1,), [float("nan")], [float("nan")], id="nan"),
        pytest.param("FP32", (1,), [float("inf")], [float("inf")], id="infinity-stays"),
    ],
)
def test_decodes(datatype: str, shape: tuple[int, ...], data: Any, expected: Any) -> None:
    array = decode_data("x", datatype, shape, data)

    assert array.shape == shape
    np.testing.assert_array_equal(array, np.array(expected, dtype=array.dtype))


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "message"),
    [
        pytest.param("FP64", (3,), [1.0], "has 1 elements, expected 3", id="too-few"),
        pytest.param("FP64", (1,), [1.0, 2.0], "has 2 elements, expected 1", id="too-many"),
        pytest.param("FP64", (2, 2), [[1, 2], [3]], "length 2 on axis 1", id="ragged"),
        pytest.param("FP64", (2, 3), [[1, 2], [3, 4], [5, 6]], "length 2 on axis 0", id="turned"),
        pytest.param("FP64", (2,), [[1], [2]], "element 0 of data is an array", id="too-deep"),
        pytest.param("FP64", (2, 1, 1), [[1], [2]], "length 1 on axis 2", id="too-shallow"),
        pytest.param("FP64", (2, 1), [[1], 2], "length 1 on axis 1", id="mixed-depths"),
        pytest.param("FP64", (1,), 1.0, "data is the float 1.0", id="scalar"),
        pytest.param("FP64", (1,), {"a": 1}, "data is an object", id="object"),
        pytest.param("FP64", (1,), ["1"], "the string 1, expected numbers", id="string-number"),
        pytest.param("FP64", (1,), [True], "the bool True, expected numbers", id="bool-number"),
        pytest.param("FP64", (1,), [None], "is null, expected numbers", id="null"),
        pytest.param("INT32", (1,), [1.0], "the float 1.0, expected integers", id="float-for-int"),
        pytest.param("BOOL", (1,), [1], "the int 1, expected true or false", id="int-for-bool"),
        pytest.param("BYTES", (1,), [1], "the int 1, expected strings", id="int-for-bytes"),
        pytest.param("UINT8", (1,), [256], "outside the range of UINT8", id="uint8-overflow"),
        pytest.param("UINT8", (1,), [-1], "outside the range of UINT8", id="uint8-negative"),
        pytest.param("INT64", (1,), [2**63], "outside the range of INT64", id="int64-overflow"),
        pytest.param("FP32", (1,), [1e39], "value 1e[+]39 is outside", id="fp32-overflow"),
        pytest.param("FP64", (1,), [10**400], "outside the range of FP64", id="fp64-overflow"),
        pytest.param("FP16", (1,), [1.0], "FP16 cannot travel as JSON", id="fp16"),
        pytest.param("BF16", (1,), [1.0], "BF16 cannot travel as JSON", id="bf16"),
        pytest.param("FP64", (0, 2**62), [], "too large", id="unthinkable-shape"),
        pytest.param("FP64", (16, 2**60 + 2), [1.0], "expected 18446744073709551648", id="qa"),
    ],
)
def test_refuses(datatype: str, shape: tuple[int, ...], data: Any, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=f"input 'x'.*{message}"):
        decode_data("x", datatype, shape, data)
