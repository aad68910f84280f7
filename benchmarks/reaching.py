"""CPU seconds until a sweep has found a score, beside random search and beside Optuna alone.

    python -m benchmarks.reaching [--seeds N] [--trials N] [--data NAME ...]

The score of a problem is what random search without early stopping has found, at the median
over the seeds, after all of its trials. A rival that never gets there counts with all that it
spent. Rayfleet's seconds are those of the driver, of the trials' processes and of all of Ray's
meanwhile; the start of Ray, once for all sweeps, is not in them. Random search and Optuna run in
this process, and pay for nothing but fits.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from tuning.quiet import quieten

quieten()

import optuna  # noqa: E402, silenced first
from threadpoolctl import threadpool_limits  # noqa: E402, as above

from benchmarks.cpu import CpuMeter  # noqa: E402, as above
from benchmarks.sweeping import run_sweep  # noqa: E402, as above
from benchmarks.tuning_options import reaching_parser  # noqa: E402, as above
from tuning.cluster import Cluster, ray_cluster  # noqa: E402, as above
from tuning.crossvalidation import cross_validate, cut_folds  # noqa: E402, as above
from tuning.ledger import Trial, TrialState  # noqa: E402, as above
from tuning.resources import ResourcesSpec  # noqa: E402, as above
from tuning.space import sample  # noqa: E402, as above
from tuning.spec import SweepSpec, Task, check_sweep  # noqa: E402, as above

SPACE: Mapping[str, Any] = {
    "estimator": {
        "choice": {
            "logistic_regression": {"C": {"loguniform": [0.00001, 1.0]}},
            "svm": {"C": {"loguniform": [0.01, 1000.0]}, "gamma": {"loguniform": [1e-5, 10.0]}},
            "random_forest": {
                "n_estimators": {"int": [30, 120], "log": True},
                "max_depth": {"int": [1, 12]},
                "max_features": {"uniform": [0.05, 0.4]},
            },
        }
    }
}
BOOSTING: Mapping[str, Any] = {
    "estimator": {
        "choice": {
            "gradient_boosting": {
                "learning_rate": {"loguniform": [0.01, 1.0]},
                "max_iter": {"int": [10, 100], "log": True},
                "max_leaf_nodes": {"int": [2, 32], "log": True},
                "min_samples_leaf": {"int": [5, 50], "log": True},
                "l2_regularization": {"loguniform": [0.001, 10.0]},
            }
        }
    }
}
"""Fits of a second or two, where the first two have fits of a few hundredths."""

PROBLEMS: Mapping[str, Mapping[str, Any]] = {
    "breast-cancer": {"data": {"bundled": "breast-cancer"}, "trainer": "sklearn", "space": SPACE},
    "digits": {"data": {"bundled": "digits"}, "trainer": "sklearn", "space": SPACE},
    "breast-cancer-boosting": {
        "data": {"bundled": "breast-cancer"},
        "folds": {"n_splits": 5, "repeats": 6},
        "trainer": "sklearn",
        "space": BOOSTING,
        "metric": "log_loss",
        "mode": "min",
    },
    "digits-boosting": {
        "data": {"bundled": "digits"},
        "trainer": "sklearn",
        "space": BOOSTING,
        "metric": "log_loss",
        "mode": "min",
    },
    "digits-net": {
        "data": {"bundled": "digits"},
        "folds": {"n_splits": 3},
        "trainer": "torch",
        "options": {"image_shape": [1, 8, 8]},
        "epochs": 8,
        "space": {
            "learning_rate": {"loguniform": [0.0001, 0.1]},
            "channels": {"choice": [8, 16, 24]},
            "hidden": {"int": [32, 128], "log": True},
            "dropout": {"uniform": [0.0, 0.6]},
            "weight_decay": {"loguniform": [0.00001, 0.1]},
        },
        "metric": "log_loss",
        "mode": "min",
    },
}
"""What is searched, by the name of `--data`; the larger ones by log loss, since many accuracies
are alike. A net's first epochs tell what becomes of it."""

OURS, RANDOM, OPTUNA = "Rayfleet", "random search", "Optuna alone"
BARS = {RANDOM: 0.5, OPTUNA: 1.0}
"""Largest share of a rival's CPU seconds."""

RESULTS = Path("benchmarks/results/reaching.json")

CpuPath = Sequence[tuple[float, float]]
"""After each trial: CPU seconds so far, best mean of a trial that completed so far.

Means of a metric that is to be small are negative here, so that more is better.
"""


def main() -> None:
    """Measure, print and keep the figures."""
    options = reaching_parser(__doc__).parse_args()
    kept: dict[str, Any] = {"command": vars(options), "data": {}}
    with ray_cluster(ResourcesSpec()) as cluster:
        for data in options.data:
            kept["data"][data] = compare(data, options.seeds, options.trials, cluster)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1))


def compare(data: str, n_seeds: int, n_trials: int, cluster: Cluster) -> dict[str, Any]:
    """Run every rival with every seed on one data set, and print a table."""
    seeds = range(n_seeds)
    paths = {RANDOM: [run_loop(make_task(data, n_trials, seed), learns=False) for seed in seeds]}
    target = median(path[-1][1] for path in paths[RANDOM])
    metric, sign = _goal(make_task(data, n_trials, 0))
    tasks = [make_task(data, n_trials, seed, target=sign * target) for seed in seeds]
    paths[OPTUNA] = [run_loop(task, learns=True) for task in tasks]
    meters = [run_ours(task, cluster) for task in tasks]
    paths[OURS] = [each.path for each in meters]
    spent = {name: [cpu_until(path, target) for path in each] for name, each in paths.items()}
    print(
        f"\n{data}: {metric} {sign * target:.4f}, {n_seeds} seeds, at most {n_trials} trials each"
    )
    for name, values in spent.items():
        missed = sum(path[-1][1] < target for path in paths[name])
        print(
            f"{name:<14} {median(values):7.1f} CPU s, {min(values):.1f} to {max(values):.1f}"
            + (f"; {missed} never got there" if missed else "")
        )
    start_s = [each.start_s or 0.0 for each in meters]
    print(f"of {OURS}'s, until the first report of a sweep: {median(start_s):.1f} CPU s")
    after_s = [all_s - first_s for all_s, first_s in zip(spent[OURS], start_s, strict=True)]
    for rival, bar in BARS.items():
        share, rest = (median(each) / median(spent[rival]) for each in (spent[OURS], after_s))
        print(
            f"{'met' if share <= bar else 'missed'}: {share:.2f} of {rival}'s, bar {bar:g}; "
            f"{rest:.2f} after that report"
        )
    return {"target": target, "cpu_s": spent, "start_s": start_s, "paths": paths}


def make_task(data: str, n_trials: int, seed: int, target: float | None = None) -> Task:
    """Put the sweep together: our defaults, TPE and successive halving over the folds."""
    spec = SweepSpec.load(
        {
            "name": "reaching",
            **PROBLEMS[data],
            "n_trials": n_trials,
            "seed": seed,
            "budget": {"target": target},
        },
        where="benchmark",
    )
    return check_sweep(spec, "benchmark")


def _goal(task: Task) -> tuple[str, int]:
    """The metric that decides, and 1 where more of it is better, else -1."""
    return task.spec.metric, 1 if task.spec.mode == "max" else -1


def cpu_until(path: CpuPath, target: float) -> float:
    """CPU seconds until the score was found; all of them where it never was."""
    return next((cpu_s for cpu_s, best in path if best >= target), path[-1][0])


def run_loop(task: Task, *, learns: bool) -> CpuPath:
    """Run Optuna's own loop in this process: TPE and its pruner, or neither.

    It ends at the target of the task's budget.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    spec, (_, sign) = task.spec, _goal(task)
    folds = cut_folds(*task.training_rows, task.split.folds)
    study = optuna.create_study(
        direction="maximize" if sign > 0 else "minimize",
        sampler=optuna.samplers.TPESampler(seed=spec.seed)
        if learns
        else optuna.samplers.RandomSampler(seed=spec.seed),
        pruner=optuna.pruners.MedianPruner() if learns else optuna.pruners.NopPruner(),
    )

    def objective(trial: optuna.Trial) -> float:
        mean = 0.0
        params = sample(spec.space, trial)
        for report in cross_validate(
            task.trainer, params, folds, metric=spec.metric, epochs=spec.epochs
        ):
            mean = report.mean
            trial.report(mean, report.progress)
            if not report.complete and trial.should_prune():
                raise optuna.TrialPruned
        return mean

    path: list[tuple[float, float]] = []
    began_at_s = time.process_time()

    def note(running: optuna.Study, _: Any) -> None:
        done = [each.value for each in running.trials if each.state.name == "COMPLETE"]
        best = max((sign * value for value in done if value is not None), default=float("-inf"))
        path.append((time.process_time() - began_at_s, best))
        if spec.budget.target is not None and best >= sign * spec.budget.target:
            running.stop()

    with threadpool_limits(1):
        study.optimize(objective, spec.n_trials, callbacks=[note])
    return path


def run_ours(task: Task, cluster: Cluster) -> "Meter":
    """Run our sweep; it ends at the target of the task's budget."""
    meter = Meter(_goal(task)[1])
    with tempfile.TemporaryDirectory() as name:
        run_sweep(task, cluster, Path(name) / "ours", observers=[meter])
    return meter


class Meter:
    """CPU seconds of this process and all below it, and the best score; an observer."""

    def __init__(self, sign: int) -> None:
        """Begin to count.

        Args:
            sign: 1 where more of the metric is better, else -1.
        """
        self._meter = CpuMeter()
        self._sign = sign
        self._best = float("-inf")
        self.path: list[tuple[float, float]] = []
        self.start_s: float | None = None

    def on_start(self, trial: Trial) -> None:
        """Need nothing of it."""

    def on_report(self, trial: Trial) -> None:
        """Note what it took until the trials' processes were there."""
        if self.start_s is None:
            self.start_s = self._meter.read_s()

    def on_end(self, trial: Trial) -> None:
        """Note both."""
        if trial.state is TrialState.COMPLETE:
            self._best = max(self._best, self._sign * trial.reports[-1].mean)
        self.path.append((self._meter.read_s(), self._best))


if __name__ == "__main__":
    main()
