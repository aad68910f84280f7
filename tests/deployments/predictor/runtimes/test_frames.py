from typing import Any

import numpy as np
import pandas as pd
import pytest

from deployments.predictor.runtimes.frames import as_outputs, model_input, sole_array
from deployments.protocols.tensors import UNNAMED_OUTPUT, Batch, Form, Layout

COLUMN = np.array([1.0, 2.0])
SQUARE = np.ones((2, 3))


def test_columns_become_a_frame_in_their_order() -> None:
    inputs = {"b": COLUMN, "a": COLUMN.reshape(2, 1)}

    frame = model_input(Batch(inputs, {}, Layout.COLUMNS))

    assert list(frame.columns) == ["b", "a"]
    assert frame["a"].tolist() == [1.0, 2.0]


def test_labels_that_are_no_strings_are_put_back() -> None:
    frame = model_input(Batch({"0": COLUMN, "1": COLUMN}, {}, Layout.COLUMNS, (0, 1)))

    assert list(frame.columns) == [0, 1]


def test_a_column_of_arrays_has_one_array_a_row() -> None:
    frame = model_input(Batch({"a": SQUARE}, {}, Layout.COLUMNS))

    assert [row.tolist() for row in frame["a"]] == [[1, 1, 1], [1, 1, 1]]


@pytest.mark.parametrize("layout", [Layout.TENSOR, Layout.UNKNOWN])
def test_a_tensor_model_takes_the_array_itself(layout: Layout) -> None:
    assert model_input(Batch({"x": SQUARE}, {}, layout)) is SQUARE


def test_named_tensors_go_by_name() -> None:
    inputs = {"x": SQUARE, "y": COLUMN}

    assert model_input(Batch(inputs, {}, Layout.NAMED_TENSORS)) == inputs


def test_two_inputs_are_not_one() -> None:
    with pytest.raises(ValueError, match="takes one input, got 2: x, y"):
        sole_array({"x": SQUARE, "y": COLUMN})


@pytest.mark.parametrize(
    ("answer", "form", "expected"),
    [
        pytest.param(COLUMN, Form.ARRAY, {UNNAMED_OUTPUT: [1.0, 2.0]}, id="array"),
        pytest.param([1, 2], Form.ARRAY, {UNNAMED_OUTPUT: [1, 2]}, id="list"),
        pytest.param(["a", "b"], Form.ARRAY, {UNNAMED_OUTPUT: ["a", "b"]}, id="texts"),
        pytest.param(pd.Series([1, 2]), Form.ARRAY, {UNNAMED_OUTPUT: [1, 2]}, id="series"),
        pytest.param(
            pd.Series([1, 2], dtype="Int64"), Form.ARRAY, {UNNAMED_OUTPUT: [1, 2]}, id="extension"
        ),
        pytest.param(
            pd.Series(["x", "y"], dtype="category"),
            Form.ARRAY,
            {UNNAMED_OUTPUT: ["x", "y"]},
            id="categories",
        ),
        pytest.param(
            pd.DataFrame({"p": [0.5], 1: ["x"]}), Form.COLUMNS, {"p": [0.5], "1": ["x"]}, id="frame"
        ),
        pytest.param({"p": [0.5, 1.0]}, Form.NAMED, {"p": [0.5, 1.0]}, id="mapping"),
        pytest.param(
            np.array(["2024-01-02"], "datetime64[D]"),
            Form.ARRAY,
            {UNNAMED_OUTPUT: ["2024-01-02"]},
            id="dates",
        ),
    ],
)
def test_answers_become_arrays(answer: Any, form: Form, expected: dict[str, list[Any]]) -> None:
    outputs = as_outputs(answer)

    assert outputs.form is form
    assert {name: array.tolist() for name, array in outputs.arrays.items()} == expected


def test_an_answer_without_a_tensor_form_is_refused() -> None:
    with pytest.raises(TypeError, match="not a tensor"):
        as_outputs(np.array([1 + 2j]))
