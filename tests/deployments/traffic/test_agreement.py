"""When two versions' answers to the same rows agree."""

import math
from typing import Any

import numpy as np
import pytest

from deployments.protocols.tensors import Array
from deployments.traffic.agreement import Agreement, by_request, compare

NAN = math.nan
INF = math.inf


def answer(values: Any, dtype: Any = None) -> dict[str, Array]:
    return {"y": np.asarray(values, dtype=dtype)}


def differing(stable: Any, mirrored: Any, tolerance: float = 1e-3) -> list[bool]:
    stable, mirrored = answer(stable), answer(mirrored)
    flags: list[bool] = compare(stable, mirrored, len(stable["y"]), tolerance).differs.tolist()
    return flags


@pytest.mark.parametrize(
    ("stable", "mirrored", "expected"),
    [
        pytest.param([1.0, 2.0], [1.0, 2.0], [False, False], id="equal"),
        pytest.param([1000.0, 1000.0], [1000.9, 1001.1], [False, True], id="within-and-beyond"),
        pytest.param([[1000.0, 1e-9]], [[1000.0, 2e-9]], [False], id="tiny-beside-its-neighbour"),
        pytest.param([[1.0, 0.0], [1e-9, 0.0]], [[1.0, 0.0], [2e-9, 0.0]], [False, True],
                     id="each-row-has-its-own-scale"),
        pytest.param([0.0], [1e-300], [True], id="zero-has-no-scale"),
        pytest.param([-0.0], [0.0], [False], id="minus-zero"),
        pytest.param([1, 2], [1, 3], [False, True], id="labels-as-numbers"),
        pytest.param([1_000_000], [1_000_001], [True], id="whole-numbers-have-no-tolerance"),
        pytest.param([2**53], [2**53 + 1], [True], id="beyond-what-a-float-can-tell"),
        pytest.param([1, 2], [1.0005, 2.01], [False, True], id="whole-beside-float"),
        pytest.param([True, False], [True, True], [False, True], id="truths"),
        pytest.param(["a", "b"], ["a", "c"], [False, True], id="labels"),
        pytest.param([NAN, 1.0], [NAN, NAN], [False, True], id="no-numbers"),
        pytest.param([INF, INF], [INF, 1e308], [False, True], id="infinity"),
        pytest.param([1.0], ["1.0"], [True], id="number-and-text"),
        pytest.param([1.0, 2.0], [[1.0], [2.0]], [True, True], id="other-shape"),
    ],
)  # fmt: skip
def test_rows(stable: Any, mirrored: Any, expected: list[bool]) -> None:
    assert differing(stable, mirrored) == expected
    assert differing(mirrored, stable) == expected


def test_objects_are_compared_as_what_they_hold() -> None:
    stable, mirrored = np.array(["a", None, NAN], object), np.array(["a", 0.0, NAN], object)

    assert compare({"y": stable}, {"y": mirrored}, 3, 0.0).differs.tolist() == [False, True, False]
    texts = np.array(["a", "c", "nan"])
    assert compare({"y": stable}, {"y": texts}, 3, 0.0).differs.tolist() == [False, True, True]


def test_half_precision_is_compared_in_double() -> None:
    stable, mirrored = answer([60000.0], np.float16), answer([-60000.0], np.float16)

    assert compare(stable, mirrored, 1, 0.1).largest.tolist() == [120_000.0]


def test_another_set_of_outputs_differs_everywhere() -> None:
    one, two = answer([1.0, 1.0]), {**answer([1.0, 1.5]), "z": np.zeros(2)}

    found = compare(one, two, 2, 0.0)

    assert found.differs.tolist() == [True, True]
    assert found.largest.tolist() == [0.0, 0.5]


def test_the_largest_gap_is_over_all_numbers_of_a_row_and_none_of_its_texts() -> None:
    stable = {"p": np.array([[0.1, 0.9], [0.5, 0.5]]), "label": np.array(["b", "a"])}
    mirrored = {"p": np.array([[0.4, 0.6], [0.5, 0.5]]), "label": np.array(["b", "b"])}

    found = compare(stable, mirrored, 2, 1e-6)

    assert found.differs.tolist() == [True, True]
    assert found.largest.tolist() == pytest.approx([0.3, 0.0])


@pytest.mark.parametrize(
    ("stable", "mirrored", "largest"),
    [
        pytest.param(["a"], ["b"], NAN, id="texts"),
        pytest.param([NAN], [1.0], NAN, id="no-number"),
        pytest.param([INF], [1.0], NAN, id="endless"),
        pytest.param([3], [7], 4.0, id="whole-numbers"),
        pytest.param([[NAN, 1.0]], [[NAN, 1.5]], 0.5, id="beside-no-number"),
    ],
)
def test_what_has_no_finite_gap(stable: Any, mirrored: Any, largest: float) -> None:
    found = compare(answer(stable), answer(mirrored), 1, 0.0)

    assert found.largest.tolist() == pytest.approx([largest], nan_ok=True)


@pytest.mark.parametrize("mirrored", [5.0, [5.0], [1.0, 2.0, 3.0]], ids=["scalar", "one", "three"])
def test_an_answer_that_is_not_row_by_row_is_one_answer(mirrored: Any) -> None:
    found = compare(answer([1.0, 2.0]), answer(mirrored), 2, 0.0)

    assert found.differs.tolist() == [True]
    assert compare(answer(5.0), answer(5.0), 2, 0.0).differs.tolist() == [False]


def test_an_empty_output_agrees() -> None:
    nothing = np.zeros((2, 0))

    assert compare({"y": nothing}, {"y": nothing}, 2, 0.0).differs.tolist() == [False, False]


def test_a_request_differs_where_any_of_its_rows_does() -> None:
    rows = Agreement(np.array([False, True, False, False]), np.array([0.0, 0.5, NAN, NAN]))

    found = by_request(rows, [0, 2, 3])

    assert found.differs.tolist() == [True, False, False]
    assert found.largest.tolist() == pytest.approx([0.5, NAN, NAN], nan_ok=True)
