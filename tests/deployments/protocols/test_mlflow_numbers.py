import json
from typing import Any

import pytest

from deployments.protocols.datatypes import DTYPES
from deployments.protocols.mlflow_numbers import read_numbers
from deployments.protocols.tensors import Layout, Signature, TensorSpec

PARAMS = '[{"name": "k", "type": "long", "default": 1, "shape": null}]'
TENSOR = Signature(
    Layout.TENSOR, (TensorSpec("input-0", "FP32", (-1, 2)),), mlflow={"params": PARAMS}
)
NAMED = Signature(
    Layout.NAMED_TENSORS, (TensorSpec("a", "FP64", (-1,)), TensorSpec("b", "INT64", (-1, 2)))
)
COLUMNS = Signature(
    Layout.COLUMNS,
    (
        TensorSpec("a", "FP64", (-1,)),
        TensorSpec("b", "INT64", (-1,)),
        TensorSpec("c", "FP64", (-1,), required=False),
    ),
)
TEXTS = Signature(Layout.TENSOR, (TensorSpec("input-0", "BYTES", (-1,)),))


@pytest.mark.parametrize(
    ("signature", "body", "inputs"),
    [
        pytest.param(TENSOR, {"inputs": [[1, 2.5]]}, {"input-0": [[1, 2.5]]}, id="inputs"),
        pytest.param(TENSOR, {"instances": [[1, 2]]}, {"input-0": [[1, 2]]}, id="instances"),
        pytest.param(
            NAMED,
            {"inputs": {"b": [[1, 2]], "a": [0.5]}},
            {"a": [0.5], "b": [[1, 2]]},
            id="named-tensors",
        ),
        pytest.param(
            COLUMNS,
            {"dataframe_split": {"columns": ["b", "a"], "data": [[1, 0.5], [2, 1]]}},
            {"a": [0.5, 1.0], "b": [1, 2]},
            id="split-in-the-signature-s-order",
        ),
        pytest.param(
            COLUMNS,
            {"dataframe_split": {"columns": ["a", "b", "z"], "data": [[0.5, 1, "text"]]}},
            {"a": [0.5], "b": [1]},
            id="extra-column-dropped",
        ),
        pytest.param(
            COLUMNS,
            {"dataframe_records": [{"a": 1, "b": 2, "c": 3}]},
            {"a": [1.0], "b": [2], "c": [3.0]},
            id="records",
        ),
    ],
)
def test_reads(signature: Signature, body: Any, inputs: dict[str, Any]) -> None:
    request = read_numbers(json.dumps(body).encode(), signature)

    assert request is not None
    assert {name: array.tolist() for name, array in request.inputs.items()} == inputs
    assert list(request.inputs) == list(inputs)
    assert request.layout is signature.layout
    for spec in signature.inputs:
        assert request.inputs.get(spec.name, request.inputs[next(iter(inputs))]).dtype in (
            DTYPES[spec.datatype],
            DTYPES[signature.inputs[0].datatype],
        )


def test_params_are_cast_and_completed() -> None:
    given = read_numbers(b'{"inputs": [[1, 2]], "params": {"k": 3, "z": 1}}', TENSOR)
    left_out = read_numbers(b'{"inputs": [[1, 2]]}', TENSOR)

    assert given is not None
    assert left_out is not None
    assert (given.params, left_out.params) == ({"k": 3}, {"k": 1})


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        pytest.param(TENSOR, b"", id="empty"),
        pytest.param(TENSOR, b'{"inputs": "\xff"}', id="no-utf8"),
        pytest.param(TENSOR, b"[" * 100_000, id="deep"),
        pytest.param(TENSOR, b"[]", id="no-object"),
        pytest.param(TENSOR, b'{"inputs": [[NaN, 1]]}', id="nan"),
        pytest.param(TENSOR, b'{"inputs": [["1", 1]]}', id="string"),
        pytest.param(TENSOR, b'{"inputs": [[null, 1]]}', id="null"),
        pytest.param(TENSOR, b'{"inputs": [[1e39, 1]]}', id="float32-overflow"),
        pytest.param(TENSOR, b'{"inputs": [[1, 2], [3]]}', id="ragged"),
        pytest.param(TENSOR, b'{"inputs": [[1]]}', id="wrong-width"),
        pytest.param(TENSOR, b'{"inputs": []}', id="no-rows"),
        pytest.param(TENSOR, b'{"inputs": 1}', id="scalar"),
        pytest.param(TENSOR, b'{"inputs": [[1, 2]], "instances": []}', id="two-formats"),
        pytest.param(TENSOR, b'{"inputs": [[1, 2]], "prompt": 1}', id="unified"),
        pytest.param(TENSOR, b'{"inputs": [[1, 2]], "params": [1]}', id="params-list"),
        pytest.param(TENSOR, b'{"inputs": [[1, 2]], "params": {"k": "x"}}', id="params-type"),
        pytest.param(TENSOR, b'{"dataframe_split": {"data": [[1, 2]]}}', id="frame-for-tensor"),
        pytest.param(NAMED, b'{"inputs": {"a": [1]}}', id="input-missing"),
        pytest.param(NAMED, b'{"inputs": {"a": [1, 2], "b": [[1, 2]]}}', id="rows-differ"),
        pytest.param(NAMED, b'{"instances": [{"a": 1, "b": [1, 2]}]}', id="instances-dicts"),
        pytest.param(COLUMNS, b'{"dataframe_split": [[1]]}', id="split-list"),
        pytest.param(COLUMNS, b'{"dataframe_split": {"data": [[1, 2]]}}', id="no-columns"),
        pytest.param(
            COLUMNS, b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}', id="column-missing"
        ),
        pytest.param(
            COLUMNS,
            b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]], "index": [1, 2]}}',
            id="index-too-long",
        ),
        pytest.param(
            COLUMNS,
            b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2.5]]}}',
            id="float-for-long",
        ),
        pytest.param(COLUMNS, b'{"dataframe_records": [1]}', id="records-of-numbers"),
        pytest.param(COLUMNS, b'{"dataframe_records": [{"a": 1, "b": 2}, {}]}', id="unlike"),
        pytest.param(COLUMNS, b'{"inputs": [[1, 2]]}', id="lists-for-columns"),
        pytest.param(TEXTS, b'{"inputs": ["a"]}', id="texts"),
        pytest.param(Signature(Layout.UNKNOWN), b'{"inputs": [[1]]}', id="no-signature"),
    ],
)
def test_leaves_the_rest_to_mlflow(signature: Signature, body: bytes) -> None:
    assert read_numbers(body, signature) is None
