"""How a trial turns folds into reports, apart from who receives them."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from statistics import fmean, pstdev
from typing import Protocol, overload

import pandas as pd

from tuning.data import Labels, Rows
from tuning.folds import Positions
from tuning.space import Params
from tuning.trainers.trainer import Fold, Metrics, Resumable, Trainer


@dataclass(frozen=True, slots=True)
class Report:
    """Where a trial stands after one more epoch."""

    fold: int
    """Fold that has just been validated, from 0."""

    epoch: int
    """Epoch of this fold, from 0."""

    progress: int
    """Epochs that would be behind the trial if none had ended early; rises strictly."""

    metrics: Mapping[str, float]
    """What this epoch measured."""

    mean: float
    """Mean of the deciding metric, over the finished folds and this one as it stands."""

    fold_complete: bool
    """Whether this was known to be the fold's last epoch."""

    complete: bool
    """Whether all folds are done; nothing follows."""

    measured: Mapping[str, float] = field(default_factory=dict)
    """With the last report: what was measured of the model that these parameters give."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a trial got, for another process to go on from there."""

    reports: tuple[Report, ...]
    """All that were made; at least one."""

    state: bytes | None = None
    """The trainer's, at the last report; None where only finished folds can be kept."""


class Checkpoints(Protocol):
    """Where a trial's last checkpoint is."""

    def load(self) -> Checkpoint | None:
        """Return it; None if there is none."""
        ...

    def offer(self, make: Callable[[], Checkpoint]) -> None:
        """Replace it, or leave it if it is young."""
        ...


def cross_validate(
    trainer: Trainer,
    params: Params,
    folds: Sequence[Fold],
    *,
    metric: str,
    epochs: int,
    checkpoints: Checkpoints | None = None,
) -> Iterator[Report]:
    """Train fold after fold, reporting after every epoch.

    Folds come one after the other, and not side by side, so that a scheduler can stop a
    bad configuration after its first fold, at a fraction of the cost. Where there is a
    checkpoint, its reports are made again, without the work, and the work goes on.

    Raises:
        ValueError: A fold reported nothing, or a deciding metric that is no number.
    """
    start = _usable(checkpoints.load() if checkpoints is not None else None, trainer)
    reports = list(start.reports)
    yield from start.reports
    for number in range(_first_fold(start), len(folds)):
        value = math.nan
        before = [report for report in reports if report.fold < number]
        final = list(fold_scores(_ended(before), metric).values())
        for epoch, metrics in _epochs(trainer, params, folds[number], number, epochs, start):
            value = deciding(metrics, metric)
            report = Report(
                fold=number,
                epoch=epoch,
                progress=number * epochs + epoch + 1,
                metrics={key: float(each) for key, each in metrics.items() if math.isfinite(each)},
                mean=fmean([*final, value]),
                fold_complete=epoch + 1 == epochs,
                complete=epoch + 1 == epochs and number + 1 == len(folds),
            )
            reports.append(report)
            if checkpoints is not None and not report.complete:
                checkpoints.offer(partial(_checkpoint, tuple(reports), trainer))
            yield report
        if math.isnan(value) and not any(report.fold == number for report in reports):
            raise ValueError(f"fold {number} reported no metrics")
    if reports and not reports[-1].complete:
        # The last fold ended before its last epoch, which nobody could foresee.
        progress = len(folds) * epochs
        yield replace(reports[-1], progress=progress, fold_complete=True, complete=True)


def _epochs(
    trainer: Trainer, params: Params, fold: Fold, number: int, epochs: int, start: Checkpoint
) -> Iterator[tuple[int, Metrics]]:
    """Number a fold's epochs, from where it was cut off."""
    last = start.reports[-1] if start.reports else None
    if last is None or last.fold != number or start.state is None:
        yield from enumerate(islice(trainer.train(params, fold), epochs))
    elif isinstance(trainer, Resumable):
        rest = trainer.resume(params, fold, start.state)
        first = last.epoch + 1
        yield from enumerate(islice(rest, epochs - first), start=first)


def _checkpoint(reports: tuple[Report, ...], trainer: Trainer) -> Checkpoint:
    inside = not reports[-1].fold_complete
    state = trainer.state() if inside and isinstance(trainer, Resumable) else None
    return Checkpoint(reports, state)


def _usable(found: Checkpoint | None, trainer: Trainer) -> Checkpoint:
    """Leave out the reports of a fold that has to begin anew."""
    if found is None or not found.reports:
        return Checkpoint(())
    last = found.reports[-1]
    if last.fold_complete or (found.state is not None and isinstance(trainer, Resumable)):
        return found
    return Checkpoint(tuple(report for report in found.reports if report.fold < last.fold))


def _first_fold(start: Checkpoint) -> int:
    if not start.reports:
        return 0
    last = start.reports[-1]
    return last.fold if start.state is not None else last.fold + 1


def _ended(reports: Sequence[Report]) -> Sequence[Report]:
    # That a later fold has begun proves that these are finished.
    return [*reports[:-1], replace(reports[-1], fold_complete=True)] if reports else []


def cut_folds(
    rows: Rows, labels: Labels, folds: Sequence[tuple[Positions, Positions]]
) -> Sequence[Fold]:
    """Cut training rows into folds, by the positions that each fits and validates.

    Each is cut when it is asked for, and not kept: together they would hold the rows as many
    times as there are folds.
    """
    return _Folds(rows, labels, folds)


class _Folds(Sequence[Fold]):
    def __init__(
        self, rows: Rows, labels: Labels, folds: Sequence[tuple[Positions, Positions]]
    ) -> None:
        self._rows = rows
        self._labels = labels
        self._folds = folds

    def __len__(self) -> int:
        return len(self._folds)

    @overload
    def __getitem__(self, place: int) -> Fold: ...

    @overload
    def __getitem__(self, place: slice) -> "_Folds": ...

    def __getitem__(self, place: int | slice) -> "Fold | _Folds":
        if isinstance(place, slice):
            return _Folds(self._rows, self._labels, self._folds[place])
        fit, validate = self._folds[place]
        return Fold(
            rows=take_rows(self._rows, fit),
            labels=self._labels[fit],
            validation_rows=take_rows(self._rows, validate),
            validation_labels=self._labels[validate],
        )


def take_rows(rows: Rows, positions: Positions) -> Rows:
    """Pick rows of a matrix or of a frame."""
    return rows.iloc[positions] if isinstance(rows, pd.DataFrame) else rows[positions]


def fold_scores(reports: Sequence[Report], metric: str) -> dict[int, float]:
    """Take the last value of a metric in each fold that was finished, by fold."""
    last = {report.fold: report for report in reports}
    # A later fold proves that the ones before it are finished.
    if reports and not reports[-1].fold_complete:
        del last[reports[-1].fold]
    return {
        fold: report.metrics[metric]
        for fold, report in sorted(last.items())
        if metric in report.metrics
    }


def mean_and_std(scores: Collection[float]) -> tuple[float, float]:
    """Summarize fold scores; the standard deviation is the population's, over folds."""
    return fmean(scores), pstdev(scores)


def deciding(metrics: Mapping[str, float], metric: str) -> float:
    """Take the value that decides from what was measured.

    Raises:
        ValueError: It is not there, or is no number.
    """
    if metric not in metrics:
        raise ValueError(f"metric {metric!r} was not reported, only: {', '.join(sorted(metrics))}")
    value = float(metrics[metric])
    if not math.isfinite(value):
        raise ValueError(f"metric {metric!r} is {value}, which cannot be compared")
    return value
