from typing import Literal

import pytest

from tests.tuning.trials import reports, trial
from tuning.ledger import Trial, TrialState
from tuning.selection import select

PRUNED = TrialState.PRUNED


@pytest.mark.parametrize(
    ("trials", "mode", "winner"),
    [
        pytest.param([trial(0, 0.8), trial(1, 0.9)], "max", 1, id="more-is-better"),
        pytest.param([trial(0, 0.8), trial(1, 0.9)], "min", 0, id="less-is-better"),
        pytest.param([trial(0, 0.5, 0.9), trial(1, 0.6, 0.8)], "max", 1, id="tie-lower-std"),
        pytest.param([trial(0, 0.5, 0.9), trial(1, 0.6, 0.8)], "min", 1, id="tie-lower-std-min"),
        pytest.param([trial(1, 0.5, 0.9), trial(0, 0.9, 0.5)], "max", 0, id="tie-earlier"),
        pytest.param(
            [trial(0, 0.8), trial(1, state=PRUNED, reports=reports(0.99, of=2))],
            "max",
            0,
            id="pruned-never-wins",
        ),
        pytest.param(
            [trial(0, 0.8), trial(1, state=TrialState.FAILED, reports=())],
            "max",
            0,
            id="failed-never-wins",
        ),
        pytest.param(
            [trial(0, state=TrialState.RUNNING, reports=()), trial(1, 0.1)],
            "max",
            1,
            id="unfinished-never-wins",
        ),
    ],
)
def test_select(trials: list[Trial], mode: Literal["max", "min"], winner: int) -> None:
    selected = select(trials, metric="accuracy", mode=mode)

    assert selected is not None
    assert selected.number == winner


def test_nobody_wins_where_nobody_completed() -> None:
    assert select([trial(0, state=TrialState.FAILED)], metric="accuracy", mode="max") is None
    assert select([], metric="accuracy", mode="max") is None
