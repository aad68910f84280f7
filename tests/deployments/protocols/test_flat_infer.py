"""Flat requests are read and answered as all others are, bit by bit and byte by byte."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import MalformedRequestError
from deployments.gateway.joining import batch_shape
from deployments.protocols.flat_infer import (
    FlatPlan,
    cut_rows,
    decode_flat,
    flat_plan,
    write_rows,
)
from deployments.protocols.open_inference import decode_infer, encode_infer
from deployments.protocols.tensors import Array, Layout, Outputs, Request, Signature, TensorSpec
from tests.properties import examples


def signature(
    datatype: str = "FP64", shape: tuple[int, ...] = (-1, 2), layout: Layout = Layout.TENSOR
) -> Signature:
    return Signature(layout, (TensorSpec("x", datatype, shape),))


def plan(of: Signature) -> FlatPlan:
    found = flat_plan(of)
    assert found is not None
    return found


def body(**changes: Any) -> bytes:
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2]}
    return json.dumps({"inputs": [tensor | changes]}).encode()


@pytest.mark.parametrize(
    "of",
    [
        pytest.param(Signature(Layout.UNKNOWN), id="no-signature"),
        pytest.param(signature(layout=Layout.COLUMNS), id="columns"),
        pytest.param(signature("BYTES"), id="bytes"),
        pytest.param(signature("FP16"), id="not-in-json"),
        pytest.param(signature("BOOL"), id="booleans"),
        pytest.param(signature("UINT64"), id="wider-than-msgspec-bounds"),
        pytest.param(signature(shape=(-1, -1)), id="free-length"),
        pytest.param(signature(shape=(4, 2)), id="fixed-rows"),
        pytest.param(signature(shape=(-1, 0)), id="no-elements"),
        pytest.param(signature(shape=()), id="no-axes"),
        pytest.param(
            Signature(Layout.NAMED_TENSORS, (TensorSpec("x", "FP64", (-1,)),) * 2), id="two-inputs"
        ),
        pytest.param(
            Signature(
                Layout.TENSOR,
                (TensorSpec("x", "FP64", (-1, 2)),),
                mlflow={"params": '[{"name": "k", "type": "long", "default": 1}]'},
            ),
            id="params",
        ),
    ],
)
def test_only_models_of_one_plain_input_have_flat_requests(of: Signature) -> None:
    assert flat_plan(of) is None


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(body(name="y"), id="another-name"),
        pytest.param(body(datatype="FP32"), id="another-datatype"),
        pytest.param(body(shape=[2, 2]), id="too-few-elements"),
        pytest.param(body(shape=[1, 3]), id="another-shape"),
        pytest.param(body(shape=[2]), id="too-few-axes"),
        pytest.param(body(shape=[], data=[]), id="no-axes"),
        pytest.param(body(shape=[0, 2], data=[]), id="no-rows"),
        pytest.param(body(shape=[-1, -2]), id="negative"),
        pytest.param(body(shape=[1.0, 2]), id="fractional"),
        pytest.param(body(data=[[1.5, 2]]), id="nested"),
        pytest.param(body(data=[True, 2]), id="boolean"),
        pytest.param(body(data=["1", 2]), id="text"),
        pytest.param(body(data=[None, 2]), id="null"),
        pytest.param(body(data=[math.nan, 2]), id="nan"),
        pytest.param(body(data=None), id="no-data"),
        pytest.param(body(parameters={"binary_data_size": 16}), id="binary"),
        pytest.param(body(parameters={}), id="parameters-of-the-input"),
        pytest.param(body()[:-1] + b',"parameters":{"k":1}}', id="parameters"),
        pytest.param(body()[:-1] + b',"outputs":[{"name":"y"}]}', id="outputs"),
        pytest.param(body()[:-1] + b',"id":7}', id="id-that-is-no-text"),
        pytest.param(body().replace(b"x", b"\xff"), id="not-utf-8"),
        pytest.param(b'{"inputs":[]}', id="no-inputs"),
        pytest.param(body()[:-1], id="cut-off"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_not_flat_or_is_wrong_is_left_to_the_general_way(text: bytes) -> None:
    assert decode_flat(text, plan(signature())) is None


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        pytest.param("FP32", 1e39, id="float-too-large"),
        pytest.param("FP32", -1e39, id="float-too-small"),
        pytest.param("INT8", 128, id="integer-too-large"),
        pytest.param("UINT8", -1, id="negative"),
        pytest.param("INT64", 2**63, id="wider-than-64-bits"),
        pytest.param("INT32", 1.0, id="float-for-an-integer"),
    ],
)
def test_what_the_type_cannot_hold_is_left_to_the_general_way(datatype: str, value: Any) -> None:
    text = body(datatype=datatype, data=[value, 0])

    assert decode_flat(text, plan(signature(datatype))) is None
    with pytest.raises(MalformedRequestError):
        decode_infer(text, None, signature(datatype))


FLOATS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70)
ELEMENTS = {
    "FP64": FLOATS,
    "FP32": st.floats(allow_nan=False, allow_infinity=False, width=32) | st.floats(-1e39, 1e39),
    "INT64": st.integers(-(2**63), 2**63 - 1),
    "INT8": st.integers(-128, 127),
    "UINT32": st.integers(0, 2**32 - 1),
}
SHAPES = [(), (2,), (2, 3)]
LENGTHS = {shape: math.prod(shape) for shape in SHAPES}
REQUESTS = st.one_of(
    [
        st.tuples(
            st.just((datatype, trailing)),
            st.lists(
                st.lists(elements, min_size=LENGTHS[trailing], max_size=LENGTHS[trailing]),
                min_size=1,
                max_size=4,
            ),
            st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
        )
        for datatype, elements in ELEMENTS.items()
        for trailing in SHAPES
    ]
)


@examples(150)
@given(REQUESTS)
def test_a_flat_request_is_read_as_the_general_way_reads_it(
    drawn: tuple[tuple[str, tuple[int, ...]], list[list[Any]], str | None],
) -> None:
    (datatype, trailing), rows, request_id = drawn
    of = signature(datatype, (-1, *trailing))
    flat = [element for row in rows for element in row]
    tensor = {"name": "x", "shape": [len(rows), *trailing], "datatype": datatype, "data": flat}
    text = json.dumps({"inputs": [tensor], "id": request_id}).encode()

    found = decode_flat(text, plan(of))

    try:
        expected = decode_infer(text, None, of)
    except MalformedRequestError:
        assert found is None
        return
    if found is None:  # such as a number that only rounding brings into range
        assert datatype == "FP32"
        return
    assert (found.rows, found.id, found.layout) == (expected.rows, expected.id, expected.layout)
    assert found.plan.shape == batch_shape(expected)
    (array,), (wanted,) = found.inputs.values(), expected.inputs.values()
    assert (array.dtype, array.shape, array.tobytes()) == (
        wanted.dtype,
        wanted.shape,
        wanted.tobytes(),
    )


ARRAYS = {
    "numbers": np.asarray([1.5, -0.0, 1e300, 5e-324]),
    "a-column": np.asarray([[1.5], [2.0], [3.0], [1e16]]),
    "float32": np.asarray([[0.1, 0.2], [1e-7, 3], [5, 6], [7, 8]], np.float32),
    "three-axes": np.arange(24, dtype=np.int32).reshape(4, 2, 3),
    "booleans": np.asarray([True, False, True, True]),
    "wide-integers": np.asarray([2**63, 1, 2, 2**64 - 1], np.uint64),
    "fortran": np.asfortranarray(np.arange(8.0).reshape(4, 2)),
    "strided": np.arange(16.0)[::4],
}


@pytest.mark.parametrize("arrays", [[name] for name in ARRAYS] + [["numbers", "three-axes"]])
@pytest.mark.parametrize(("start", "stop"), [(0, 1), (1, 3), (0, 4), (3, 4)])
def test_an_answer_is_written_as_the_general_way_writes_it(
    arrays: list[str], start: int, stop: int
) -> None:
    outputs = Outputs({f'output "{name}"': ARRAYS[name] for name in arrays})

    written = write_rows(outputs, 4)

    assert written is not None
    whole = b'{"model_name":"m","model_version":"3","id":"r","outputs":[%b]}'
    general = encode_infer(
        Request({}, 1), outputs.rows(start, stop), model="m", version="3", request_id="r"
    )
    assert whole % cut_rows(written, start, stop) == general.body


@pytest.mark.parametrize(
    "array",
    [
        pytest.param(np.asarray([1.0, np.nan]), id="nan"),
        pytest.param(np.asarray([1.0, np.inf]), id="infinity"),
        pytest.param(np.asarray(["a", "b"], dtype=object), id="text"),
        pytest.param(np.asarray([1j, 2j]), id="complex"),
        pytest.param(np.asarray([1, 2], np.float16), id="not-in-json"),
        pytest.param(np.asarray([1, 2], ">f8"), id="foreign-byte-order"),
        pytest.param(np.asarray([1.0]), id="another-number-of-rows"),
        pytest.param(np.float64(1.0), id="scalar"),
        pytest.param(np.zeros((2, 0)), id="no-elements"),
    ],
)
def test_other_answers_are_left_to_the_general_way(array: Array) -> None:
    assert write_rows(Outputs({"y": array}), 2) is None
