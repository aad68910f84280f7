"""Sweeps without registry and report, as benchmarks run them."""

import time
import uuid
from pathlib import Path
from typing import Any

import ray

from tuning.book import Book, Observer
from tuning.budget import Account
from tuning.cluster import Cluster
from tuning.home import Home
from tuning.ledger import Ledger, Manifest
from tuning.spec import SweepSpec, Task, check_sweep
from tuning.suggestion import make_suggestions
from tuning.sweep import run_trials
from tuning.tracking import Tracker
from tuning.workload import make_workload


def trivial_task(n_trials: int, **changes: Any) -> Task:
    """Make a sweep of trials that do nothing."""
    spec = SweepSpec.load(
        {
            "name": "trivial",
            "data": {"bundled": "iris"},
            "folds": {"n_splits": 2},
            "trainer": "benchmarks.trivial:TrivialTrainer",
            "space": {"x": {"uniform": [0.0, 1.0]}},
            "scheduler": {"kind": "fifo"},
            "n_trials": n_trials,
            **changes,
        },
        where="benchmark",
    )
    return check_sweep(spec, "benchmark")


def run_sweep(
    task: Task,
    cluster: Cluster,
    folder: Path,
    *,
    track: bool = False,
    observers: list[Observer] | None = None,
) -> float:
    """Run our trials, returning seconds from the first question to the last run in MLflow."""
    folder.mkdir()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    home = Home(folder, uri, uri, (folder / "artifacts").as_uri(), "")
    spec = task.spec
    manifest = Manifest(uuid.uuid4().hex, spec.tied(), task.table.sha256)
    watching = list(observers or [])
    tracker = Tracker(home, spec, manifest) if track else None
    if tracker is not None:
        tracker.open([])
        watching.append(tracker)
    account = Account(spec.budget, metric=spec.metric, mode=spec.mode, cpu=spec.resources.cpu)
    book = Book(spec.n_trials, Ledger(folder), make_suggestions(spec), watching, account=account)
    shared = ray.put(make_workload(task, folder))
    limit = cluster.side_by_side(spec.max_concurrent)

    began_at_s = time.monotonic()
    run_trials(task, shared, book, folder=folder, max_concurrent=limit)
    if tracker is not None:
        tracker.close()
    return time.monotonic() - began_at_s
