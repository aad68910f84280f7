"""Which trial wins, by the declared rule alone."""

from collections.abc import Iterable
from typing import Literal

from tuning.crossvalidation import fold_scores, mean_and_std
from tuning.ledger import Trial, TrialState


def select(trials: Iterable[Trial], *, metric: str, mode: Literal["max", "min"]) -> Trial | None:
    """Choose the best trial that completed all of its folds.

    Ties go to the lower standard deviation over the folds, then to the earlier trial, so
    that equal records always choose the same.

    Returns:
        The winner; None if no trial completed.
    """
    sign = -1.0 if mode == "max" else 1.0

    def rank(trial: Trial) -> tuple[float, float, int]:
        mean, std = mean_and_std(fold_scores(trial.reports, metric).values())
        return sign * mean, std, trial.number

    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    return min(complete, key=rank, default=None)
