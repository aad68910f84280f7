"""What a trial costs beside its work: Ray Tune's defaults against actors that are reused.

    python -m benchmarks.tuning [--trials N]

Both sides run the same number of trials of nothing, one after the other, in the same Ray;
ours with all that a sweep does: Optuna, ledger, and one MLflow run per trial.
"""

import argparse
import os
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.quiet import quieten

quieten()

import ray  # noqa: E402, silenced first
from ray import tune  # noqa: E402, as above

from tuning.book import Book  # noqa: E402, as above
from tuning.cluster import Cluster, ray_cluster  # noqa: E402, as above
from tuning.data import Labels, Rows  # noqa: E402, as above
from tuning.home import Home  # noqa: E402, as above
from tuning.ledger import Ledger, Manifest  # noqa: E402, as above
from tuning.space import Params  # noqa: E402, as above
from tuning.spec import SweepSpec, Task, check_sweep  # noqa: E402, as above
from tuning.suggestion import Suggestions  # noqa: E402, as above
from tuning.sweep import TUNE_SETTINGS, make_workload, run_trials  # noqa: E402, as above
from tuning.tracking import Tracker  # noqa: E402, as above
from tuning.trainers.trainer import Fold, Metrics, Problem  # noqa: E402, as above


class NothingTrainer:
    """Reports its parameter and does no work."""

    metrics = ("accuracy",)
    flavor = "sklearn"
    row_shape: tuple[int, ...] | None = None

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        """Need nothing."""

    def check(self, params: Params) -> None:
        """Accept everything."""

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Report the parameter."""
        yield {"accuracy": float(str(params["x"]))}

    def refit(self, params: Params, rows: Rows, labels: Labels) -> None:
        """Fit nothing."""

    def score(self, model: Any, rows: Rows, labels: Labels) -> Metrics:
        """Measure nothing."""
        return {"accuracy": 0.0}


def main() -> None:
    """Measure both, and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100, metavar="N")
    n_trials = parser.parse_args().trials

    spec = SweepSpec.load(
        {
            "name": "nothing",
            "data": {"bundled": "iris"},
            "folds": {"n_splits": 2},
            "trainer": "benchmarks.tuning:NothingTrainer",
            "space": {"x": {"uniform": [0.0, 1.0]}},
            "n_trials": n_trials,
        },
        where="benchmark",
    )
    with tempfile.TemporaryDirectory() as name, ray_cluster(spec.resources) as cluster:
        folder = Path(name)
        task = check_sweep(spec, "benchmark")
        ours_s = reused_actors(task, cluster, folder)
        defaults_s = tune_defaults(n_trials, folder)

    print(f"{n_trials} trials of nothing on {cluster.capacity} cores")
    print(
        f"{'Tune, defaults':<28} {defaults_s:7.1f} s  {1000 * defaults_s / n_trials:6.0f} ms each"
    )
    print(f"{'Rayfleet, with MLflow':<28} {ours_s:7.1f} s  {1000 * ours_s / n_trials:6.0f} ms each")
    print(f"ratio {defaults_s / ours_s:.1f}")


def reused_actors(task: Task, cluster: Cluster, folder: Path) -> float:
    """Run our trials, returning seconds from the first question to the last run in MLflow."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    home = Home(folder, uri, uri, (folder / "artifacts").as_uri(), "")
    manifest = Manifest(uuid.uuid4().hex, task.spec.tied(), task.table.sha256)
    tracker = Tracker(home, task.spec, manifest)
    tracker.open([])
    book = Book(task.spec.n_trials, Ledger(folder), Suggestions(task.spec), [tracker])
    shared = ray.put(make_workload(task))

    began_at_s = time.monotonic()
    run_trials(task, shared, book, folder=folder, max_concurrent=cluster.capacity)
    tracker.close()
    return time.monotonic() - began_at_s


def tune_defaults(n_trials: int, folder: Path) -> float:
    """Run a function trainable as Tune's manual shows it."""

    def trial(config: dict[str, float]) -> None:
        tune.report({"accuracy": config["x"]})

    for name in TUNE_SETTINGS:
        os.environ.pop(name, None)
    tuner = tune.Tuner(
        trial,
        param_space={"x": tune.uniform(0.0, 1.0)},
        tune_config=tune.TuneConfig(num_samples=n_trials),
        run_config=tune.RunConfig(storage_path=str(folder / "defaults"), verbose=0),
    )
    began_at_s = time.monotonic()
    tuner.fit()
    return time.monotonic() - began_at_s


if __name__ == "__main__":
    main()
