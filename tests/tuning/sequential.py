"""Sweeps without Ray: the same book, ledger, trainers and MLflow, one trial after the other."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.stores import new_mlflow
from tuning.book import Book
from tuning.crossvalidation import cross_validate, cut_folds
from tuning.fitted import local_fit
from tuning.flavors import require_flavor
from tuning.goals import feasible
from tuning.home import Home
from tuning.ledger import Ledger, Manifest, Trial
from tuning.measuring import measure
from tuning.registry import Winner, give_alias, open_registry, register
from tuning.runs import SPEC_FILE, plain_spec
from tuning.selection import select
from tuning.spec import SweepSpec, Task, check_sweep
from tuning.suggestion import make_suggestions
from tuning.tracking import Tracker
from tuning.trainers.trainer import Metrics
from tuning.workload import make_workload

FOREST: dict[str, Any] = {
    "data": {"bundled": "iris"},
    "folds": {"n_splits": 4},
    "trainer": "sklearn",
    "space": {"estimator": "extra_trees", "n_estimators": {"int": [2, 12]}},
    "n_trials": 3,
    "scheduler": {"kind": "fifo"},
}


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep left behind."""

    task: Task
    ledger: Ledger
    trials: list[Trial]
    run_id: str
    """Of the sweep."""
    trial_run_ids: list[str]


def home_at(root: Path) -> Home:
    """A home with an empty MLflow in it."""
    uri = new_mlflow(root)
    return Home(root, uri, uri, (root / "artifacts").as_uri(), "")


def sweep(home: Home, name: str, *, register_as: str | None = None, **fields: Any) -> Swept:
    """Run a sweep, and register its winner if asked to."""
    spec = SweepSpec.load({**FOREST, "name": name, "model": register_as, **fields}, where=name)
    task = check_sweep(spec, name)
    ledger = Ledger(home.sweeps / name)
    manifest = Manifest(f"{name}-id", spec.tied(), task.table.sha256)
    ledger.write_manifest(manifest)
    tracker = Tracker(home, spec, manifest)
    tracker.open([])
    tracker.attach(SPEC_FILE, plain_spec(spec))
    book = Book(spec.n_trials, ledger, make_suggestions(spec), [tracker])
    rows, labels = task.training_rows
    folds = cut_folds(rows, labels, task.split.folds)
    while (trial := book.next()) is not None:
        reports = cross_validate(
            task.trainer, trial.params, folds, metric=spec.metric, epochs=spec.epochs
        )
        for report in reports:
            found = measured(task, trial) if report.complete and spec.measured else {}
            book.report(trial.number, replace(report, measured=found))
        book.end(trial.number)
    tracker.flush()
    run_ids = [tracker.run_id(trial) for trial in book.trials]
    if register_as is not None:
        register_winner(home, task, book.trials, tracker)
    tracker.finish("FINISHED")
    tracker.close()
    return Swept(task, ledger, book.trials, tracker.parent_id, run_ids)


def measured(task: Task, trial: Trial) -> Metrics:
    """Measure the model that a trial's parameters give, as the end of a trial does."""
    rows, labels = task.training_rows
    model = task.trainer.refit(trial.params, rows, labels)
    return measure(model, require_flavor(task.trainer.flavor), rows)


def register_winner(home: Home, task: Task, trials: list[Trial], tracker: Tracker) -> None:
    """Register the best trial, as the end of a sweep does."""
    kept = feasible(trials, task.spec.limits)
    winner = select(kept, metric=task.spec.metric, mode=task.spec.mode)
    assert winner is not None
    client: MlflowClient = open_registry(home)
    ids = tracker.run_id(winner), tracker.parent_id
    with local_fit(make_workload(task))(winner.params, ()) as fitted:
        holdout = fitted.score(*task.holdout_rows)
        made = Winner(winner, *ids, fitted, holdout)
        give_alias(client, register(client, task, made, print))
