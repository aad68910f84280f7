"""How a trial turns folds into reports, apart from who receives them."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from statistics import fmean, pstdev

import pandas as pd

from tuning.data import Labels, Rows
from tuning.folds import Positions
from tuning.space import Params
from tuning.trainers.trainer import Fold, Trainer


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


def cross_validate(
    trainer: Trainer, params: Params, folds: Sequence[Fold], *, metric: str, epochs: int
) -> Iterator[Report]:
    """Train fold after fold, reporting after every epoch.

    Folds come one after the other, and not side by side, so that a scheduler can stop a
    bad configuration after its first fold, at a fraction of the cost.

    Raises:
        ValueError: A fold reported nothing, or a deciding metric that is no number.
    """
    final: list[float] = []
    report: Report | None = None
    for number, fold in enumerate(folds):
        value = math.nan
        for epoch, metrics in enumerate(islice(trainer.train(params, fold), epochs)):
            value = _deciding(metrics, metric)
            report = Report(
                fold=number,
                epoch=epoch,
                progress=number * epochs + epoch + 1,
                metrics={key: float(each) for key, each in metrics.items() if math.isfinite(each)},
                mean=fmean([*final, value]),
                fold_complete=epoch + 1 == epochs,
                complete=epoch + 1 == epochs and number + 1 == len(folds),
            )
            yield report
        if math.isnan(value):
            raise ValueError(f"fold {number} reported no metrics")
        final.append(value)
    if report is not None and not report.complete:
        # The last fold ended before its last epoch, which nobody could foresee.
        progress = len(folds) * epochs
        yield replace(report, progress=progress, fold_complete=True, complete=True)


def cut_folds(
    rows: Rows, labels: Labels, folds: Sequence[tuple[Positions, Positions]]
) -> list[Fold]:
    """Cut training rows into folds, by the positions that each fits and validates."""
    return [
        Fold(
            rows=take_rows(rows, fit),
            labels=labels[fit],
            validation_rows=take_rows(rows, validate),
            validation_labels=labels[validate],
        )
        for fit, validate in folds
    ]


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


def _deciding(metrics: Mapping[str, float], metric: str) -> float:
    if metric not in metrics:
        raise ValueError(f"metric {metric!r} was not reported, only: {', '.join(sorted(metrics))}")
    value = float(metrics[metric])
    if not math.isfinite(value):
        raise ValueError(f"metric {metric!r} is {value}, which cannot be compared")
    return value
