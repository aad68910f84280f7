"""How far predictions are from the truth, for every trainer alike."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss

from tuning.data import Labels
from tuning.trainers.trainer import Metrics

CLASSIFICATION_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "log_loss")
"""What `classification_metrics` measures; all but the log loss lie in [0, 1], more is better."""


def classification_metrics(
    labels: Labels, predicted: Labels, probabilities: NDArray[np.floating]
) -> Metrics:
    """Compare predictions with the truth.

    Args:
        labels: True class codes, shape (rows,).
        predicted: Class codes that the model answers, shape (rows,).
        probabilities: Of each class, shape (rows, classes).
    """
    classes = np.arange(probabilities.shape[1])
    # A float32 row sums to one less precisely than scikit-learn demands.
    shares = probabilities.astype(np.float64)
    shares /= shares.sum(axis=1, keepdims=True)
    return {
        "accuracy": float(np.mean(labels == predicted)),
        "balanced_accuracy": float(balanced_accuracy_score(labels, predicted)),
        "f1_macro": float(f1_score(labels, predicted, average="macro", zero_division=0)),
        "log_loss": float(log_loss(labels, shares, labels=classes)),
    }
