"""What every trainer owes, as a class to subclass with one's own trainer."""

import pickle
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from tuning.errors import ConfigError
from tuning.flavors import predicted_codes, require_flavor
from tuning.space import Params
from tuning.spec import model_rows
from tuning.trainers.trainer import Fold, Problem, Resumable, Trainer

N_FEATURES = 16
N_CLASSES = 3


def blobs(seed: int, n_rows: int) -> tuple[Any, Any]:
    """Make rows of three classes that lie apart, on scales from 1 to 100."""
    generator = np.random.default_rng(seed)
    labels = np.arange(n_rows) % N_CLASSES
    rows = generator.normal(size=(n_rows, N_FEATURES)) + 3.0 * labels[:, None]
    return rows * np.geomspace(1.0, 100.0, N_FEATURES), labels


class TrainerContract(ABC):
    epochs: ClassVar[int] = 1
    params: ClassVar[Params]
    """What learns `blobs` easily."""
    bad_params: ClassVar[Params]
    """What the trainer must refuse."""

    @abstractmethod
    def make(self, problem: Problem) -> Trainer: ...

    @pytest.fixture
    def trainer(self) -> Trainer:
        columns = tuple(f"x{position}" for position in range(N_FEATURES))
        return self.make(Problem(columns, (), False, N_CLASSES, self.epochs, 0, 1, False))

    @pytest.fixture
    def fold(self, trainer: Trainer) -> Fold:
        rows, labels = blobs(seed=0, n_rows=90)
        more_rows, more_labels = blobs(seed=1, n_rows=30)
        rows = model_rows(rows, trainer.row_shape)
        more_rows = model_rows(more_rows, trainer.row_shape)
        for array in (rows, labels, more_rows, more_labels):
            # As in Ray's object store.
            np.asarray(array).setflags(write=False)
        return Fold(rows, labels, more_rows, more_labels)

    def test_reports_every_declared_metric_after_each_epoch(
        self, trainer: Trainer, fold: Fold
    ) -> None:
        reports = list(trainer.train(self.params, fold))

        assert len(reports) == self.epochs
        assert all(set(report) == set(trainer.metrics) for report in reports)
        assert all(np.isfinite(list(report.values())).all() for report in reports)

    def test_learns_what_is_easy(self, trainer: Trainer, fold: Fold) -> None:
        *_, last = trainer.train(self.params, fold)

        assert last["accuracy"] >= 0.9

    def test_equal_seeds_give_equal_metrics(self, trainer: Trainer, fold: Fold) -> None:
        first: list[Mapping[str, float]] = list(trainer.train(self.params, fold))
        again: list[Mapping[str, float]] = list(trainer.train(self.params, fold))

        assert first == again

    def test_a_fold_that_was_cut_off_goes_on_as_if_it_had_not_been(
        self, trainer: Trainer, fold: Fold
    ) -> None:
        if not isinstance(trainer, Resumable):
            assert self.epochs == 1  # nothing to go on from
            return
        whole = list(trainer.train(self.params, fold))
        running = trainer.train(self.params, fold)
        first = [next(running), next(running)]
        state = trainer.state()
        # Something else happens in the process, as it would.
        list(trainer.train({**self.params, "dropout": 0.5}, fold))

        rest = list(trainer.resume(self.params, fold, state))

        assert [*first, *rest] == whole

    def test_refitted_model_survives_pickling_and_scores_as_it_serves(
        self, trainer: Trainer, fold: Fold
    ) -> None:
        model = trainer.refit(self.params, fold.rows, fold.labels)
        copy = pickle.loads(pickle.dumps(model))  # noqa: S301, our own model

        outputs = require_flavor(trainer.flavor).outputs(copy, fold.validation_rows)
        accuracy = np.mean(predicted_codes(outputs) == fold.validation_labels)
        scores = trainer.score(model, fold.validation_rows, fold.validation_labels)
        assert scores["accuracy"] == accuracy

    def test_refuses_parameters_that_it_does_not_know(self, trainer: Trainer) -> None:
        trainer.check(self.params)

        with pytest.raises(ConfigError, match="allowed"):
            trainer.check(self.bad_params)
