import json
import struct
from typing import Any

import pytest

from deployments.errors import MalformedRequestError
from deployments.protocols.open_inference import decode_infer
from deployments.protocols.tensors import Layout, OutputRequest, Request, Signature, TensorSpec

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


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2.5]} | fields


def binary(size: int | None, **fields: Any) -> dict[str, Any]:
    entry = tensor(parameters={"binary_data_size": size}, **fields)
    return {key: value for key, value in entry.items() if key != "data"}


def body(*inputs: Any, **fields: Any) -> bytes:
    return json.dumps({"inputs": list(inputs)} | fields).encode()


def decode(text: bytes, blobs: bytes = b"", signature: Signature = UNKNOWN) -> Request:
    return decode_infer(text + blobs, str(len(text)) if blobs else None, signature)


# Requests that are read.


def test_json_request() -> None:
    text = body(tensor(name="input-0"), id="abc", parameters={"binary_data_output": True})

    request = decode(text, signature=TENSOR)

    assert (request.id, request.rows, request.binary, request.header) == ("abc", 1, True, False)
    assert request.layout is Layout.TENSOR
    assert request.inputs["input-0"].tolist() == [[1.5, 2.5]]


def test_mixed_request_reads_binary_data_in_the_order_of_its_inputs() -> None:
    text = body(
        binary(8, name="a", shape=[1]),
        tensor(name="b"),
        binary(4, name="c", shape=[1], datatype="INT32"),
    )

    request = decode(text, struct.pack("<d", 0.5) + struct.pack("<i", 7))

    values = {name: array.tolist() for name, array in request.inputs.items()}
    assert values == {"a": [0.5], "b": [[1.5, 2.5]], "c": [7]}
    assert (request.header, request.layout) == (True, Layout.NAMED_TENSORS)


@pytest.mark.parametrize(
    ("header", "text"),
    [
        pytest.param("as-long-as-the-body", body(tensor()), id="header-without-binary-data"),
        pytest.param(None, b" " + body(tensor()) + b"\n", id="white-space-around"),
        pytest.param(None, body(tensor(), unknown=1), id="unknown-field"),
        pytest.param(None, body(tensor(unknown=1)), id="unknown-tensor-field"),
        pytest.param(None, body(tensor(), id=None, outputs=None, parameters=None), id="nulls"),
        pytest.param(None, body(tensor(), outputs=[]), id="no-outputs-asks-for-all"),
    ],
)
def test_lenient_where_it_does_no_harm(header: str | None, text: bytes) -> None:
    request = decode_infer(text, str(len(text)) if header else None, UNKNOWN)

    assert request.inputs["x"].tolist() == [[1.5, 2.5]]


@pytest.mark.parametrize(
    "token",
    [pytest.param("NaN", id="nan"), pytest.param("Infinity", id="inf"), pytest.param("-Infinity")],
)
def test_python_s_own_json_tokens_are_read(token: str) -> None:
    text = body(tensor()).replace(b"1.5", token.encode())

    (value, _) = decode(text).inputs["x"][0]

    assert repr(float(value)) == repr(float(token))


def test_wide_integers_stay_exact() -> None:
    text = body(tensor(datatype="UINT64", data=[2**64 - 1, 2**53 + 1]))

    assert decode(text).inputs["x"].tolist() == [[2**64 - 1, 2**53 + 1]]


def test_an_empty_binary_tensor_is_legal() -> None:
    text = body(binary(0, shape=[1, 0]))

    assert decode_infer(text, str(len(text)), UNKNOWN).inputs["x"].shape == (1, 0)


@pytest.mark.parametrize(
    ("parameters", "params"),
    [
        pytest.param({"k": 5}, {"k": 5}, id="given"),
        pytest.param({}, {"k": 1}, id="default"),
        pytest.param({"content_type": "pd", "z": 1}, {"k": 1}, id="mlserver-s-content-type"),
        pytest.param(
            {"sequence_id": 1, "priority": 2, "timeout": 3, "headers": {}, "triton_x": 1},
            {"k": 1},
            id="reserved",
        ),
    ],
)
def test_parameters_that_are_not_reserved_go_to_the_model(
    parameters: dict[str, Any], params: dict[str, Any]
) -> None:
    assert decode(body(tensor(), parameters=parameters), signature=PARAMS).params == params


@pytest.mark.parametrize(
    ("parameters", "entry", "binary"),
    [
        pytest.param({}, {}, False, id="json-by-default"),
        pytest.param({"binary_data_output": True}, {}, True, id="request-says-binary"),
        pytest.param({}, {"binary_data": True}, True, id="output-says-binary"),
        pytest.param({"binary_data_output": True}, {"binary_data": False}, False, id="overrides"),
    ],
)
def test_each_output_may_be_binary(
    parameters: dict[str, Any], entry: dict[str, Any], binary: bool
) -> None:
    text = body(tensor(), parameters=parameters, outputs=[{"name": "y", "parameters": entry}])

    assert decode(text).outputs == (OutputRequest("y", binary),)


# Raw requests.


@pytest.mark.parametrize(
    ("spec", "blob", "values"),
    [
        pytest.param(TensorSpec("x", "FP32", (-1, 2)), struct.pack("<ff", 1, 2), [[1, 2]], id="2"),
        pytest.param(TensorSpec("x", "INT8", (-1, -1)), b"\1\2\3", [[1, 2, 3]], id="free-width"),
        pytest.param(TensorSpec("x", "INT8", (-1,)), b"\1", [1], id="one-number"),
        pytest.param(TensorSpec("x", "BYTES", (-1,), True, "string"), b"text", ["text"], id="text"),
        pytest.param(TensorSpec("x", "BYTES", (-1, 1)), b"", [[""]], id="empty-text"),
    ],
)
def test_raw_request_is_one_row_and_wants_binary(
    spec: TensorSpec, blob: bytes, values: list[Any]
) -> None:
    request = decode_infer(blob, "0", Signature(Layout.TENSOR, (spec,)))

    assert request.inputs["x"].tolist() == values
    assert (request.rows, request.binary, request.header) == (1, True, True)


@pytest.mark.parametrize(
    ("specs", "blob", "message"),
    [
        pytest.param((), b"", "the model has 0 in its signature", id="no-signature"),
        pytest.param(
            (TensorSpec("x", "FP32", (-1,)), TensorSpec("y", "FP32", (-1,))),
            b"",
            "the model has 2",
            id="two-inputs",
        ),
        pytest.param(
            (TensorSpec("x", "FP32", (-1, -1, -1)),), b"", "cannot fill", id="two-free-axes"
        ),
        pytest.param((TensorSpec("x", "BYTES", (-1, 2)),), b"", "cannot fill", id="two-texts"),
        pytest.param((TensorSpec("x", "FP32", (-1, 2)),), b"\0" * 7, "expected 8", id="wrong-size"),
        pytest.param(
            (TensorSpec("x", "FP32", (-1, -1)),), b"\0" * 7, "expected 4", id="no-multiple"
        ),
    ],
)
def test_raw_request_refused(specs: tuple[TensorSpec, ...], blob: bytes, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        decode_infer(blob, "0", Signature(Layout.NAMED_TENSORS, specs))


# Requests that are refused.


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(b"", "truncated", id="empty"),
        pytest.param(b"{", "truncated", id="cut-off"),
        pytest.param(b'"\xff"', "Expected `object`|utf-8", id="no-utf8"),
        pytest.param(b'{"inputs": "\xff"}', "utf-8|Expected", id="no-utf8-inside"),
        pytest.param(b"[]", "Expected `object`, got `array`", id="no-object"),
        pytest.param(b"NaN", "Expected `object`", id="bare-nan"),
        pytest.param(b'{"inputs": NaN', "not an inference request", id="malformed-with-nan"),
        pytest.param(b"{}", "missing required field `inputs`", id="no-inputs-field"),
        pytest.param(b"[" * 100_000, "Expected `object`", id="deep"),
        pytest.param(b'{"x":' * 100_000, "nested too deeply", id="deep-unknown-field"),
        pytest.param(b'{"x":NaN,"y":' + b"[" * 100_000, "nested too deeply", id="deep-with-nan"),
        pytest.param(body(), "at least 1", id="no-inputs"),
        pytest.param(body(1), r"got `int` - at `\$.inputs\[0\]`", id="input-is-no-object"),
        pytest.param(body(tensor(), id=7), r"at `\$.id`", id="id-is-no-string"),
        pytest.param(
            body(tensor(), id="x").replace(b'"x"', b'"\\ud800"'), "request", id="surrogate"
        ),
        pytest.param(
            body(tensor(), a=float("nan"), id="q").replace(b'"q"', b'"\\ud800"'),
            "request",
            id="surrogate-beside-nan",
        ),
        pytest.param(body(tensor(), parameters=[1]), r"at `\$.parameters`", id="parameters-list"),
        pytest.param(
            body(tensor(), parameters={"binary_data_output": 1}),
            "binary_data_output is 1, expected true or false",
            id="binary-data-output-is-no-bool",
        ),
        pytest.param(body(tensor(name=1)), r"at `\$.inputs\[0\].name`", id="name-is-no-string"),
        pytest.param(body(tensor(shape=[-1])), "`int` >= 0", id="negative-shape"),
        pytest.param(body(tensor(shape=[1.5])), r"shape\[0\]`", id="shape-is-no-integer"),
        pytest.param(body(tensor(shape=[True])), r"shape\[0\]`", id="shape-is-a-bool"),
        pytest.param(body(tensor(shape=3)), r"\.shape`", id="shape-is-no-list"),
        pytest.param(body(tensor(shape=[])), "shape has 0 axes", id="no-rows-axis"),
        pytest.param(body(tensor(shape=[1] * 65)), "shape has 65 axes", id="too-many-axes"),
        pytest.param(body(tensor(shape=[16, 2**60 + 2])), "2 elements, expected 184", id="qa"),
        pytest.param(body(tensor(shape=[2**64])), "2 elements, expected 184", id="beyond-uint64"),
        pytest.param(body(tensor(shape=[0, 2], data=[])), "at least 1", id="zero-rows"),
        pytest.param(body(tensor(datatype="STRING")), "'STRING' is unknown", id="string-for-bytes"),
        pytest.param(body(tensor(datatype="fp64")), "'fp64' is unknown", id="lower-case"),
        pytest.param(body(tensor(datatype="FP16")), "cannot travel as JSON", id="fp16"),
        pytest.param(body(tensor(data=None)), "data is missing", id="no-data"),
        pytest.param(body(tensor(), tensor()), r"\['x', 'x'\] repeat", id="repeated-input"),
        pytest.param(
            body(tensor(), tensor(name="y", shape=[2, 1])), "same number of rows", id="rows-differ"
        ),
        pytest.param(
            body(tensor(parameters={"binary_data_size": 16})), "both data", id="data-twice"
        ),
        pytest.param(body(binary(16)), "expected the header", id="binary-without-header"),
        pytest.param(body(binary(-1)), "`int` >= 0", id="negative-size"),
        pytest.param(
            body(tensor(parameters={"shared_memory_region": "r"}, data=None)),
            "data is missing",
            id="shared-memory",
        ),
        pytest.param(
            body(tensor(), outputs=[{"name": "y", "parameters": {"classification": 3}}]),
            "classification",
            id="classification",
        ),
        pytest.param(body(tensor(), outputs=[{}]), "field `name`", id="output-without-name"),
    ],
)
def test_refuses_json(text: bytes, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        decode(text)


ONE = body(binary(16))
BLOB = struct.pack("<dd", 1.5, 2.5)


@pytest.mark.parametrize(
    ("text", "header", "message"),
    [
        pytest.param(ONE + BLOB, "x", "'x', expected the length", id="header-is-no-number"),
        pytest.param(ONE + BLOB, "", "'', expected the length", id="header-is-empty"),
        pytest.param(ONE + BLOB, "-1", "'-1', expected the length", id="header-is-negative"),
        pytest.param(ONE + BLOB, "1.0", "'1.0', expected", id="header-is-no-integer"),
        pytest.param(ONE + BLOB, "²", "'²', expected", id="header-is-no-ascii-digit"),
        pytest.param(ONE + BLOB, "9" * 5000, "expected the length", id="header-of-5000-digits"),
        pytest.param(ONE, str(len(ONE) + 1), "at most the body's", id="header-beyond-body"),
        pytest.param(ONE + BLOB, str(len(ONE) - 1), "request", id="header-cuts-json"),
        pytest.param(ONE + BLOB, str(len(ONE) + 1), "request", id="header-takes-binary"),
        pytest.param(
            ONE + BLOB[:-3], str(len(ONE)), "expecting 3 additional bytes", id="truncated"
        ),
        pytest.param(
            ONE + BLOB + b"x", str(len(ONE)), "unexpected additional input data: 1", id="leftover"
        ),
    ],
)
def test_refuses_binary(text: bytes, header: str, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        decode_infer(text, header, UNKNOWN)


def test_refuses_a_size_that_is_not_the_shape_s() -> None:
    with pytest.raises(MalformedRequestError, match="has 8 bytes, expected 16"):
        decode(body(binary(8)), BLOB[:8])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        pytest.param({"name": "z"}, r"\['z'\] are unknown, expected \['input-0'\]", id="name"),
        pytest.param({"name": "input-0", "shape": [2, 1]}, "does not fit", id="shape"),
        pytest.param(
            {"name": "input-0", "datatype": "BYTES", "data": ["a", "b"]}, "never mix", id="datatype"
        ),
    ],
)
def test_refuses_what_the_signature_does_not_promise(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        decode(body(tensor(**fields)), signature=TENSOR)


def test_refuses_an_output_that_the_signature_does_not_promise() -> None:
    with pytest.raises(MalformedRequestError, match=r"outputs: \['z'\] are unknown"):
        decode(body(tensor(name="input-0"), outputs=[{"name": "z"}]), signature=TENSOR)
