import math

import numpy as np
import pytest

from tuning.trainers.scores import CLASSIFICATION_METRICS, classification_metrics


def test_metrics_agree_with_arithmetic() -> None:
    labels = np.array([0, 0, 0, 1])
    predicted = np.array([0, 0, 1, 1])
    probabilities = np.array([[0.5, 0.5]] * 4, dtype=np.float32)

    metrics = classification_metrics(labels, predicted, probabilities)

    assert set(metrics) == set(CLASSIFICATION_METRICS)
    assert metrics["accuracy"] == 0.75
    # Two of three zeros and the one one were found.
    assert metrics["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    # F1 of zeros: 2*2/(2*2+1) = 0.8; of ones: 2*1/(2*1+1) = 2/3.
    assert metrics["f1_macro"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert metrics["log_loss"] == pytest.approx(math.log(2))


def test_class_absent_from_the_labels_is_no_error() -> None:
    probabilities = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])

    metrics = classification_metrics(np.array([0, 1]), np.array([0, 1]), probabilities)

    assert metrics["log_loss"] == pytest.approx(-math.log(0.8))
