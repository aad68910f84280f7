"""Trials and reports made by hand."""

from typing import Any

from tuning.crossvalidation import Report
from tuning.ledger import Trial, TrialState


def reports(*scores: float, of: int | None = None) -> tuple[Report, ...]:
    """One report a fold, with these accuracies; complete unless there are more folds."""
    n_folds = len(scores) if of is None else of
    return tuple(
        Report(
            fold=fold,
            epoch=0,
            progress=fold + 1,
            metrics={"accuracy": score},
            mean=sum(scores[: fold + 1]) / (fold + 1),
            fold_complete=True,
            complete=fold + 1 == n_folds,
        )
        for fold, score in enumerate(scores)
    )


def trial(number: int, *scores: float, **fields: Any) -> Trial:
    """A trial that completed with these fold scores, unless `fields` says otherwise."""
    complete: dict[str, Any] = {
        "params": {},
        "state": TrialState.COMPLETE,
        "started_at_s": 1.0,
        "ended_at_s": 2.0,
        "reports": reports(*scores),
    }
    return Trial(number=number, draws={}, **(complete | fields))
