"""Over gRPC and over REST the same tensors are read, and the same are refused."""

import contextlib
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deployments.errors import RequestError
from deployments.protocols import open_inference_pb2 as pb
from deployments.protocols.binary_tensors import encode_blob
from deployments.protocols.datatypes import BINARY_ONLY, DTYPES
from deployments.protocols.open_inference import decode_infer as decode_rest
from deployments.protocols.open_inference_grpc import FIELDS, decode_infer, encode_infer, parse
from deployments.protocols.tensors import Array, Layout, Outputs, Request, Signature, TensorSpec
from tests.properties import examples

UNKNOWN = Signature(Layout.UNKNOWN)
SIGNATURES = [
    UNKNOWN,
    Signature(
        Layout.TENSOR, (TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "INT64", (-1,)),)
    ),
    Signature(
        Layout.COLUMNS,
        (TensorSpec("x", "INT16", (-1,)), TensorSpec("t", "BYTES", (-1,), mlflow_type="string")),
    ),
    Signature(
        Layout.UNKNOWN,
        mlflow={"params": '[{"name": "k", "type": "long", "default": 1, "shape": null}]'},
    ),
]
NAMES = st.sampled_from(["x", "t"])
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
ELEMENTS: dict[str, st.SearchStrategy[Any]] = {
    "b": st.booleans(),
    "i": st.integers(-(2**31), 2**31 - 1),
    "u": st.integers(0, 2**32 - 1),
    "f": st.floats(width=32),
    "O": TEXTS,
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "bool_param": st.booleans(),
    "int64_param": st.integers(-(2**63), 2**63 - 1),
    "string_param": TEXTS,
    "double_param": st.floats(allow_nan=False, allow_infinity=False),
}


@st.composite
def arrays_of(draw: st.DrawFn) -> tuple[str, Array]:
    datatype = draw(st.sampled_from(sorted(set(DTYPES) - {"BF16"})))
    shape = draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=3))
    texts = TEXTS.map(lambda text: text.encode()) if datatype == "BYTES" else None
    return datatype, draw(arrays.arrays(DTYPES[datatype], shape, elements=texts))


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, Any], pb.ModelInferRequest]:
    """One request in both forms, well-formed or not."""
    entries: list[dict[str, Any]] = []
    message = pb.ModelInferRequest(id=draw(st.sampled_from(["", "r"])))
    for name in draw(st.lists(NAMES, max_size=3)):
        datatype = draw(st.sampled_from([word for word in FIELDS if "64" not in word] + ["X"]))
        kind = DTYPES[datatype].kind if datatype in DTYPES else "f"
        data = draw(st.lists(ELEMENTS[kind], min_size=1, max_size=4))
        shape = draw(st.sampled_from([(len(data),), (1, len(data)), (len(data) // 2, 2), (2,), ()]))
        entry = {"name": name, "datatype": datatype, "shape": shape, "data": data}
        entries.append(entry)
        tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
        typed = [item.encode() for item in data] if kind == "O" else data
        getattr(tensor.contents, FIELDS.get(datatype, "fp32_contents")).extend(typed)
    parameters = {}
    for name in draw(st.sets(st.sampled_from(["k", "priority", "triton_a"]), max_size=2)):
        choice = draw(st.sampled_from(sorted(VALUES)))
        parameters[name] = draw(VALUES[choice])
        setattr(message.parameters[name], choice, parameters[name])
    outputs = draw(st.lists(st.sampled_from(["y", "z"]), max_size=2))
    message.outputs.extend(
        pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs
    )
    body = {
        "id": message.id or None,
        "inputs": entries,
        "parameters": parameters,
        "outputs": [{"name": name} for name in outputs],
    }
    return body, message


def outcome(decode: Any) -> Request | type[Exception]:
    try:
        request: Request = decode()
    except RequestError as error:
        return type(error)
    return request


@examples(300)
@given(requests(), st.sampled_from(SIGNATURES))
def test_typed_requests_are_read_as_json_is(
    both: tuple[dict[str, Any], pb.ModelInferRequest], signature: Signature
) -> None:
    body, message = both

    over_rest = outcome(lambda: decode_rest(json.dumps(body).encode(), None, signature))
    over_grpc = outcome(lambda: decode_infer(message, signature))

    if isinstance(over_rest, Request) and isinstance(over_grpc, Request):
        assert_same(over_grpc, over_rest)
    else:
        assert over_grpc == over_rest


@examples(150)
@given(arrays_of(), st.sampled_from(SIGNATURES), st.binary(max_size=2))
def test_raw_requests_are_read_as_binary_ones_are(
    typed: tuple[str, Array], signature: Signature, extra: bytes
) -> None:
    datatype, array = typed
    blob = encode_blob(array, datatype) + extra
    entry = {"name": "x", "datatype": datatype, "shape": array.shape}
    message = pb.ModelInferRequest(raw_input_contents=[blob])
    message.inputs.add(**entry)
    sized = {**entry, "parameters": {"binary_data_size": len(blob)}}
    text = json.dumps({"inputs": [sized], "parameters": {"binary_data_output": True}}).encode()

    over_rest = outcome(lambda: decode_rest(text + blob, str(len(text)), signature))
    over_grpc = outcome(lambda: decode_infer(message, signature))

    if isinstance(over_rest, Request) and isinstance(over_grpc, Request):
        assert_same(over_grpc, over_rest)
    else:
        assert over_grpc == over_rest


def assert_same(one: Request, other: Request) -> None:
    assert (one.rows, one.id, one.params, one.outputs, one.binary, one.layout, one.labels) == (
        other.rows, other.id, other.params, other.outputs, other.binary, other.layout, other.labels,
    )  # fmt: skip
    assert list(one.inputs) == list(other.inputs)
    for name, array in one.inputs.items():
        assert array.dtype == other.inputs[name].dtype
        np.testing.assert_array_equal(array, other.inputs[name])


@examples(100)
@given(arrays_of(), st.booleans())
def test_an_answer_sent_back_as_a_request_is_the_same_tensor(
    typed: tuple[str, Array], binary: bool
) -> None:
    datatype, array = typed
    binary = binary or datatype in BINARY_ONLY
    asked = Request({}, 1, binary=binary)
    answer = encode_infer(asked, Outputs({"x": array}), model="m", version="1", request_id="r")
    (output,) = answer.outputs
    message = pb.ModelInferRequest(raw_input_contents=answer.raw_output_contents)
    message.inputs.add().ParseFromString(output.SerializeToString())

    (back,) = decode_infer(
        parse(type(message), message.SerializeToString()), UNKNOWN
    ).inputs.values()

    assert output.datatype == datatype
    if datatype == "BYTES":
        assert [item.encode() for item in back.ravel()] == array.ravel().tolist()
    else:
        np.testing.assert_array_equal(back, array)


@examples(200)
@given(st.binary(max_size=80))
def test_no_bytes_raise_anything_but_a_request_error(body: bytes) -> None:
    for signature in SIGNATURES:
        with contextlib.suppress(RequestError):
            decode_infer(parse(pb.ModelInferRequest, body), signature)
