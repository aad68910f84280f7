from typing import Any

import pytest

from tests.tuning.sequential import FOREST
from tuning.board import _test_to_train
from tuning.spec import SweepSpec, check_sweep
from tuning.tracking import _flat


@pytest.mark.parametrize(
    "folds",
    [
        pytest.param({}, id="stratified"),
        pytest.param({"n_splits": 4, "repeats": 3}, id="repeated"),
        pytest.param({"kind": "kfold", "n_splits": 3}, id="kfold"),
        pytest.param({"kind": "time_series", "n_splits": 4}, id="time-series"),
    ],
)
def test_folds_test_as_much_as_their_settings_say(folds: dict[str, Any]) -> None:
    data = {"bundled": "digits"}
    spec = SweepSpec.load({**FOREST, "name": "digits", "data": data, "folds": folds})
    split = check_sweep(spec, "digits").split

    assert _test_to_train(_flat(spec.tied())) == pytest.approx(split.test_share, rel=0.01)
