import contextlib
import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deployments.errors import RequestError
from deployments.protocols.datatypes import DTYPES, ITEM_BYTES
from deployments.protocols.open_inference import Encoded, decode_infer, encode_infer
from deployments.protocols.tensors import Array, Layout, Outputs, Request, Signature, TensorSpec
from tests.properties import examples

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


def body(*inputs: Any, **fields: Any) -> bytes:
    return json.dumps({"inputs": list(inputs)} | fields).encode()


def encode(array: Array, *, binary: bool) -> Encoded:
    asked = Request({}, 1, binary=binary)
    return encode_infer(asked, Outputs({"x": array}), model="m", version="3", request_id="r")


NUMBERS = sorted(set(DTYPES) - {"BYTES", "BF16"})
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


@st.composite
def tensors(draw: st.DrawFn, datatypes: list[str]) -> tuple[str, Array]:
    datatype = draw(st.sampled_from(datatypes))
    shape = draw(arrays.array_shapes(max_dims=3, max_side=4))
    elements = TEXTS if datatype == "BYTES" else None
    return datatype, draw(arrays.arrays(DTYPES[datatype], shape, elements=elements))


@examples(60)
@given(tensors([*NUMBERS, "BYTES"]))
def test_binary_answer_sent_back_as_a_request_is_the_same_tensor(
    datatype_array: tuple[str, Array],
) -> None:
    datatype, array = datatype_array
    encoded = encode(array, binary=True)
    length = encoded.header_length
    assert length is not None
    (output,) = json.loads(encoded.body[:length])["outputs"]
    text = body(output)

    request = decode_infer(text + encoded.body[length:], str(len(text)), UNKNOWN)

    assert output["datatype"] == datatype
    assert request.inputs["x"].dtype == array.dtype
    np.testing.assert_array_equal(request.inputs["x"], array)


@examples(60)
@given(tensors([word for word in [*NUMBERS, "BYTES"] if word != "FP16"]))
def test_json_answer_sent_back_as_a_request_is_the_same_tensor(
    datatype_array: tuple[str, Array],
) -> None:
    _, array = datatype_array
    (output,) = json.loads(encode(array, binary=False).body)["outputs"]

    request = decode_infer(body(output), None, UNKNOWN)

    np.testing.assert_array_equal(request.inputs["x"], array)


@examples(150)
@given(
    st.binary(max_size=60),
    st.one_of(st.none(), st.text(max_size=5), st.integers(0, 60).map(str)),
    st.sampled_from([UNKNOWN, TENSOR, PARAMS]),
)
def test_no_bytes_raise_anything_but_a_request_error(
    content: bytes, header: str | None, signature: Signature
) -> None:
    with contextlib.suppress(RequestError):
        decode_infer(content, header, signature)


@examples(150)
@given(
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.integers(0, 4), min_size=1, max_size=2),
    st.binary(max_size=20),
)
def test_no_binary_data_raises_anything_but_a_request_error(
    datatype: str, shape: list[int], blob: bytes
) -> None:
    parameters = {"binary_data_size": len(blob)}
    text = body({"name": "x", "shape": shape, "datatype": datatype, "parameters": parameters})

    with contextlib.suppress(RequestError):
        decode_infer(text + blob, str(len(text)), UNKNOWN)


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3)),
    lambda children: st.one_of(
        st.lists(children, max_size=3), st.dictionaries(st.text(max_size=3), children, max_size=2)
    ),
    max_leaves=5,
)


@examples(150)
@given(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["x", "input-0"]),
            "shape": st.lists(st.integers(-1, 2**65), max_size=3),
            "datatype": st.sampled_from([*ITEM_BYTES, "BYTES", "X"]),
            "data": JSON_VALUES,
        }
    ),
    JSON_VALUES,
)
def test_no_json_raises_anything_but_a_request_error(entry: Any, extra: Any) -> None:
    text = body(entry, parameters={"k": extra}, outputs=[{"name": "y", "parameters": extra}])

    for signature in (UNKNOWN, TENSOR, PARAMS):
        with contextlib.suppress(RequestError):
            decode_infer(text, None, signature)
