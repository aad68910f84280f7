import json
from typing import Any

import numpy as np
import pytest

from deployments.errors import MalformedRequestError
from deployments.protocols.mlflow_scoring import decode_invocation
from deployments.protocols.signature import SignatureMismatchError, signature_from_mlflow
from deployments.protocols.tensors import Layout, Signature

pytestmark = pytest.mark.ray

UNKNOWN = Signature(Layout.UNKNOWN)


def columns(**kinds: str) -> Signature:
    entries = [{"name": name, "type": kind, "required": True} for name, kind in kinds.items()]
    return signature_from_mlflow({"inputs": json.dumps(entries)})


def decode(body: Any, signature: Signature = UNKNOWN) -> Any:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return decode_invocation(text, "application/json", signature)


def test_binary_columns_are_base64_and_dates_are_parsed() -> None:
    record = {"raw": "YWI=", "when": "2026-01-31T12:00:00", "text": "ö"}

    request = decode(
        {"dataframe_records": [record]}, columns(raw="binary", when="datetime", text="string")
    )

    assert request.inputs["raw"].tolist() == [b"ab"]
    assert request.inputs["when"] == np.array(["2026-01-31T12:00:00"], "M8[ns]")
    assert request.inputs["text"].tolist() == ["ö"]


def test_a_frame_without_names_keeps_its_integer_labels() -> None:
    request = decode({"dataframe_split": {"data": [[1, 2.5]]}})

    assert (list(request.inputs), request.labels) == (["0", "1"], (0, 1))
    assert request.layout is Layout.COLUMNS


@pytest.mark.parametrize(
    ("body", "layout"),
    [
        pytest.param({"inputs": [[1.0]]}, Layout.TENSOR, id="array"),
        pytest.param({"inputs": {"a": [1.0]}}, Layout.NAMED_TENSORS, id="mapping"),
        pytest.param({"dataframe_records": [{"a": 1}]}, Layout.COLUMNS, id="frame"),
        pytest.param({"inputs": 1}, Layout.TENSOR, id="scalar-becomes-one-row"),
    ],
)
def test_without_a_signature_the_caller_s_form_is_kept(body: Any, layout: Layout) -> None:
    request = decode(body)

    assert (request.layout, request.rows) == (layout, 1)


def test_the_unified_form_reaches_a_model_with_such_columns() -> None:
    request = decode({"prompt": "hello", "z": 1}, columns(prompt="string"))

    assert request.inputs["prompt"].tolist() == ["hello"]
    assert not request.wrapped


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"inputs": [1], "instances": [1]}, "expected exactly one of", id="two"),
        pytest.param({}, "expected exactly one of", id="none"),
        pytest.param([1], "of type list, expected an object", id="list"),
        pytest.param(b"{", "not JSON", id="malformed"),
        pytest.param(b"\xff", "not JSON", id="no-utf8"),
        pytest.param(b'{"a":' * 100_000, "nested too deeply", id="deep"),
        pytest.param({"messages": []}, "language models", id="unified-without-columns"),
        pytest.param({"inputs": []}, "at least 1", id="no-rows"),
        pytest.param(
            {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}}, "repeat", id="repeat"
        ),
    ],
)
def test_refuses(body: Any, message: str) -> None:
    with pytest.raises(MalformedRequestError, match=message):
        decode(body)


def test_errors_do_not_quote_the_body() -> None:
    secret = "hunter2" * 100

    with pytest.raises(MalformedRequestError) as raised:
        decode(b'{"inputs": "' + secret.encode())

    assert "hunter2" not in str(raised.value)


def test_a_schema_violation_names_the_column_and_does_not_quote_the_rows() -> None:
    with pytest.raises(SignatureMismatchError, match=r"missing inputs \['b'\]") as raised:
        decode({"dataframe_records": [{"a": "hunter2"}]}, columns(a="string", b="string"))

    assert "hunter2" not in str(raised.value)
