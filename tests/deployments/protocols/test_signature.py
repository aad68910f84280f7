import copy
import json
from typing import Any

import pytest

from deployments.errors import ConfigError
from deployments.protocols.signature import (
    ParamsMismatchError,
    SignatureMismatchError,
    column_labels,
    from_json,
    signature_from_mlflow,
    to_json,
)
from deployments.protocols.tensors import Layout, Signature, TensorSpec


def column(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "required": True} | fields


def tensor(dtype: str, shape: list[int], **fields: Any) -> dict[str, Any]:
    return {"type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}} | fields


def signature(*inputs: dict[str, Any], outputs: tuple[dict[str, Any], ...] = ()) -> Signature:
    texts = {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": None}
    return signature_from_mlflow(texts)


@pytest.mark.parametrize(
    ("entry", "spec"),
    [
        pytest.param(
            column("boolean", name="x"), TensorSpec("x", "BOOL", (-1,), True, "boolean"), id="bool"
        ),
        pytest.param(
            column("integer", name="x"), TensorSpec("x", "INT32", (-1,), True, "integer"), id="int"
        ),
        pytest.param(
            column("long", name="x"), TensorSpec("x", "INT64", (-1,), True, "long"), id="long"
        ),
        pytest.param(
            column("float", name="x"), TensorSpec("x", "FP32", (-1,), True, "float"), id="float"
        ),
        pytest.param(
            column("double", name="x"), TensorSpec("x", "FP64", (-1,), True, "double"), id="double"
        ),
        pytest.param(
            column("string", name="x"), TensorSpec("x", "BYTES", (-1,), True, "string"), id="string"
        ),
        pytest.param(
            column("binary", name="x"), TensorSpec("x", "BYTES", (-1,), True, "binary"), id="binary"
        ),
        pytest.param(
            column("datetime", name="x"),
            TensorSpec("x", "BYTES", (-1,), True, "datetime"),
            id="datetime",
        ),
        pytest.param(
            column("double", name="x", required=False),
            TensorSpec("x", "FP64", (-1,), False, "double"),
            id="optional",
        ),
        pytest.param(
            column("long", name=7), TensorSpec("7", "INT64", (-1,), True, "long"), id="integer-name"
        ),
        pytest.param(
            column("long"), TensorSpec("input-0", "INT64", (-1,), True, "long"), id="unnamed"
        ),
        pytest.param(
            column("array", name="x", items={"type": "float"}),
            TensorSpec("x", "FP32", (-1, -1), True, "array"),
            id="array-of-numbers",
        ),
        pytest.param(
            column("array", name="x", items={"type": "object", "properties": {}}),
            TensorSpec("x", "BYTES", (-1,), True, "array"),
            id="array-of-objects-as-json",
        ),
        pytest.param(
            column("map", name="x", values={"type": "string"}),
            TensorSpec("x", "BYTES", (-1,), True, "map"),
            id="map-as-json",
        ),
        pytest.param(
            tensor("float32", [-1, 28, 28]),
            TensorSpec("input-0", "FP32", (-1, 28, 28), True, "float32"),
            id="unnamed-tensor",
        ),
        pytest.param(
            tensor("str", [-1], name="t"), TensorSpec("t", "BYTES", (-1,), True, "str"), id="texts"
        ),
        pytest.param(
            tensor("object", [-1], name="t"), TensorSpec("t", "BYTES", (-1,), True, ""), id="object"
        ),
    ],
)
def test_one_input(entry: dict[str, Any], spec: TensorSpec) -> None:
    assert signature(entry).inputs == (spec,)


@pytest.mark.parametrize(
    ("inputs", "layout"),
    [
        pytest.param((), Layout.UNKNOWN, id="no-inputs"),
        pytest.param((column("long", name="x"),), Layout.COLUMNS, id="columns"),
        pytest.param((tensor("int64", [-1]),), Layout.TENSOR, id="unnamed-tensor"),
        pytest.param((tensor("int64", [-1], name="x"),), Layout.NAMED_TENSORS, id="named-tensor"),
    ],
)
def test_layout(inputs: tuple[dict[str, Any], ...], layout: Layout) -> None:
    assert signature(*inputs).layout is layout


def test_no_signature_lets_anything_through() -> None:
    assert signature_from_mlflow(None) == Signature(Layout.UNKNOWN)


def test_the_signature_object_is_read_by_its_to_dict() -> None:
    class ModelSignature:
        def to_dict(self) -> dict[str, Any]:
            return {"inputs": json.dumps([column("long", name="x")]), "outputs": None}

    assert signature_from_mlflow(ModelSignature()).layout is Layout.COLUMNS


def test_unnamed_columns_are_numbered() -> None:
    names = [spec.name for spec in signature(column("long"), column("double")).inputs]

    assert names == ["input-0", "input-1"]


def test_an_unnamed_output_is_called_output_0() -> None:
    described = signature(column("long", name="x"), outputs=(tensor("float64", [-1]),))

    assert described.outputs == (TensorSpec("output-0", "FP64", (-1,), True, "float64"),)


def test_a_type_without_a_datatype_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'z' has type complex128"):
        signature(tensor("complex128", [-1], name="z"))


@pytest.mark.parametrize(
    "described",
    [
        pytest.param(Signature(Layout.UNKNOWN), id="unknown"),
        pytest.param(
            signature(column("double", name="x", required=False), column("string", name="y")),
            id="columns",
        ),
        pytest.param(
            signature(tensor("float32", [-1, 3]), outputs=(tensor("int64", [-1]),)), id="tensor"
        ),
    ],
)
def test_a_signature_survives_json(described: Signature) -> None:
    assert from_json(json.loads(json.dumps(to_json(described)))) == described


@pytest.mark.parametrize(
    ("inputs", "labels"),
    [
        pytest.param((column("long", name="a"),), (), id="names-are-labels"),
        pytest.param((column("long", name=0), column("long", name=1)), (0, 1), id="integers"),
        pytest.param((column("long"), column("long")), (0, 1), id="numbered"),
        pytest.param((tensor("int64", [-1]),), (), id="tensors-have-none"),
    ],
)
def test_column_labels(inputs: tuple[dict[str, Any], ...], labels: tuple[Any, ...]) -> None:
    described = signature(*inputs)

    assert column_labels(described, [spec.name for spec in described.inputs]) == labels


def test_labels_follow_the_columns_that_were_sent() -> None:
    described = signature(column("long", name=0, required=False), column("long", name=1))

    assert column_labels(described, ["1"]) == (1,)


@pytest.mark.parametrize("kind", [SignatureMismatchError, ParamsMismatchError])
def test_errors_rebuild_from_their_arguments_as_pickling_does(kind: type[Exception]) -> None:
    error = copy.copy(kind("input 'x': too long"))

    assert (type(error), str(error)) == (kind, "input 'x': too long")
