import json

import numpy as np
import pytest

from benchmarks.serving.dialects import (
    BENTOML,
    BINARY,
    MLFLOW,
    OPEN_INFERENCE,
    Dialect,
    check,
    is_close,
)
from benchmarks.serving.workload import Workload
from deployments.protocols.open_inference import decode_infer
from deployments.protocols.tensors import Layout, Signature, TensorSpec

ROWS = np.array([[0.5, 1.5], [2.5, -3.5]])

SIGNATURE = Signature(
    Layout.TENSOR,
    (TensorSpec("input-0", "FP64", (-1, 2), mlflow_type="float64"),),
    (TensorSpec("output-0", "INT64", (-1,), mlflow_type="int64"),),
    {},
)

WORKLOAD = Workload("wine", np.stack([ROWS, ROWS]), np.array([[0.0, 1.0], [1.0, 1.0]]))
"""Two questions whose answers differ."""


@pytest.mark.parametrize("dialect", [OPEN_INFERENCE, BINARY], ids=["json", "binary"])
def test_an_open_inference_question_is_one_that_rayfleet_reads(dialect: Dialect) -> None:
    question = dialect.encode(7, ROWS)

    length = question.headers.get("Inference-Header-Content-Length")
    request = decode_infer(question.body, length, SIGNATURE)

    assert request.id == "7"
    np.testing.assert_array_equal(next(iter(request.inputs.values())), ROWS)


@pytest.mark.parametrize(
    ("dialect", "key"), [(MLFLOW, "inputs"), (BENTOML, "rows")], ids=["mlflow", "bentoml"]
)
def test_other_questions_nest_their_rows(dialect: Dialect, key: str) -> None:
    assert json.loads(dialect.encode(0, ROWS).body) == {key: [[0.5, 1.5], [2.5, -3.5]]}


@pytest.mark.parametrize(
    ("dialect", "body", "is_right"),
    [
        pytest.param(
            OPEN_INFERENCE, b'{"id": "0", "outputs": [{"data": [0, 1]}]}', True, id="right"
        ),
        pytest.param(
            OPEN_INFERENCE, b'{"id": "0", "outputs": [{"data": [[0], [1]]}]}', True, id="nested"
        ),
        pytest.param(
            OPEN_INFERENCE, b'{"id": "0", "outputs": [{"data": [1, 1]}]}', False, id="wrong"
        ),
        pytest.param(
            OPEN_INFERENCE, b'{"id": "1", "outputs": [{"data": [0, 1]}]}', False, id="someone-elses"
        ),
        pytest.param(
            OPEN_INFERENCE, b'{"id": "0", "outputs": [{"data": [0]}]}', False, id="too-short"
        ),
        pytest.param(OPEN_INFERENCE, b'{"id": "0", "outputs": []}', False, id="no-output"),
        pytest.param(OPEN_INFERENCE, b"Internal Server Error", False, id="not-json"),
        pytest.param(MLFLOW, b'{"predictions": [0, 1]}', True, id="mlflow-right"),
        pytest.param(MLFLOW, b'{"predictions": [0, 0]}', False, id="mlflow-wrong"),
        pytest.param(MLFLOW, b'{"error_code": "BAD_REQUEST"}', False, id="mlflow-error"),
        pytest.param(BENTOML, b"[0, 1]", True, id="bentoml-right"),
        pytest.param(BENTOML, b"[1, 0]", False, id="bentoml-wrong"),
    ],
)
def test_answers_are_held_against_the_model(dialect: Dialect, body: bytes, is_right: bool) -> None:
    assert check(WORKLOAD, dialect)(0, body, {}) is is_right


def test_binary_answer_is_read_behind_its_head() -> None:
    head = b'{"id": "1", "outputs": [{"datatype": "FP64", "parameters": {"binary_data_size": 16}}]}'
    headers = {"inference-header-content-length": str(len(head))}
    is_right = check(WORKLOAD, BINARY)

    assert is_right(1, head + np.array([1.0, 1.0]).tobytes(), headers)
    assert not is_right(1, head + np.array([1.0, 2.0]).tobytes(), headers)
    assert not is_right(1, head + b"\0" * 15, headers)


@pytest.mark.parametrize(
    ("value", "expected", "close"),
    [
        pytest.param([0.5], [0.50009], True, id="last-digits"),
        pytest.param([0.5], [0.5002], False, id="more-than-those"),
        pytest.param([0.0], [1.0], False, id="another-class"),
        pytest.param([10_000.5], [10_000.0], True, id="relative-when-large"),
        pytest.param([0.2, 0.8], [0.2, 0.8], True, id="several"),
        pytest.param([0.2, 0.7], [0.2, 0.8], False, id="one-of-several"),
        pytest.param([float("nan")], [1.0], False, id="nan"),
    ],
)
def test_closeness(value: list[float], expected: list[float], close: bool) -> None:
    assert is_close(np.array(value), np.array(expected)) is close
