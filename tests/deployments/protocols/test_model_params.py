import datetime as dt
import json
from typing import Any

import pytest

from deployments.protocols.model_params import cast_params
from deployments.protocols.signature import ParamsMismatchError
from deployments.protocols.tensors import Layout, Signature


def schema(kind: str, default: Any = None, shape: list[int] | None = None) -> Signature:
    spec = {"name": "p", "type": kind, "default": default, "shape": shape}
    return Signature(Layout.TENSOR, mlflow={"params": json.dumps([spec])})


@pytest.mark.parametrize(
    ("described", "value", "cast"),
    [
        pytest.param(schema("long"), 3, 3, id="integer"),
        pytest.param(schema("integer"), 2**40, 2**40, id="integers-are-not-measured"),
        pytest.param(schema("double"), 3, 3.0, id="integer-to-float"),
        pytest.param(schema("float"), 0.5, 0.5, id="float"),
        pytest.param(schema("string"), "x", "x", id="string"),
        pytest.param(schema("boolean"), True, True, id="boolean"),
        pytest.param(schema("long", shape=[-1]), [1, 2], [1, 2], id="list"),
        pytest.param(schema("double", shape=[-1]), [1], [1.0], id="list-elements-cast"),
        pytest.param(schema("long"), None, None, id="null"),
        pytest.param(schema("datetime"), "2026-01-31", dt.date(2026, 1, 31), id="date"),
        pytest.param(schema("object"), {"a": 1}, {"a": 1}, id="object"),
    ],
)
def test_casts(described: Signature, value: Any, cast: Any) -> None:
    params = cast_params({"p": value}, described)

    assert (params, type(params["p"])) == ({"p": cast}, type(cast))


@pytest.mark.parametrize(
    ("described", "value"),
    [
        pytest.param(schema("long"), 1.0, id="float-for-integer"),
        pytest.param(schema("long"), True, id="bool-for-integer"),
        pytest.param(schema("double"), "1", id="string-for-float"),
        pytest.param(schema("boolean"), 1, id="integer-for-boolean"),
        pytest.param(schema("string"), 1, id="integer-for-string"),
        pytest.param(schema("long"), [1], id="list-for-scalar"),
        pytest.param(schema("long", shape=[-1]), 1, id="scalar-for-list"),
        pytest.param(schema("string", shape=[-1]), "abc", id="string-for-list"),
        pytest.param(schema("long", shape=[-1]), ["a"], id="wrong-element"),
        pytest.param(schema("datetime"), "soon", id="no-date"),
        pytest.param(schema("datetime"), [], id="list-for-date"),
        pytest.param(schema("datetime"), 10**30, id="number-for-date"),
        pytest.param(schema("object"), 1, id="number-for-object"),
    ],
)
def test_refuses(described: Signature, value: Any) -> None:
    with pytest.raises(ParamsMismatchError, match=r"params\.p: .* does not fit, expected"):
        cast_params({"p": value}, described)


def test_defaults_fill_in_and_unknown_names_are_dropped() -> None:
    assert cast_params({"z": 1}, schema("long", default=7)) == {"p": 7}


def test_a_default_date_is_a_date() -> None:
    assert cast_params({}, schema("datetime", "2026-01-31")) == {"p": dt.date(2026, 1, 31)}


def test_without_a_schema_there_are_no_params() -> None:
    assert cast_params({"p": 1}, Signature(Layout.TENSOR)) == {}
