from pathlib import Path

import numpy as np
import pytest

from benchmarks.serving.workload import ANSWERS, ROWS, Model, make_workload, n_examples


def test_a_question_of_several_rows_has_their_answers_in_order(tmp_path: Path) -> None:
    np.save(tmp_path / ROWS, np.arange(4.0).reshape(4, 1))
    np.save(tmp_path / ANSWERS, np.array([10, 11, 12, 13]))

    workload = make_workload(Model("wine", tmp_path), rows=3)

    assert workload.questions[:, :, 0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 0], [3, 0, 1]]
    assert workload.answers.tolist() == [[10, 11, 12], [11, 12, 13], [12, 13, 10], [13, 10, 11]]


def test_images_keep_their_shape_and_answers_are_flat(tmp_path: Path) -> None:
    np.save(tmp_path / ROWS, np.zeros((5, 1, 8, 8), np.float32))
    np.save(tmp_path / ANSWERS, np.zeros((5, 10)))

    workload = make_workload(Model("digits", tmp_path), rows=2)

    assert workload.questions.shape == (5, 2, 1, 8, 8)
    assert workload.answers.shape == (5, 20)


@pytest.mark.parametrize(
    ("available_rows", "row_bytes", "rows", "expected"),
    [
        pytest.param(178, 52, 1, 178, id="one-for-each-row"),
        pytest.param(569, 240, 1, 512, id="no-more-than-a-share-needs"),
        pytest.param(512, 16384, 64, 16, id="no-more-than-memory-should-hold"),
        pytest.param(512, 2**30, 1, 2, id="but-two-that-can-be-told-apart"),
    ],
)
def test_number_of_examples(available_rows: int, row_bytes: int, rows: int, expected: int) -> None:
    assert n_examples(available_rows, row_bytes, rows) == expected
