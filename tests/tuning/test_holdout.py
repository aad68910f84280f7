from pathlib import Path

import numpy as np
import pytest

from tuning.flavors import predicted_codes
from tuning.holdout import holdout_rows
from tuning.spec import read_sweep


def test_holdout_of_two_sweeps_on_equal_folds_is_the_same() -> None:
    champion = holdout_rows(read_sweep(Path("configs/sweeps/breast-cancer.yaml")))
    challenger = holdout_rows(read_sweep(Path("configs/sweeps/breast-cancer-challenger.yaml")))

    np.testing.assert_array_equal(champion.rows, challenger.rows)
    assert champion.classes == ("malignant", "benign")
    assert (champion.rows.shape, champion.labels.shape) == ((114, 30), (114,))


@pytest.mark.parametrize(
    ("outputs", "codes"),
    [
        pytest.param([2, 0], [2, 0], id="labels"),
        pytest.param([[2], [0]], [2, 0], id="labels-as-a-column"),
        pytest.param([[0.1, 0.9], [0.6, 0.4]], [1, 0], id="scores"),
    ],
)
def test_predicted_codes(outputs: list[object], codes: list[int]) -> None:
    assert predicted_codes(np.array(outputs)).tolist() == codes
