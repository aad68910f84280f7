"""What a trial's run shows in MLflow, derived from the trial's reports alone."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuning.crossvalidation import Report, fold_scores, mean_and_std


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric."""

    key: str
    value: float
    step: int


def metric_points(reports: Sequence[Report], *, epochs: int) -> list[Point]:
    """Derive what a trial's run shows from its reports.

    Every metric of a finished fold appears under its own name with the fold as step; with
    several epochs, also as `fold_K/NAME` with the epoch as step; after the last fold,
    `NAME_mean` and `NAME_std`, and what was measured of the model. Equal reports give equal
    points, so writing is idempotent.
    """
    points = []
    if epochs > 1:
        points += [
            Point(f"fold_{report.fold}/{name}", value, report.epoch)
            for report in reports
            for name, value in report.metrics.items()
        ]
    names = sorted({name for report in reports for name in report.metrics})
    for name in names:
        finished = fold_scores(reports, name)
        points += [Point(name, value, fold) for fold, value in finished.items()]
        if reports[-1].complete and finished:
            mean, std = mean_and_std(finished.values())
            points += [Point(f"{name}_mean", mean, 0), Point(f"{name}_std", std, 0)]
    if reports[-1].complete:
        points += [Point(name, value, 0) for name, value in reports[-1].measured.items()]
    return points
