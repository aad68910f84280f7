"""What a trial is worth in one metric, from its reports alone."""

from collections.abc import Mapping, Sequence

from tuning.crossvalidation import Report, fold_scores, mean_and_std

MEASURED = ("model_bytes", "p50_ms", "p99_ms")
"""Metrics of the model that a trial's parameters give when fitted on all training rows."""


def value_of(reports: Sequence[Report], metric: str) -> float | None:
    """Return a metric's mean over the finished folds, or what was measured of the model.

    Returns:
        None if there is neither.
    """
    measured: Mapping[str, float] = reports[-1].measured if reports else {}
    if metric in measured:
        return measured[metric]
    scores = fold_scores(reports, metric)
    return mean_and_std(scores.values())[0] if scores else None
