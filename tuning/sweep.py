"""The bridge to Ray Tune: it runs the trials that the book hands out.

Tune schedules, reuses actors and stops trials early. It is not asked to remember: the
ledger does that, so Tune's own experiment files are scratch.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.progress_reporter import TrialProgressCallback
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import ConcurrencyLimiter, Searcher

from tuning.book import Book
from tuning.checkpoints import FOLDER, drop_checkpoint
from tuning.folds import Split
from tuning.interruption import as_event
from tuning.ledger import Trial, TrialState
from tuning.population import Population, PopulationTrial
from tuning.resources import ResourcesSpec
from tuning.spec import SweepSpec, Task
from tuning.stopping import Rule, make_rule
from tuning.trainable import SweepTrial

TUNE_SETTINGS = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no CSV, JSON and TensorBoard file per trial
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a failed trial reports an error, no metric
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # ours also hears SIGTERM, by which Ray stops a job
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",  # the ledger remembers; Tune's snapshots cost time
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}
SCRATCH = "tune"
"""Tune's folder in the sweep's; it is removed when the trials have ended."""

HOLDING_TRIALS = (
    "_stopped_trials",
    "_failed_trials",
    "_live_trials",
    "_trial_to_actor",
    "_trials",
    "_trials_to_cache",
    "_trial_metadata",
)
"""Where Tune's controller has trials (Ray 2.60)."""

LOST_PROCESS_RETRIES = 1
"""Restarts of a trial whose process dies without having got any further. An exception is the
trial's outcome, not that."""


def run_trials(
    task: Task,
    workload: Any,
    book: Book,
    *,
    folder: Path,
    max_concurrent: int,
    traced: Callable[[int], str | None] = lambda _: None,
) -> None:
    """Run until every trial has ended.

    Args:
        task: The sweep.
        workload: Object reference of its `Workload`.
        book: Hands out trials and hears how they end.
        folder: Scratch space for Tune, visible to all nodes.
        max_concurrent: Most trials at one time.
        traced: Gives what a trial's actor is told of its span, as a `traceparent`.

    Raises:
        OSError: The ledger could not be written; what it has is whole.
        KeyboardInterrupt: By SIGINT or SIGTERM; trials that ran are left unfinished.
    """
    os.environ.update(TUNE_SETTINGS)
    spec = task.spec
    if book.n_to_run == 0:
        return
    rule = seasoned_rule(spec, task.split, book.trials)
    evolves = spec.scheduler.kind == "pbt"
    with as_event() as interrupted:
        guard = Guard(interrupted)
        tune.run(
            tune.with_parameters(
                PopulationTrial if evolves else SweepTrial, workload=workload, shared=[workload]
            ),
            name=SCRATCH,
            storage_path=str(folder),
            search_alg=ConcurrencyLimiter(
                # A population lives at one time; Tune lets its members take turns.
                BookSearcher(book, guard, traced),
                book.n_to_run if evolves else max_concurrent,
            ),
            scheduler=Population(task) if evolves else RuledScheduler(rule, book),
            callbacks=[BookKeeper(book, rule, guard, folder), _NoReport()],
            num_samples=book.n_to_run,
            resources_per_trial=_reserved(spec.resources),
            reuse_actors=True,
            max_failures=LOST_PROCESS_RETRIES,
            raise_on_failed_trial=False,
            stop=_StopWhen(interrupted),
            verbose=0,
        )
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    if guard.error is not None:
        raise guard.error
    if not interrupted.is_set():
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
    if interrupted.is_set():
        raise KeyboardInterrupt


def _reserved(resources: ResourcesSpec) -> dict[str, float] | tune.PlacementGroupFactory:
    if not resources.gang:
        return {"cpu": resources.cpu, "gpu": resources.gpu}
    # Tune's actor only passes on what its workers say: an empty bundle.
    bundles = [{}, *([resources.per_worker] * resources.num_workers)]
    return tune.PlacementGroupFactory(bundles, strategy=resources.placement_strategy)


def seasoned_rule(spec: SweepSpec, split: Split, trials: Iterable[Trial]) -> Rule:
    """Build the rule of the scheduler and show it the trials that ended before a resume."""
    rule = make_rule(
        spec.scheduler,
        metric=spec.metric,
        mode=spec.mode,
        n_folds=spec.folds.n_folds,
        n_reports=spec.n_reports,
        test_share=split.test_share,
        limits=spec.limits,
    )
    # Failed ones, too: until they failed, others were held against them.
    ended = [trial for trial in trials if trial.state is not TrialState.RUNNING]
    for trial in sorted(ended, key=lambda trial: trial.ended_at_s or 0.0):
        show(rule, trial)
    return rule


class Guard:
    """Keeps an error of the ledger's disk out of Tune, which would bury it, and ends the sweep."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event
        self.error: OSError | None = None
        """The first one."""

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Catch what the block raises, and stop the sweep."""
        try:
            yield
        except OSError as error:
            self.error = self.error or error
            self._event.set()


class BookSearcher(Searcher):
    """Asks the book for trials when Tune has room for one."""

    def __init__(
        self, book: Book, guard: Guard, traced: Callable[[int], str | None] = lambda _: None
    ) -> None:
        super().__init__(metric="mean", mode="max")
        self._traced = traced
        self._book = book
        self._guard = guard

    def suggest(self, trial_id: str) -> Any:
        """Return the next trial's number and parameters, or that there is none."""
        trial = None
        with self._guard():
            trial = self._book.next()
        if trial is None:
            return Searcher.FINISHED
        told = self._traced(trial.number)
        config = {"number": trial.number, "params": trial.params}
        return config if told is None else {**config, "trace": told}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Nothing to do: `BookKeeper` hears of it, with the reason."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger remembers."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore, as above."""


class BookKeeper(tune.Callback):
    """Writes into the book what Tune hears from its actors, and tells the rule of ends."""

    def __init__(self, book: Book, rule: Rule, guard: Guard, folder: Path) -> None:
        self._book = book
        self._rule = rule
        self._guard = guard
        self._folder = folder
        self._errors: dict[int, str] = {}
        self._furthest: dict[int, int] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Note that a trial has an actor; on a cluster that grows, it may have waited for one."""
        self._book.begin(trial.config["number"])

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """Pass on a report, or keep the traceback that came in its place."""
        number = trial.config["number"]
        progress = result.get("progress", 0)
        if progress > self._furthest.get(number, 0):
            self._furthest[number] = progress
            # Tune counts all losses of a trial (Ray 2.60), and a long one on machines that are
            # taken away may have many. What got further is worth another attempt.
            trial.run_metadata.num_failures = 0
        if "error" in result:
            self._errors[number] = result["error"]
        elif "report" in result:
            self._book.report(number, result["report"])
        elif "segments" in result:
            changed = result["params"], result["segments"], result["reports"]
            self._book.take_over(number, *changed)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close a trial that ended by itself or was stopped by the scheduler."""
        number = trial.config["number"]
        self._end(number, self._errors.pop(number, None))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Close a trial whose actor could not be built, or died too often."""
        error = "the trial's process died"
        # Where Tune writes it first; `get_error` looks where it has not copied it yet (Ray 2.60).
        with suppress(OSError, TypeError):
            error = Path(trial.error_file).read_text()
        self._end(trial.config["number"], error, lost=True)

    def _end(self, number: int, error: str | None, *, lost: bool = False) -> None:
        self._furthest.pop(number, None)
        with self._guard():
            self._book.end(number, error, lost=lost)
            if not lost:  # a resume goes on from there
                drop_checkpoint(self._folder, number)
        self._rule.learn(self._book.trial(number))


class _NoReport(TrialProgressCallback):
    """Stands where Tune would put its own, which keeps all trials to print what is printed here."""

    def on_trial_result(self, *_: Any, **__: Any) -> None:
        """Print nothing."""

    def on_trial_error(self, *_: Any, **__: Any) -> None:
        """Print nothing."""

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        """Print nothing."""


class RuledScheduler(FIFOScheduler):
    """Asks a rule which trials go on.

    It gives an actor that is free to the trial that has none. Tune serves the oldest
    pending trial first. While actors still start, that is one whose own actor is on its
    way: Tune would kill it in favor of the free one and start another for the newer trial,
    so that short trials never got a second actor (Ray 2.60).
    """

    def __init__(self, rule: Rule, book: Book) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rule = rule
        self._book = book

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """Return the newest pending trial; None if there is none."""
        _forget_ended(tune_controller)
        # Of all trials, there may be thousands.
        live = tune_controller.get_live_trials()
        pending = [trial for trial in live if trial.status == "PENDING"]
        return max(pending, key=lambda trial: trial.config["number"], default=None)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: Any) -> str:
        """Stop a trial if the rule says so. The book hears of the report afterwards."""
        report = result.get("report")
        known = self._book.trial(trial.config["number"])
        if report is not None and self._rule.stops(known, report):
            return TrialScheduler.STOP
        return TrialScheduler.CONTINUE

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles it into its snapshots, which are never read.
        return FIFOScheduler, ()


def _forget_ended(tune_controller: Any) -> None:
    """Let go of trials that have ended, and whose actors are free.

    Tune keeps them for its analysis, which nobody reads here: 9 KiB each, so 90 MiB of 10,000
    (Ray 2.60). The book has what they found. There is no public way to drop one.
    """
    stopped, failed, live, acting, everything, to_cache, cached = (
        getattr(tune_controller, name) for name in HOLDING_TRIALS
    )
    for trial in (stopped | failed) - live - acting.keys():
        everything.remove(trial)
        for kept in (stopped, failed, to_cache):
            kept.discard(trial)
        cached.pop(trial.trial_id, None)


class _StopWhen(tune.Stopper):
    """Stops all trials once an event is set."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._event.is_set()

    def __reduce__(self) -> tuple[Any, ...]:
        # Tune pickles it into its snapshots, which are never read; an event would refuse.
        return tune.stopper.noop.NoopStopper, ()


def show(rule: Rule, trial: Trial) -> None:
    """Let a rule see a trial that ended, report after report."""
    for place, report in enumerate(trial.reports):
        if not report.complete:
            rule.stops(replace(trial, reports=trial.reports[:place]), report)
    rule.learn(trial)
