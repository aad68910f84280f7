import numpy as np
import pytest

from tuning.data import Labels
from tuning.selecting.champion import _parts


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        pytest.param(np.array([0, 0, 0, 1, 1]), [3, 2], id="as-many-as-the-smallest-class"),
        pytest.param(np.linspace(0, 1, 7), [3, 2, 2], id="measurements-in-pairs-at-least"),
        pytest.param(np.linspace(0, 1, 400), [40] * 10, id="ten-at-most"),
        pytest.param(np.array([0.5]), [], id="one-row-makes-no-pair"),
        pytest.param(np.array([]), [], id="nothing"),
    ],
)
def test_a_holdout_is_cut_into_parts_that_can_be_scored(labels: Labels, sizes: list[int]) -> None:
    parts = _parts(labels)

    assert [len(part) for part in parts] == sizes
    assert sorted(np.concatenate([[], *parts])) == list(range(sum(sizes)))


def test_a_part_of_classes_has_each_of_them() -> None:
    labels = np.array([0] * 6 + [1] * 3)

    assert all(set(labels[part]) == {0, 1} for part in _parts(labels))
