import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pytest

from tuning.crossvalidation import (
    Checkpoint,
    Report,
    cross_validate,
    cut_folds,
    fold_scores,
    mean_and_std,
)
from tuning.space import Params
from tuning.trainers.trainer import Fold, Metrics, Trainer


class ScriptedTrainer:
    """Reports, for each fold in turn, the accuracies of its script."""

    def __init__(self, script: Sequence[Sequence[Metrics]]) -> None:
        self._script = iter(script)

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        yield from next(self._script)


def run(script: Sequence[Sequence[float | Metrics]], epochs: int) -> list[Report]:
    metrics = [
        [each if isinstance(each, dict) else {"accuracy": cast("float", each)} for each in fold]
        for fold in script
    ]
    trainer = cast("Trainer", ScriptedTrainer(metrics))
    folds = [cast("Fold", None)] * len(script)
    return list(cross_validate(trainer, {}, folds, metric="accuracy", epochs=epochs))


def test_running_mean_covers_finished_folds_and_the_current_epoch() -> None:
    reports = run([[0.2, 0.4], [0.6, 0.8]], epochs=2)

    assert [report.mean for report in reports] == pytest.approx([0.2, 0.4, 0.5, 0.6])
    assert [report.progress for report in reports] == [1, 2, 3, 4]
    assert [report.fold_complete for report in reports] == [False, True, False, True]
    assert [report.complete for report in reports] == [False, False, False, True]


def test_folds_that_end_early_leave_progress_where_it_belongs() -> None:
    reports = run([[0.2], [0.6]], epochs=3)

    # The last report repeats the one before, now known to be the last.
    assert [report.progress for report in reports] == [1, 4, 6]
    assert [report.complete for report in reports] == [False, False, True]
    assert fold_scores(reports, "accuracy") == {0: 0.2, 1: 0.6}


def test_only_finished_folds_have_scores() -> None:
    reports = run([[0.2, 0.4], [0.6, 0.8]], epochs=2)

    assert fold_scores(reports[:1], "accuracy") == {}
    assert fold_scores(reports[:2], "accuracy") == {0: 0.4}
    assert fold_scores(reports[:3], "accuracy") == {0: 0.4}
    assert fold_scores(reports, "accuracy") == {0: 0.4, 1: 0.8}
    assert fold_scores((), "accuracy") == {}


def test_infinite_metric_is_dropped_unless_it_decides() -> None:
    reports = run([[{"accuracy": 0.5, "loss": math.inf}]], epochs=1)

    assert reports[0].metrics == {"accuracy": 0.5}
    with pytest.raises(ValueError, match="'accuracy' is nan"):
        run([[math.nan]], epochs=1)


@pytest.mark.parametrize(
    ("script", "fault"),
    [
        pytest.param([[{"f1": 1.0}]], "'accuracy' was not reported, only: f1", id="other-metric"),
        pytest.param([[0.5], []], "fold 1 reported no metrics", id="silent-fold"),
    ],
)
def test_trainer_that_owes_a_report_raises(script: Any, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        run(script, epochs=1)


def test_std_is_that_of_the_folds_themselves() -> None:
    assert mean_and_std([1.0, 3.0]) == (2.0, 1.0)


def test_a_fold_is_cut_when_it_is_asked_for() -> None:
    rows, labels = np.arange(8.0).reshape(4, 2), np.arange(4)
    positions = (np.array([0, 1]), np.array([2, 3])), (np.array([2, 3]), np.array([0, 1]))

    folds = cut_folds(rows, labels, positions)
    rows[0] = 9.0  # what was cut already would not show it

    assert len(folds) == 2
    assert np.asarray(folds[0].rows).tolist() == [[9.0, 9.0], [2.0, 3.0]]
    assert folds[1].validation_labels.tolist() == [0, 1]
    assert [fold.labels.tolist() for fold in folds[1:]] == [[2, 3]]


class EpochTrainer:
    """Its accuracy counts the epochs that it worked in this process, and says where it began."""

    def __init__(self) -> None:
        self.worked = 0
        self._epoch = 0

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        self._epoch = 0
        yield from self._rest()

    def resume(self, params: Params, fold: Fold, state: bytes) -> Iterator[Metrics]:
        self._epoch = int(state)
        yield from self._rest()

    def state(self) -> bytes:
        return str(self._epoch).encode()

    def _rest(self) -> Iterator[Metrics]:
        while True:
            self.worked += 1
            self._epoch += 1
            yield {"accuracy": float(self._epoch)}


class PlainTrainer:
    """Has nothing by which it could go on inside a fold."""

    def __init__(self, inner: EpochTrainer) -> None:
        self._inner = inner

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        yield from self._inner.train(params, fold)


@dataclass
class Kept:
    """Keeps every checkpoint."""

    last: Checkpoint | None = None

    def load(self) -> Checkpoint | None:
        return self.last

    def offer(self, make: Callable[[], Checkpoint]) -> None:
        self.last = make()


@pytest.mark.parametrize("cut", range(1, 6))
@pytest.mark.parametrize(
    ("resumable", "repeated"),
    [pytest.param(True, 0, id="epochs"), pytest.param(False, 1, id="folds-only")],
)
def test_a_trial_goes_on_from_its_checkpoint(cut: int, resumable: bool, repeated: int) -> None:
    def make(trainer: EpochTrainer) -> Trainer:
        return cast("Trainer", trainer if resumable else PlainTrainer(trainer))

    folds = [cast("Fold", None)] * 3
    whole = list(cross_validate(make(EpochTrainer()), {}, folds, metric="accuracy", epochs=2))
    kept, before, after = Kept(), EpochTrainer(), EpochTrainer()
    running = cross_validate(make(before), {}, folds, metric="accuracy", epochs=2, checkpoints=kept)
    for _ in range(cut):
        next(running)

    resumed = list(
        cross_validate(make(after), {}, folds, metric="accuracy", epochs=2, checkpoints=kept)
    )

    assert resumed == whole
    inside_a_fold = cut % 2
    assert before.worked + after.worked == 6 + repeated * inside_a_fold
