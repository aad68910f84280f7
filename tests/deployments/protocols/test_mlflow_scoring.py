import datetime as dt
import json
from typing import Any

import numpy as np
import pytest

from deployments.errors import PredictionError, UnsupportedMediaError
from deployments.protocols import mlflow_scoring
from deployments.protocols.mlflow_scoring import (
    CHEAP_BODY_BYTES,
    check_content_type,
    decode_cheaply,
    encode_predictions,
)
from deployments.protocols.tensors import Form, Layout, Outputs, Signature, TensorSpec

TENSOR = Signature(Layout.TENSOR, (TensorSpec("input-0", "FP64", (-1, 2)),))
BODY = b'{"inputs": [[1, 2]]}'


@pytest.mark.parametrize(
    ("content_type", "media_type"),
    [
        pytest.param("application/json", "application/json", id="json"),
        pytest.param("application/json; charset=UTF-8", "application/json", id="charset"),
        pytest.param("text/csv;charset=utf-8", "text/csv", id="csv"),
        pytest.param(
            "application/vnd.apache.parquet", "application/vnd.apache.parquet", id="parquet"
        ),
    ],
)
def test_content_types(content_type: str, media_type: str) -> None:
    assert check_content_type(content_type) == media_type


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        pytest.param(None, "only supports the following", id="missing"),
        pytest.param("", "only supports the following", id="empty"),
        pytest.param("text/plain", "Got 'text/plain'", id="other-type"),
        pytest.param("application/json; charset=latin-1", "only supports UTF-8", id="charset"),
        pytest.param("application/json; format=pandas-split", "parameters: format", id="mlflow-1"),
    ],
)
def test_other_content_types_are_unsupported(content_type: str | None, message: str) -> None:
    with pytest.raises(UnsupportedMediaError, match=message):
        check_content_type(content_type)


@pytest.mark.parametrize(
    ("body", "content_type", "cheap"),
    [
        pytest.param(BODY, "application/json", True, id="numbers"),
        pytest.param(BODY, "text/csv", False, id="csv"),
        pytest.param(BODY.ljust(CHEAP_BODY_BYTES + 1), "application/json", False, id="long"),
        pytest.param(b'{"inputs": [["1", 2]]}', "application/json", False, id="needs-mlflow"),
    ],
)
def test_what_is_cheap(body: bytes, content_type: str, cheap: bool) -> None:
    assert (decode_cheaply(body, content_type, TENSOR) is not None) is cheap


@pytest.mark.parametrize(
    ("outputs", "predictions"),
    [
        pytest.param(Outputs({"y": np.array([1, 2])}), [1, 2], id="array"),
        pytest.param(Outputs({"y": np.array([[0.5], [1]])}), [[0.5], [1.0]], id="nested"),
        pytest.param(Outputs({"y": np.array([0.1], "f4")}), [0.10000000149011612], id="float32"),
        pytest.param(Outputs({"y": np.array([1.5], "f2")}), [1.5], id="float16"),
        pytest.param(Outputs({"y": np.array([1], ">i4")}), [1], id="other-byte-order"),
        pytest.param(Outputs({"y": np.array([[1, 2], [3, 4]]).T}), [[1, 3], [2, 4]], id="turned"),
        pytest.param(Outputs({"y": np.array([True])}), [True], id="bool"),
        pytest.param(Outputs({"y": np.array(["ö"])}), ["ö"], id="text"),
        pytest.param(Outputs({"y": np.array([b"ab"])}), ["YWI=\n"], id="bytes-as-base64"),
        pytest.param(
            Outputs({"a": np.array([1]), "b": np.array([[2]])}, Form.NAMED),
            {"a": [1], "b": [[2]]},
            id="named",
        ),
        pytest.param(
            Outputs({"a": np.array([1, 2]), "b": np.array(["x", "y"])}, Form.COLUMNS),
            [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
            id="records",
        ),
        pytest.param(
            Outputs({"a": np.array(["2026-01-31", "NaT"], "M8[ns]")}, Form.COLUMNS),
            [{"a": "2026-01-31T00:00:00"}, {"a": "NaT"}],
            id="dates",
        ),
        pytest.param(
            Outputs({"a": np.array(["2026-01-31T00:00:00.000001"], "M8[ns]")}, Form.COLUMNS),
            [{"a": "2026-01-31T00:00:00.000001"}],
            id="microseconds",
        ),
        pytest.param(
            Outputs({"a": np.array([dt.date(2026, 1, 31)], dtype=object)}),
            ["2026-01-31"],
            id="date-objects",
        ),
    ],
)
def test_predictions(outputs: Outputs, predictions: Any) -> None:
    body = encode_predictions(outputs, model="m", version="1")

    assert json.loads(body) == {"predictions": predictions}


def test_nan_is_a_bare_token_as_mlflow_writes_it() -> None:
    body = encode_predictions(Outputs({"y": np.array([np.nan])}), model="m", version="1")

    assert body == b'{"predictions": [NaN]}'


def test_the_unified_form_is_not_wrapped() -> None:
    outputs = Outputs({"y": np.array([1])})

    assert encode_predictions(outputs, model="m", version="1", wrapped=False) == b"[1]"


def test_what_has_no_json_form_is_the_version_s_fault() -> None:
    with pytest.raises(PredictionError, match="model 'm' version 1 failed: outputs have no JSON"):
        encode_predictions(Outputs({"y": np.array([1j])}), model="m", version="1")


def test_fixed_bodies() -> None:
    assert mlflow_scoring.PING == b"\n"
    assert mlflow_scoring.VERSION.startswith(b"3.")
