"""What a trial costs beside its work, whether that grows, and how many run side by side.

    python -m benchmarks.tuning [overhead|growth|crowd|tune] [--trials N]

overhead: trials of nothing with MLflow on SQLite and without MLflow, beside Optuna's own loop in
one process with its MLflow callback. growth: many trials without MLflow; milliseconds and memory
of the driver, a tenth of them at a time, for `random` and for `tpe`, ours and Optuna's loop. crowd:
trials all at one time on fractions of the cores. tune: Ray Tune's defaults, which start a process
for each.
"""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from tuning.quiet import quieten

quieten()

import optuna  # noqa: E402, silenced first
import psutil  # noqa: E402, as above
from optuna_integration import MLflowCallback  # noqa: E402, as above
from ray import tune  # noqa: E402, as above

from benchmarks.sweeping import run_sweep, trivial_task  # noqa: E402, as above
from benchmarks.tuning_options import TRIALS, parser  # noqa: E402, as above
from tuning.cluster import ray_cluster  # noqa: E402, as above
from tuning.ledger import Trial  # noqa: E402, as above
from tuning.sweep import TUNE_SETTINGS  # noqa: E402, as above

OVERHEAD_BAR_MS = 80.0
OVERHEAD_BAR_RATIO = 3.0
GROWTH_PARTS = 10
TPE_PART = 5
"""TPE looks through all trials before each draw, so its curve has a fifth of them."""
CROWD_AT_MOST_S = 900.0
"""Until all of a crowd have reported; those that did wait for the rest."""
CROWD_BAR_BYTES = 16 * 1024**3


def main() -> None:
    """Measure what was asked for."""
    measurements: dict[str, Callable[[int], None]] = {
        "overhead": overhead,
        "growth": growth,
        "crowd": crowd,
        "tune": tune_defaults,
    }
    options = parser(__doc__).parse_args()
    measurements[options.what](options.trials or TRIALS[options.what])


def overhead(n_trials: int) -> None:
    """Compare a trial's costs with MLflow, ours with Optuna's loop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        task = trivial_task(n_trials)
        with ray_cluster(task.spec.resources) as cluster:
            alone_s = run_sweep(task, cluster, folder / "alone")
            ours_s = run_sweep(task, cluster, folder / "ours", track=True)
        optuna_s = run_optuna(n_trials, [mlflow_callback(folder)])
    each_ms = 1000 * ours_s / n_trials
    print(f"{n_trials} trials of nothing, MLflow on SQLite, {os.cpu_count()} cores")
    print(f"Rayfleet         {ours_s:7.1f} s  {each_ms:6.1f} ms each")
    print(f"without MLflow   {alone_s:7.1f} s  {1000 * alone_s / n_trials:6.1f} ms each")
    print(f"Optuna's loop    {optuna_s:7.1f} s  {1000 * optuna_s / n_trials:6.1f} ms each")
    print(f"ratio            {ours_s / optuna_s:7.2f}")
    met = each_ms <= OVERHEAD_BAR_MS and ours_s / optuna_s <= OVERHEAD_BAR_RATIO
    print(f"{'met' if met else 'missed'}: {OVERHEAD_BAR_MS:g} ms, {OVERHEAD_BAR_RATIO:g} x")


def growth(n_trials: int) -> None:
    """Print the curves: ours of random draws and of TPE, and of Optuna's loop in memory."""
    for searcher, count, sampler in (
        ("random", n_trials, optuna.samplers.RandomSampler(seed=0)),
        ("tpe", n_trials // TPE_PART, optuna.samplers.TPESampler(seed=0)),
    ):
        part = max(1, count // GROWTH_PARTS)
        ours, theirs = Curve(part), Curve(part)
        task = trivial_task(count, searcher={"kind": searcher})
        with tempfile.TemporaryDirectory() as name, ray_cluster(task.spec.resources) as cluster:
            run_sweep(task, cluster, Path(name) / "ours", observers=[ours])
        run_optuna(count, [lambda *_, curve=theirs: curve.tick()], sampler)
        print(f"{count} {searcher} trials of nothing; ms each, and the driver's memory in MiB")
        print(f"{'until':>8} {'Rayfleet':>18} {'Optuna in memory':>18}")
        for place, (mine, other) in enumerate(zip(ours.points(), theirs.points(), strict=False)):
            cells = (f"{each[0]:8.1f} {each[1]:8.0f}" for each in (mine, other))
            print(f"{(place + 1) * part:>8}", *(f"{cell:>18}" for cell in cells), flush=True)


def crowd(n_trials: int) -> None:
    """Run trials that wait for each other, all at one time, on fractions of the cores."""
    cpu = (os.cpu_count() or 1) / n_trials
    with tempfile.TemporaryDirectory() as name:
        everybody = Path(name) / "everybody"
        task = trivial_task(
            n_trials,
            resources={"cpu": cpu},
            options={"until": str(everybody), "at_most_s": CROWD_AT_MOST_S},
            max_concurrent=n_trials,
        )
        watch = Crowd(n_trials, everybody)
        with ray_cluster(task.spec.resources) as cluster:
            took_s = run_sweep(task, cluster, Path(name) / "ours", observers=[watch])
    print(f"{n_trials} trials at a time on {os.cpu_count()} cores, {took_s:.0f} s")
    print(f"most at once {watch.most}, ends: {dict(watch.states)}")
    if watch.all_after_s is not None:
        print(f"all run after {watch.all_after_s:.0f} s, {watch.all_after_s / n_trials:.2f} s each")
    print(f"most memory of the driver and all below it: {watch.most_bytes / 1024**3:.1f} GiB")
    met = watch.most == watch.states["complete"] == n_trials and watch.most_bytes <= CROWD_BAR_BYTES
    print(f"{'met' if met else 'missed'}: all at once, none fails, 16 GiB")


def mlflow_callback(folder: Path) -> Any:
    """Optuna's own, one run for each trial, on SQLite like ours."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    uri = f"sqlite:///{folder / 'optuna.db'}"
    return MLflowCallback(tracking_uri=uri, metric_name="accuracy")


def run_optuna(
    n_trials: int, callbacks: list[Any], sampler: optuna.samplers.BaseSampler | None = None
) -> float:
    """Run as many trials of nothing in Optuna's loop, returning seconds."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize", sampler=sampler or optuna.samplers.TPESampler(seed=0)
    )
    # MLflow's first start creates its tables, which ours did before, too.
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), 1, callbacks=callbacks)
    began_at_s = time.monotonic()
    study.optimize(lambda trial: trial.suggest_float("x", 0.0, 1.0), n_trials, callbacks=callbacks)
    return time.monotonic() - began_at_s


class Curve:
    """Time and memory after every so many trials; an observer of the book."""

    def __init__(self, part: int) -> None:
        self._part = part
        self._count = 0
        self._marks = [(time.monotonic(), 0.0)]

    def on_start(self, trial: Trial) -> None:
        """Begin the clock with the first trial."""
        if trial.number == 0:
            self._marks = [(time.monotonic(), 0.0)]

    def on_report(self, trial: Trial) -> None:
        """Need nothing of it."""

    def on_end(self, trial: Trial) -> None:
        """Count a trial."""
        self.tick()

    def tick(self) -> None:
        """Count a trial."""
        self._count += 1
        if self._count % self._part == 0:
            self._marks.append((time.monotonic(), psutil.Process().memory_info().rss / 1024**2))

    def points(self) -> list[tuple[float, float]]:
        """Milliseconds a trial and MiB, part by part."""
        return [
            (1000 * (after[0] - before[0]) / self._part, after[1])
            for before, after in pairwise(self._marks)
        ]


class Crowd:
    """How many trials ran at one time, and what memory they took; an observer of the book."""

    def __init__(self, n_trials: int, everybody: Path) -> None:
        """Watch so many trials; make the file `everybody` once all of them run."""
        self._n_trials = n_trials
        self._everybody = everybody
        self._began_at_s = 0.0
        self._working: set[int] = set()
        self.most = 0
        self.most_bytes = 0
        self.all_after_s: float | None = None
        self.states: Counter[str] = Counter()

    def on_start(self, trial: Trial) -> None:
        """Begin the clock; that an actor has started, its first report tells."""
        if trial.number == 0:
            self._began_at_s = time.monotonic()

    def on_report(self, trial: Trial) -> None:
        """Count those that have reported and not ended."""
        self._working.add(trial.number)
        self.most = max(self.most, len(self._working))
        if len(self._working) == self._n_trials and self.all_after_s is None:
            self.all_after_s = time.monotonic() - self._began_at_s
            # Takes seconds with so many processes, so it is done while all of them wait.
            self.most_bytes = _memory_bytes()
            self._everybody.touch()

    def on_end(self, trial: Trial) -> None:
        """Count ends by their kinds."""
        self._working.discard(trial.number)
        self.states[str(trial.state)] += 1


def _memory_bytes() -> int:
    """Unshared memory of this process and all below it."""
    me = psutil.Process()
    return sum(each.memory_full_info().uss for each in [me, *me.children(recursive=True)])


def tune_defaults(n_trials: int) -> None:
    """Run a function trainable as Tune's manual shows it."""

    def trial(config: dict[str, float]) -> None:
        tune.report({"accuracy": config["x"]})

    for name in TUNE_SETTINGS:
        os.environ.pop(name, None)
    with (
        tempfile.TemporaryDirectory() as name,
        ray_cluster(trivial_task(1).spec.resources) as cluster,
    ):
        tuner = tune.Tuner(
            trial,
            param_space={"x": tune.uniform(0.0, 1.0)},
            tune_config=tune.TuneConfig(num_samples=n_trials),
            run_config=tune.RunConfig(storage_path=name, verbose=0),
        )
        began_at_s = time.monotonic()
        tuner.fit()
        took_s = time.monotonic() - began_at_s
    print(f"Tune's defaults, {n_trials} trials of nothing on {cluster.capacity} cores")
    print(f"{took_s:.1f} s, {1000 * took_s / n_trials:.0f} ms each")


if __name__ == "__main__":
    main()
