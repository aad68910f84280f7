"""What one process does of a trial, apart from who asks for it: Tune's actor, or a gang.

Apart from Ray, too: the workers of a gang need neither Tune nor its schedulers.
"""

import pickle
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Protocol, cast

from tuning.checkpoints import CheckpointFile, checkpoint_path
from tuning.crossvalidation import Checkpoint, Report, cross_validate, cut_folds, deciding
from tuning.data import Labels, Rows
from tuning.exploring import Segment, extended, one_epoch
from tuning.flavors import require_flavor
from tuning.measuring import measure
from tuning.modelstore import Logged, ModelStore
from tuning.probes import require_server
from tuning.quiet import muted_stderr
from tuning.space import Params
from tuning.tracing import open_trial_traces
from tuning.trainers.trainer import Evolving, Metrics, Workers
from tuning.workload import Workload, fit_rows

ERROR = "error"
"""Key of a step's traceback: what a trainer raises is its trial's outcome, not the process's."""


class Work(Protocol):
    """What each process of a team does."""

    def close(self) -> None:
        """Send what is left to send: the process may end."""
        ...


class Team(Protocol):
    """Who works on a trial: this process, or several that are called alike."""

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of everyone's work, and return what worker 0 returns."""
        ...

    def close(self) -> None:
        """End the work, and the other processes, if there are any."""
        ...


class Alone:
    """This process is the team."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the work."""
        return getattr(self._work, method)(*args)

    def close(self) -> None:
        """End the work."""
        self._work.close()


def make_team(
    make_work: Callable[[Workload, Workers], Work], workload: Workload, shared: Sequence[Any]
) -> Team:
    """Gather the processes that a trial trains on, in the placement group of this actor.

    Args:
        make_work: Class of the work.
        workload: What it is given.
        shared: An object reference of the workload, which a gang hands on.
    """
    if not workload.resources.gang:
        return Alone(make_work(workload, Workers()))
    from tuning.gang import Gang, this_placement_group  # noqa: PLC0415, Ray Train takes seconds

    return Gang(make_work, workload, shared[0], this_placement_group())


class FoldsWork:
    """Fold after fold, one report at a time."""

    def __init__(self, workload: Workload, workers: Workers) -> None:
        self._workload = workload
        self._workers = workers
        self._trainer = workload.make_trainer(workers)
        self._folds = cut_folds(workload.rows, workload.labels, workload.folds)
        # Of workers that do the same, one tells.
        self._traces = None if workers.rank else open_trial_traces(workload.traces)
        self._reports: Iterator[Report] = iter(())

    def begin(
        self, number: int, params: Params, start: Checkpoint | None, trace: str | None = None
    ) -> None:
        """Start a trial, or go on with one from its checkpoint.

        Args:
            number: The trial's.
            params: The trial's.
            start: Where it goes on; None is the start.
            trace: The trial's span; None where it has none.
        """
        reports = cross_validate(
            self._trainer,
            params,
            self._folds,
            metric=self._workload.metric,
            epochs=self._workload.problem.epochs,
            checkpoints=self._checkpoints(number, params, start),
        )
        if self._traces is not None:
            reports = self._traces.folds(reports, trace)
        self._reports = self._measured(reports, params)

    def step(self) -> dict[str, Any]:
        """Work until the next report."""
        try:
            report = next(self._reports)
        except Exception:  # noqa: BLE001, whatever a trainer raises is its trial's outcome
            # An exception that left this method would cost the process.
            return {ERROR: traceback.format_exc(), "done": True}
        return {
            "report": report,
            "mean": report.mean,
            "progress": report.progress,
            "done": report.complete,
        }

    def close(self) -> None:
        """Send the last spans."""
        self._reports = iter(())
        if self._traces is not None:
            self._traces.close()

    def _measured(self, reports: Iterator[Report], params: Params) -> Iterator[Report]:
        for report in reports:
            if report.complete and self._workload.measured:
                yield replace(report, measured=self._measure(params))
            else:
                yield report

    def _measure(self, params: Params) -> Metrics:
        workload = self._workload
        model = self._trainer.refit(params, workload.rows, workload.labels)
        if self._workers.rank:
            return {}
        return measure(model, require_flavor(self._trainer.flavor), workload.rows)

    def _checkpoints(self, number: int, params: Params, start: Checkpoint | None) -> "_Kept":
        file = None if self._workers.rank else trial_checkpoint(self._workload, number, params)
        return _Kept(start, file)


class PopulationWork:
    """All folds side by side, epoch by epoch."""

    def __init__(self, workload: Workload, workers: Workers) -> None:
        self._workload = workload
        self._trainer = cast("Evolving", workload.make_trainer(workers))
        self._folds = cut_folds(workload.rows, workload.labels, workload.folds)
        self.begin({})

    def begin(self, params: Params) -> None:
        """Start a trial; `load` may follow."""
        self._params = params
        self._states: list[bytes | None] = [None] * len(self._folds)
        self._reports: tuple[Report, ...] = ()
        self._segments: tuple[Segment, ...] = ()

    def step(self) -> dict[str, Any]:
        """Train every fold for one epoch."""
        try:
            return self._epoch()
        except Exception:  # noqa: BLE001, whatever a trainer raises is its trial's outcome
            return {ERROR: traceback.format_exc(), "done": True}

    def save(self) -> bytes:
        """Return all by which this or another trial goes on."""
        return pickle.dumps((self._states, self._reports, self._segments))

    def load(self, saved: bytes) -> None:
        """Go on from there, with parameters of one's own."""
        states, self._reports, self._segments = pickle.loads(saved)  # noqa: S301, ours
        self._states[:] = states

    def close(self) -> None:
        """Nothing is left to send."""

    def _epoch(self) -> dict[str, Any]:
        results = []
        for place, fold in enumerate(self._folds):
            metrics, self._states[place] = one_epoch(
                self._trainer, self._params, fold, self._states[place]
            )
            results.append(metrics)
        self._segments = extended(self._segments, self._params)
        epoch = sum(segment.epochs for segment in self._segments) - 1
        epochs = self._workload.problem.epochs
        self._reports = (
            *self._reports,
            *epoch_reports(results, epoch, epochs, self._workload.metric),
        )
        return {
            "reports": self._reports,
            "params": self._params,
            "segments": self._segments,
            "mean": self._reports[-1].mean,
            "progress": epoch + 1,
            "done": epoch + 1 == epochs,
        }


class FitWork:
    """The winner's model, in the process that fits it; it need not leave it."""

    def __init__(self, workload: Workload, workers: Workers) -> None:
        self._workload = workload
        self._workers = workers

    def fit(self, params: Params, segments: tuple[Segment, ...]) -> None:
        """Fit all training rows with these parameters; with `segments`, as they say."""
        workload = self._workload
        self._trainer = workload.make_trainer(self._workers)
        self._flavor = require_flavor(self._trainer.flavor)
        with muted_stderr():
            self._flavor.prepare()
        self._model = fit_rows(self._trainer, params, workload.rows, workload.labels, segments)

    def score(self, rows: Rows, labels: Labels) -> Metrics:
        """Measure the model."""
        return self._trainer.score(self._model, rows, labels)

    def outputs(self, rows: Rows) -> Any:
        """Answer as the served model will, an array."""
        return None if self._workers.rank else self._flavor.outputs(self._model, rows)

    def model(self) -> Any:
        """Hand the model out."""
        return None if self._workers.rank else self._model

    def log(self, store: ModelStore, arguments: Mapping[str, Any]) -> Logged | None:
        """Log the model from here, which may be where nothing leads to the store."""
        if self._workers.rank:
            return None
        require_server(store.tracking_uri)
        with muted_stderr():
            return store.log(self._flavor, self._model, arguments)

    def close(self) -> None:
        """Nothing is left to send."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """A checkpoint that was read for all workers, and the file of the one that writes."""

    start: Checkpoint | None
    file: CheckpointFile | None

    def load(self) -> Checkpoint | None:
        return self.start

    def offer(self, make: Callable[[], Checkpoint]) -> None:
        if self.file is not None:
            self.file.offer(make)


def trial_checkpoint(
    workload: Workload, number: int, params: Mapping[str, Any]
) -> CheckpointFile | None:
    """Return where a trial's checkpoint is; None if this sweep keeps none."""
    if workload.folder is None:
        return None
    path = checkpoint_path(workload.folder, number)
    return CheckpointFile(path, workload.checkpoint_every_s, dict(params))


def epoch_reports(results: Sequence[Metrics], epoch: int, epochs: int, metric: str) -> list[Report]:
    """Report an epoch of all folds: their means while they train, each at the end."""
    values = [deciding(metrics, metric) for metrics in results]
    if epoch + 1 < epochs:
        names = set.intersection(*(set(metrics) for metrics in results))
        means = {name: fmean(float(each[name]) for each in results) for name in sorted(names)}
        return [Report(0, epoch, epoch + 1, means, fmean(values), False, False)]
    return [
        Report(
            fold=fold,
            epoch=epoch,
            progress=epochs + fold,
            metrics={name: float(value) for name, value in metrics.items()},
            mean=fmean(values[: fold + 1]),
            fold_complete=True,
            complete=fold + 1 == len(results),
        )
        for fold, metrics in enumerate(results)
    ]
