import json
from collections.abc import Mapping

import numpy as np
import pytest

from deployments.errors import MalformedRequestError, PredictionError
from deployments.protocols.open_inference import BINARY_TYPE, JSON_TYPE, Encoded, encode_infer
from deployments.protocols.tensors import Array, Form, OutputRequest, Outputs, Request


def encode(outputs: Mapping[str, Array], request: Request | None = None) -> Encoded:
    asked = request or Request(inputs={}, rows=1)
    return encode_infer(asked, Outputs(outputs), model="m", version="3", request_id="r")


def test_json_response_is_flat_and_row_major() -> None:
    encoded = encode({"y": np.array([[1, 2], [3, 4]]).T})

    assert (encoded.content_type, encoded.header_length) == (JSON_TYPE, None)
    assert json.loads(encoded.body) == {
        "model_name": "m",
        "model_version": "3",
        "id": "r",
        "outputs": [{"name": "y", "datatype": "INT64", "shape": [2, 2], "data": [1, 3, 2, 4]}],
    }


def test_binary_response_has_the_blobs_behind_the_json() -> None:
    asked = Request({}, 1, outputs=(OutputRequest("b", True), OutputRequest("a", False)))
    outputs = {"a": np.array([1.5]), "b": np.array([1, 2], "i2"), "c": np.array([0])}

    encoded = encode(outputs, asked)

    assert encoded.content_type == BINARY_TYPE
    assert encoded.body[encoded.header_length :] == b"\1\0\2\0"
    assert json.loads(encoded.body[: encoded.header_length])["outputs"] == [
        {"name": "b", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}},
        {"name": "a", "datatype": "FP64", "shape": [1], "data": [1.5]},
    ]


@pytest.mark.parametrize(
    ("array", "text"),
    [
        pytest.param(np.array([np.nan, np.inf, -np.inf]), b"[NaN, Infinity, -Infinity]", id="nan"),
        pytest.param(np.array([0.1], "f4"), b"[0.1]", id="shortest-float32"),
        pytest.param(np.array([2**64 - 1], "u8"), b"[18446744073709551615]", id="wide-integer"),
        pytest.param(np.array([True]), b"[true]", id="bool"),
        pytest.param(np.array(["null"]), b'["null"]', id="the-word-null"),
        pytest.param(np.array([1.5], ">f8"), b"[1.5]", id="other-byte-order"),
        pytest.param(np.array([b"ab"]), b'["ab"]', id="bytes-that-are-utf8"),
    ],
)
def test_json_values(array: Array, text: bytes) -> None:
    assert b'"data":' + text in encode({"y": array}).body.replace(b'"data": ', b'"data":')


@pytest.mark.parametrize(
    ("array", "message"),
    [
        pytest.param(np.array([1.5], "f2"), "FP16, which JSON cannot carry", id="fp16"),
        pytest.param(np.array([b"\xff"]), "not UTF-8, which JSON cannot carry", id="no-utf8"),
    ],
)
def test_what_json_cannot_carry_is_the_caller_s_mistake(array: Array, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        encode({"y": array})


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.array([1j]), id="complex"),
        pytest.param(np.array([1j], dtype=object), id="complex-object"),
    ],
)
@pytest.mark.parametrize("binary", [False, True])
def test_what_nothing_can_carry_is_the_version_s(array: Array, binary: bool) -> None:
    with pytest.raises(PredictionError, match="model 'm' version 3 failed: output 'y'"):
        encode({"y": array}, Request({}, 1, binary=binary))


def test_an_output_that_the_model_does_not_give_is_refused() -> None:
    with pytest.raises(MalformedRequestError, match=r"\['z'\] are unknown, expected \['y'\]"):
        encode({"y": np.array([1])}, Request({}, 1, outputs=(OutputRequest("z", False),)))


def test_bytes_output_is_length_prefixed() -> None:
    encoded = encode({"y": np.array(["ö"])}, Request({}, 1, binary=True))

    assert encoded.body[encoded.header_length :] == b"\x02\0\0\0\xc3\xb6"


def test_form_does_not_matter_on_this_wire() -> None:
    outputs = Outputs({"a": np.array([1])}, Form.COLUMNS)

    encoded = encode_infer(Request({}, 1), outputs, model="m", version="1", request_id="r")

    assert json.loads(encoded.body)["outputs"][0]["name"] == "a"


def test_an_output_that_the_model_promised_and_kept_is_the_model_s_failure() -> None:
    asked = Request({}, 1, outputs=(OutputRequest("y", False, promised=True),))

    with pytest.raises(PredictionError, match=r"\['y'\] are promised, answered \['z'\]"):
        encode({"z": np.array([1])}, asked)


def test_an_answer_without_a_name_is_the_only_promised_output() -> None:
    asked = Request({}, 1, outputs=(OutputRequest("y", False, promised=True),))

    (entry,) = json.loads(encode({"output-0": np.array([1])}, asked).body)["outputs"]

    assert entry == {"name": "y", "datatype": "INT64", "shape": [1], "data": [1]}


@pytest.mark.parametrize(
    ("elements", "datatype", "data"),
    [
        pytest.param([1, None], "FP64", [1.0, "NaN"], id="numbers"),
        pytest.param([None, None], "BYTES", ["null", "null"], id="nothing-but-gaps"),
        pytest.param(["x", None], "BYTES", ["x", "null"], id="texts"),
        pytest.param([[1, 2], [3]], "BYTES", ["[1,2]", "[3]"], id="ragged"),
    ],
)
def test_objects_on_the_wire(elements: list[object], datatype: str, data: list[object]) -> None:
    array = np.empty(2, dtype=object)
    array[:] = elements

    body = encode({"y": array}).body

    (entry,) = json.loads(body, parse_constant=str)["outputs"]
    assert (entry["datatype"], entry["data"]) == (datatype, data)
