"""What a trial costs beside its work: Ray Tune's defaults against actors that are reused.

    python -m benchmarks.tuning [--trials N]

All run the same number of trials that do nothing, in the same Ray; ours with what a sweep
does, Optuna and the ledger, without and with one MLflow run per trial.
"""

import argparse
import os
import tempfile
import time
import uuid
from pathlib import Path

from tuning.quiet import quieten

quieten()

import ray  # noqa: E402, silenced first
from ray import tune  # noqa: E402, as above

from tuning.book import Book  # noqa: E402, as above
from tuning.cluster import Cluster, ray_cluster  # noqa: E402, as above
from tuning.home import Home  # noqa: E402, as above
from tuning.ledger import Ledger, Manifest  # noqa: E402, as above
from tuning.spec import SweepSpec, Task, check_sweep  # noqa: E402, as above
from tuning.suggestion import make_suggestions  # noqa: E402, as above
from tuning.sweep import TUNE_SETTINGS, make_workload, run_trials  # noqa: E402, as above
from tuning.tracking import Tracker  # noqa: E402, as above


def main() -> None:
    """Measure both, and print their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=100, metavar="N")
    n_trials = parser.parse_args().trials

    spec = SweepSpec.load(
        {
            "name": "trivial",
            "data": {"bundled": "iris"},
            "folds": {"n_splits": 2},
            "trainer": "benchmarks.trivial:TrivialTrainer",
            "space": {"x": {"uniform": [0.0, 1.0]}},
            "n_trials": n_trials,
        },
        where="benchmark",
    )
    with tempfile.TemporaryDirectory() as name, ray_cluster(spec.resources) as cluster:
        folder = Path(name)
        task = check_sweep(spec, "benchmark")
        took_s = {
            "Rayfleet": reused_actors(task, cluster, folder / "alone", track=False),
            "Rayfleet, with MLflow": reused_actors(task, cluster, folder / "tracked", track=True),
            "Tune, defaults": tune_defaults(n_trials, folder),
        }

    print(f"{n_trials} trials of nothing on {cluster.capacity} cores")
    for name, seconds in took_s.items():
        ratio = took_s["Tune, defaults"] / seconds
        print(
            f"{name:<24} {seconds:7.1f} s  {1000 * seconds / n_trials:6.0f} ms each {ratio:6.1f} x"
        )


def reused_actors(task: Task, cluster: Cluster, folder: Path, *, track: bool) -> float:
    """Run our trials, returning seconds from the first question to the last run in MLflow."""
    folder.mkdir()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    home = Home(folder, uri, uri, (folder / "artifacts").as_uri(), "")
    manifest = Manifest(uuid.uuid4().hex, task.spec.tied(), task.table.sha256)
    tracker = Tracker(home, task.spec, manifest)
    tracker.open([])
    observers = [tracker] if track else []
    book = Book(task.spec.n_trials, Ledger(folder), make_suggestions(task.spec), observers)
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
