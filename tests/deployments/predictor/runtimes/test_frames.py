import datetime as dt
import pickle
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
        pytest.param(pd.Series([1, 2]), Form.SERIES, {UNNAMED_OUTPUT: [1, 2]}, id="series"),
        pytest.param(pd.Series([1, 2], name="p"), Form.COLUMNS, {"p": [1, 2]}, id="named-series"),
        pytest.param(
            pd.Series([1, 2], dtype="Int64"), Form.SERIES, {UNNAMED_OUTPUT: [1, 2]}, id="extension"
        ),
        pytest.param(
            pd.DataFrame({"p": pd.array([1, None], dtype="Int64")}),
            Form.COLUMNS,
            {"p": [1, None]},
            id="missing-integer",
        ),
        pytest.param(
            pd.DataFrame([[1, 2]], columns=["p", "p"]), Form.COLUMNS, {"p": [2]}, id="label-twice"
        ),
        pytest.param([[1, 2], [3]], Form.ARRAY, {UNNAMED_OUTPUT: [[1, 2], [3]]}, id="ragged"),
        pytest.param([1, "a"], Form.ARRAY, {UNNAMED_OUTPUT: [1, "a"]}, id="numbers-and-texts"),
        pytest.param([True, 2], Form.ARRAY, {UNNAMED_OUTPUT: [True, 2]}, id="this-and-that"),
        pytest.param([2**63, -1], Form.ARRAY, {UNNAMED_OUTPUT: [2**63, -1]}, id="too-wide"),
        pytest.param("text", Form.ARRAY, {UNNAMED_OUTPUT: "text"}, id="text"),
        pytest.param(1.5, Form.ARRAY, {UNNAMED_OUTPUT: 1.5}, id="number"),
        pytest.param(None, Form.ARRAY, {UNNAMED_OUTPUT: None}, id="nothing"),
        pytest.param(
            pd.Series(["x", "y"], dtype="category"),
            Form.SERIES,
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
            {UNNAMED_OUTPUT: [dt.date(2024, 1, 2)]},
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


def test_arrays_of_different_shapes_stay_apart() -> None:
    (array,) = as_outputs([np.zeros((2, 3)), np.zeros((2, 4))]).arrays.values()

    assert [item.shape for item in array] == [(2, 3), (2, 4)]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param([[1.5, 2.5]], "float64", id="floats"),
        pytest.param([1, 2], "int64", id="integers"),
        pytest.param([np.float32(1.5)], "float32", id="numpy-s-own"),
        pytest.param([], "float64", id="empty"),
    ],
)
def test_numbers_of_one_kind_keep_it(answer: Any, expected: str) -> None:
    (array,) = as_outputs(answer).arrays.values()

    assert array.dtype == expected


def test_no_answer_has_a_gateway_import_pandas() -> None:
    when = pd.Timestamp("2026-01-31T12:00", tz="UTC")

    arrays = as_outputs(pd.DataFrame({"a": [when, pd.NaT], "b": [pd.NA, 1]})).arrays

    assert arrays["a"].tolist() == ["2026-01-31T12:00:00+00:00", "NaT"]
    assert b"pandas" not in pickle.dumps(arrays)
