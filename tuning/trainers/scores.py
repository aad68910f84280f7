"""How far predictions are from the truth, for every trainer alike."""

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, r2_score

from tuning.data import Labels
from tuning.trainers.trainer import Metrics

CLASSIFICATION_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss")
"""What `classification_metrics` measures; all but the log loss lie in [0, 1], more is better."""

PROBABILISTIC_METRICS = frozenset({"log_loss"})
"""Those of them that are made from probabilities."""

REGRESSION_METRICS = ("r2", "rmse", "mse", "mae")
"""What `regression_metrics` measures; of r2 more is better, at most 1, of the errors less."""


def classification_metrics(
    labels: Labels, predicted: Labels, probabilities: NDArray[np.floating] | None
) -> Metrics:
    """Compare predictions with the truth.

    Args:
        labels: True class codes, shape (rows,).
        predicted: Class codes that the model answers, shape (rows,).
        probabilities: Of each class, shape (rows, classes); None where the model has none, and
            so no log loss.
    """
    scores = {
        "accuracy": float(np.mean(labels == predicted)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
    }
    if probabilities is None:
        return scores
    classes = np.arange(probabilities.shape[1])
    # A float32 row sums to one less precisely than scikit-learn demands.
    shares = probabilities.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    return {**scores, "log_loss": float(log_loss(labels, shares, labels=classes))}


def regression_metrics(labels: Labels, predicted: NDArray[np.floating]) -> Metrics:
    """Compare predictions with what was measured, both of shape (rows,).

    A single row has no r2, which is NaN then.
    """
    residuals = np.asarray(labels, dtype=np.float64) - predicted
    mse = float(np.mean(residuals**2))
    r2 = float(r2_score(labels, predicted)) if len(labels) > 1 else math.nan
    return {"r2": r2, "rmse": math.sqrt(mse), "mse": mse, "mae": float(np.mean(abs(residuals)))}
