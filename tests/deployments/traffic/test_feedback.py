"""What is remembered of answers, and how labels and rewards are read."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import MalformedRequestError
from deployments.traffic.feedback import (
    MOST_BYTES,
    MOST_VALUES,
    Prediction,
    decode_prediction,
    is_sampled,
    mistakes,
    prediction_of,
    rewards,
)
from deployments.traffic.split import bucket


@pytest.mark.parametrize(
    ("array", "values"),
    [
        pytest.param(np.array([9, 1, 0, 9]), [1, 0], id="numbers"),
        pytest.param(np.array([[9.0], [1.5], [0.5], [9.0]]), [1.5, 0.5], id="one-column"),
        pytest.param(
            np.array([[0, 1], [0.2, 0.8], [1, 0], [1, 0]]), [[0.2, 0.8], [1, 0]], id="two"
        ),
        pytest.param(np.array(["a", "b", "größe", "d"], object), ["b", "größe"], id="texts"),
        pytest.param(np.array([True, False, True, True]), [False, True], id="truths"),
        pytest.param(np.array([0, np.nan, np.inf, 0]), [None, None], id="no-numbers"),
        pytest.param(np.zeros((4, MOST_VALUES)), None, id="too-many-values"),
        pytest.param(np.array(["x" * MOST_BYTES] * 4), None, id="too-long"),
        pytest.param(np.array([object()] * 4), None, id="no-json"),
        pytest.param(np.zeros(2), None, id="fewer-rows"),
        pytest.param(np.array(1.0), None, id="no-rows"),
    ],
)
def test_what_is_remembered_of_an_answer(array: Any, values: Any) -> None:
    body = prediction_of({"first": array, "second": np.zeros(4)}, None, 1, 3)

    assert decode_prediction(body) == Prediction(2, values)
    assert len(body) <= MOST_BYTES


def test_an_output_may_be_named() -> None:
    arrays = {"first": np.zeros(1), "second": np.ones(1)}

    assert decode_prediction(prediction_of(arrays, "second", 0, 1)).values == [1.0]
    assert decode_prediction(prediction_of(arrays, "third", 0, 1)).values is None
    assert decode_prediction(prediction_of({}, None, 0, 1)).values is None


@pytest.mark.parametrize(
    ("values", "label", "tolerance", "expected"),
    [
        pytest.param([1], 1, 0.0, (1, 0), id="right"),
        pytest.param([1], 2, 0.0, (1, 1), id="wrong"),
        pytest.param([1.0], 1, 0.0, (1, 0), id="float-for-int"),
        pytest.param([1], True, 0.0, (1, 0), id="truth-for-int"),
        pytest.param([1.0], 1.25, 0.25, (1, 0), id="within-tolerance"),
        pytest.param([1.0], 1.26, 0.25, (1, 1), id="beyond-tolerance"),
        pytest.param(["a"], "a", 0.0, (1, 0), id="same-text"),
        pytest.param(["a"], "b", 0.0, (1, 1), id="another-text"),
        pytest.param([1, 2, 3], [1, 0, 3], 0.0, (3, 1), id="rows"),
        pytest.param([[0.2, 0.7, 0.1]], 1, 0.0, (1, 0), id="most-probable"),
        pytest.param([[0.2, 0.7, 0.1]], 0, 0.0, (1, 1), id="less-probable"),
        pytest.param([None], 1, 0.0, (1, 1), id="no-number"),
        pytest.param([None], "a", 0.0, (1, 1), id="no-text"),
        pytest.param([[None, 0.5]], 1, 0.0, (1, 1), id="no-number-among-several"),
    ],
)
def test_labels(values: list[Any], label: Any, tolerance: float, expected: Any) -> None:
    assert mistakes(Prediction(len(values), values), label, tolerance) == expected


@pytest.mark.parametrize(
    ("values", "label", "reason"),
    [
        pytest.param([1, 2], 1, "1 labels for 2 rows", id="one-for-two"),
        pytest.param([1], [1, 2], "2 labels for 1 rows", id="two-for-one"),
        pytest.param([1], [], "0 labels for 1 rows", id="none"),
        pytest.param([1], "1", "label '1' for a prediction that is a number", id="text-for-number"),
        pytest.param(["1"], 1, "label 1 for a prediction that is a text", id="number-for-text"),
        pytest.param([1.0], float("nan"), "label nan is no finite number", id="nan"),
        pytest.param(
            [[1.0, 2.0]], "a", "label 'a' for a prediction that is a number", id="several"
        ),
        pytest.param([["a", "b"]], "a", "several texts in a row", id="several-texts"),
        pytest.param(None, 1, "the prediction is not remembered", id="too-large"),
    ],
)
def test_labels_that_do_not_fit(values: Any, label: Any, reason: str) -> None:
    with pytest.raises(MalformedRequestError, match=reason):
        mistakes(Prediction(len(values) if values else 1, values), label, 0.0)


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        pytest.param(0.5, [0.5], id="one"),
        pytest.param([0, 1], [0.0, 1.0], id="each-row"),
        pytest.param(-5, [-1.0], id="below"),
        pytest.param([7.5, -7.5], [2.0, -1.0], id="beyond"),
    ],
)
def test_rewards(reward: Any, expected: list[float]) -> None:
    assert rewards(Prediction(2), reward, -1.0, 2.0) == expected


@pytest.mark.parametrize(
    ("reward", "reason"),
    [
        pytest.param([1.0], "1 rewards for 2 rows", id="too-few"),
        pytest.param(float("inf"), "reward inf is no finite number", id="infinite"),
        pytest.param([0.0, float("nan")], "reward nan is no finite number", id="nan"),
    ],
)
def test_rewards_that_do_not_fit(reward: Any, reason: str) -> None:
    with pytest.raises(MalformedRequestError, match=reason):
        rewards(Prediction(2), reward, 0.0, 1.0)


def test_the_sample_has_the_share_that_was_asked_for_of_each_part_of_the_split() -> None:
    names = [f"q{n}" for n in range(40_000)]
    sampled = [name for name in names if is_sampled("wine", name, 0.1)]
    canary = [name for name in sampled if bucket("wine", name) < 500]

    assert 3_760 <= len(sampled) <= 4_240  # four standard deviations
    assert 144 <= len(canary) <= 256
    assert set(sampled) <= {name for name in names if is_sampled("wine", name, 0.2)}


@given(st.text(), st.floats(0.01, 1.0))
def test_the_sample_is_the_same_everywhere(name: str, share: float) -> None:
    assert is_sampled("wine", name, share) == is_sampled("wine", name, share)
    assert is_sampled("wine", name, 1.0)
