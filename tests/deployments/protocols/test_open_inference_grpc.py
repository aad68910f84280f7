import struct
from typing import Any

import numpy as np
import pytest

from deployments.errors import MalformedRequestError, PredictionError
from deployments.protocols import open_inference_pb2 as pb
from deployments.protocols.open_inference_grpc import decode_infer, encode_infer, from_json, parse
from deployments.protocols.open_inference_pages import model_metadata
from deployments.protocols.signature import SignatureMismatchError
from deployments.protocols.tensors import (
    Layout,
    OutputRequest,
    Outputs,
    Request,
    Signature,
    TensorSpec,
)

UNKNOWN = Signature(Layout.UNKNOWN)
TENSOR = Signature(
    Layout.TENSOR,
    (TensorSpec("input-0", "FP64", (-1, 2)),),
    (TensorSpec("output-0", "INT64", (-1,)),),
)
PARAMS = Signature(
    Layout.UNKNOWN,
    mlflow={"params": '[{"name": "k", "type": "long", "default": 1, "shape": null}]'},
)


def request(
    datatype: str = "FP64",
    shape: tuple[int, ...] = (1, 2),
    raw: bytes | None = None,
    name: str = "x",
    **contents: Any,
) -> pb.ModelInferRequest:
    """One input, typed as said or raw."""
    message = pb.ModelInferRequest(model_name="m")
    message.inputs.add(
        name=name, datatype=datatype, shape=shape, contents=contents if contents else None
    )
    if raw is not None:
        message.raw_input_contents.append(raw)
    return message


def decode(message: pb.ModelInferRequest, signature: Signature = UNKNOWN) -> Request:
    return decode_infer(message, signature)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False]),
        ("UINT8", "uint_contents", [0, 255]),
        ("UINT16", "uint_contents", [0, 65535]),
        ("UINT32", "uint_contents", [0, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1]),
        ("INT8", "int_contents", [-128, 127]),
        ("INT16", "int_contents", [-32768, 32767]),
        ("INT32", "int_contents", [-(2**31), 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 2**63 - 1]),
        ("FP32", "fp32_contents", [0.5, -1.5]),
        ("FP64", "fp64_contents", [0.1, -1e300]),
        ("BYTES", "bytes_contents", [b"\xff", b""]),
    ],
)
def test_each_datatype_has_its_field(datatype: str, field: str, values: list[Any]) -> None:
    contents: dict[str, Any] = {field: values}
    array = decode(request(datatype, **contents)).inputs["x"]

    assert (array.tolist(), array.shape) == ([values], (1, 2))


def test_raw_request() -> None:
    message = request("INT16", raw=struct.pack("<hh", 1, -2))
    message.id = "abc"

    decoded = decode(message)

    assert (decoded.inputs["x"].tolist(), decoded.rows, decoded.id) == ([[1, -2]], 1, "abc")
    assert (decoded.binary, decoded.layout) == (True, Layout.TENSOR)


def test_raw_bytes_have_their_lengths_before_them() -> None:
    message = request("BYTES", (2,), raw=struct.pack("<I", 2) + b"hi" + struct.pack("<I", 0))

    assert decode(message).inputs["x"].tolist() == ["hi", ""]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        pytest.param(pb.ModelInferRequest(), "at least 1", id="no-inputs"),
        pytest.param(request(), "has 0 elements, expected 2", id="no-contents"),
        pytest.param(
            request(fp64_contents=[1]), "fp64_contents has 1 elements, expected 2", id="too-few"
        ),
        pytest.param(request(fp32_contents=[1, 2]), "has fp32_contents, expected fp64", id="field"),
        pytest.param(
            request(fp64_contents=[1, 2], int_contents=[1]), "has int_contents", id="two-fields"
        ),
        pytest.param(request("FP16"), "FP16 cannot travel as contents", id="fp16"),
        pytest.param(request("BF16"), "BF16 cannot travel as contents", id="bf16"),
        pytest.param(request("STRING"), "'STRING' is unknown", id="datatype"),
        pytest.param(request(shape=()), "shape has 0 axes", id="no-axes"),
        pytest.param(request(shape=(1,) * 65), "shape has 65 axes", id="too-many-axes"),
        pytest.param(request(shape=(-1, 2)), "expected no negative", id="negative-shape"),
        pytest.param(
            request(shape=(16, 2**60 + 2), fp64_contents=[1]), "expected 184", id="overflow"
        ),
        pytest.param(request("INT8", int_contents=[0, 128]), "range of INT8", id="int8"),
        pytest.param(request("INT8", int_contents=[0, -129]), "range of INT8", id="int8-below"),
        pytest.param(request("INT16", int_contents=[0, 2**15]), "range of INT16", id="int16"),
        pytest.param(request("UINT8", uint_contents=[0, 256]), "range of UINT8", id="uint8"),
        pytest.param(request("UINT16", uint_contents=[0, 2**16]), "range of UINT16", id="uint16"),
        pytest.param(request(raw=bytes(15)), "15 bytes, expected 16", id="truncated"),
        pytest.param(request(raw=bytes(17)), "17 bytes, expected 16", id="leftover"),
        pytest.param(request("BOOL", raw=b"\0\2"), "has byte 2", id="bool"),
        pytest.param(
            request(raw=bytes(16), fp64_contents=[1, 2]),
            "contents field must not be specified when using raw_input_contents",
            id="both",
        ),
        pytest.param(
            pb.ModelInferRequest(raw_input_contents=[b""]), "has 1 entries", id="raw-alone"
        ),
    ],
)
def test_refuses(message: pb.ModelInferRequest, said: str) -> None:
    with pytest.raises(MalformedRequestError, match=said):
        decode(message)


def test_refuses_raw_contents_for_some_inputs_only() -> None:
    message = request(raw=bytes(16))
    message.inputs.add(name="y", datatype="FP64", shape=[1])

    with pytest.raises(MalformedRequestError, match="1 entries, expected one for each of 2"):
        decode(message)


@pytest.mark.parametrize(
    ("given", "params"),
    [
        pytest.param({"k": pb.InferParameter(int64_param=5)}, {"k": 5}, id="given"),
        pytest.param({"k": pb.InferParameter(uint64_param=5)}, {"k": 5}, id="unsigned"),
        pytest.param({}, {"k": 1}, id="default"),
        pytest.param(
            {
                "priority": pb.InferParameter(uint64_param=2),
                "triton_x": pb.InferParameter(string_param="x"),
                "other": pb.InferParameter(double_param=0.5),
            },
            {"k": 1},
            id="not-the-model-s",
        ),
    ],
)
def test_parameters_that_are_not_reserved_go_to_the_model(given: Any, params: Any) -> None:
    message = request(fp64_contents=[1, 2])
    for name, parameter in given.items():
        message.parameters[name].CopyFrom(parameter)

    assert decode(message, PARAMS).params == params


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        pytest.param(pb.InferParameter(), "parameters.k has no value", id="no-value"),
        pytest.param(pb.InferParameter(string_param="5"), "a value of type long", id="type"),
    ],
)
def test_refuses_parameters(parameter: Any, said: str) -> None:
    message = request(fp64_contents=[1, 2])
    message.parameters["k"].CopyFrom(parameter)

    with pytest.raises(MalformedRequestError, match=said):
        decode(message, PARAMS)


@pytest.mark.parametrize(
    ("raw", "said", "binary"),
    [(True, None, True), (False, None, False), (True, False, False), (False, True, True)],
)
def test_the_answer_s_form(raw: bool, said: bool | None, binary: bool) -> None:
    message = request(raw=bytes(16)) if raw else request(fp64_contents=[1, 2])
    message.outputs.add(name="y")
    if said is not None:
        message.parameters["binary_data_output"].bool_param = said

    decoded = decode(message)

    assert (decoded.binary, decoded.outputs) == (binary, (OutputRequest("y", binary),))


def test_refuses_what_is_triton_s_alone() -> None:
    message = request(fp64_contents=[1, 2])
    message.outputs.add(name="y").parameters["classification"].int64_param = 3

    with pytest.raises(MalformedRequestError, match="classification"):
        decode(message)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (request(name="z", fp64_contents=[1, 2]), r"\['z'\] are unknown, expected \['input-0'\]"),
        (request(name="input-0", shape=(2,), fp64_contents=[1, 2]), "does not fit"),
    ],
)
def test_refuses_what_the_signature_does_not_promise(
    message: pb.ModelInferRequest, said: str
) -> None:
    with pytest.raises(SignatureMismatchError, match=said):
        decode(message, TENSOR)


def encode(array: Any, *, binary: bool, **asked: Any) -> pb.ModelInferResponse:
    outputs = Outputs({"y": array})
    return encode_infer(
        Request({}, 1, binary=binary, **asked), outputs, model="m", version="3", request_id="r"
    )


def test_answer() -> None:
    answer = encode(np.array([[1, 2]]), binary=False)

    assert (answer.model_name, answer.model_version, answer.id) == ("m", "3", "r")
    (output,) = answer.outputs
    assert (output.name, output.datatype, list(output.shape)) == ("y", "INT64", [1, 2])
    assert list(output.contents.int64_contents) == [1, 2]
    assert not answer.raw_output_contents


def test_raw_answer_has_no_contents() -> None:
    answer = encode(np.array(["hi"], dtype=object), binary=True)

    assert list(answer.raw_output_contents) == [b"\2\0\0\0hi"]
    assert not answer.outputs[0].HasField("contents")


@pytest.mark.parametrize(
    ("array", "asked", "error", "said"),
    [
        pytest.param(
            np.zeros(1, "f2"), {}, MalformedRequestError, "FP16, which contents cannot", id="fp16"
        ),
        pytest.param(np.zeros(1, "c8"), {}, PredictionError, "has no datatype", id="complex"),
        pytest.param(np.array([object()]), {}, PredictionError, "no form on the wire", id="object"),
        pytest.param(
            np.zeros(1),
            {"outputs": (OutputRequest("z", False),)},
            MalformedRequestError,
            r"\['z'\] are unknown",
            id="unknown-output",
        ),
    ],
)
def test_refuses_to_write(array: Any, asked: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        encode(array, binary=False, **asked)


def test_bytes_that_are_no_message() -> None:
    with pytest.raises(MalformedRequestError, match="the message is not a ModelInferRequest"):
        parse(pb.ModelInferRequest, b"\xff")


def test_a_page_becomes_a_message() -> None:
    signature = Signature(Layout.COLUMNS, (TensorSpec("a", "FP64", (-1,), required=False),))

    message = from_json(
        model_metadata("m", ["1", "2"], "sklearn", signature), pb.ModelMetadataResponse
    )

    assert (message.name, list(message.versions), message.platform) == ("m", ["1", "2"], "sklearn")
    assert list(message.inputs[0].shape) == [-1]
    assert dict(message.properties) == {"optional_inputs": "a"}
