import math
from pathlib import Path
from typing import Any

import pytest

from tuning.crossvalidation import cut_folds, fold_scores
from tuning.exploring import Segment
from tuning.population import PopulationTrial
from tuning.space import Params
from tuning.spec import SweepSpec, check_sweep
from tuning.work import epoch_reports
from tuning.workload import make_workload

pytestmark = pytest.mark.ray  # imports Ray and PyTorch, though it starts no cluster

SPEC = SweepSpec.load(
    {
        "name": "s",
        "data": {"bundled": "iris"},
        "folds": {"n_splits": 2},
        "trainer": "torch",
        "epochs": 3,
        "space": {"learning_rate": {"loguniform": [0.001, 0.1]}, "hidden": 8},
        "scheduler": {"kind": "pbt"},
        "n_trials": 4,
    }
)


def test_the_last_epoch_reports_each_fold() -> None:
    results = [{"accuracy": 0.5, "loss": 2.0}, {"accuracy": 1.0, "loss": 1.0}]

    early = epoch_reports(results, 0, 2, "accuracy")
    late = epoch_reports(results, 1, 2, "accuracy")

    (report,) = early
    assert (report.mean, report.metrics) == (0.75, {"accuracy": 0.75, "loss": 1.5})
    assert not report.fold_complete
    assert fold_scores([*early, *late], "accuracy") == {0: 0.5, 1: 1.0}
    assert [each.progress for each in (*early, *late)] == [1, 2, 3]
    assert late[-1].complete
    assert late[-1].mean == 0.75


def test_a_value_that_is_no_number_fails_the_trial() -> None:
    with pytest.raises(ValueError, match="is nan"):
        epoch_reports([{"accuracy": math.nan}], 0, 2, "accuracy")


def test_a_copy_goes_on_from_the_better_one_with_parameters_of_its_own(tmp_path: Path) -> None:
    workload = make_workload(check_sweep(SPEC, "s"))

    def make(number: int, rate: float) -> Any:
        trial: Any = object.__new__(PopulationTrial)
        params = {"learning_rate": rate, "hidden": 8}
        trial.setup({"number": number, "params": params}, workload)
        return trial

    better, worse = make(0, 0.05), make(1, 0.0001)
    first = better.step()["reports"][0]
    worse.step()
    better.save_checkpoint(str(tmp_path))

    copied: Params = {"learning_rate": 0.04, "hidden": 8}
    worse.reset_config({"number": 1, "params": copied})
    worse.load_checkpoint(str(tmp_path))
    results = [worse.step(), worse.step()]

    assert [each["done"] for each in results] == [False, True]
    assert results[-1]["segments"] == (
        Segment(1, {"learning_rate": 0.05, "hidden": 8}),
        Segment(2, copied),
    )
    assert fold_scores(results[-1]["reports"], "accuracy").keys() == {0, 1}
    # Its first report is the better one's.
    assert results[-1]["reports"][0] == first


def test_unchanged_parameters_train_as_if_nothing_had_been_saved(tmp_path: Path) -> None:
    workload = make_workload(check_sweep(SPEC, "s"))
    trainer = workload.make_trainer()
    folds = cut_folds(workload.rows, workload.labels, workload.folds)
    trial: Any = object.__new__(PopulationTrial)
    params: Params = {"learning_rate": 0.05, "hidden": 8}

    trial.setup({"number": 0, "params": params}, workload)
    *_, last = [trial.step() for _ in range(3)]

    whole = [list(trainer.train(params, fold))[-1] for fold in folds]
    scores = fold_scores(last["reports"], "log_loss")
    assert list(scores.values()) == [metrics["log_loss"] for metrics in whole]
