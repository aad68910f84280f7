from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from tests.contracts.trainer import TrainerContract
from tuning.errors import ConfigError
from tuning.space import Params
from tuning.trainers.sklearn import SklearnTrainer
from tuning.trainers.trainer import Problem, Trainer


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """What a trial gets; more would wait for each other longer than the blobs take."""
    with threadpool_limits(1):
        yield


class SklearnContract(TrainerContract):
    bad_params: ClassVar[Params] = {"estimator": "logistic_regression", "depth": 3}

    def make(self, problem: Problem) -> Trainer:
        return SklearnTrainer(problem, {})


class TestLogisticRegression(SklearnContract):
    params: ClassVar[Params] = {"estimator": "logistic_regression", "C": 1.0}


class TestRandomForest(SklearnContract):
    params: ClassVar[Params] = {"estimator": "random_forest", "n_estimators": 10}


class TestGradientBoosting(SklearnContract):
    params: ClassVar[Params] = {"estimator": "gradient_boosting", "max_iter": 5}


def test_text_and_gaps_go_through_the_pipeline() -> None:
    rows = pd.DataFrame(
        {
            "size": [1.0, 1.2, np.nan, 3.0, 3.3, 3.1],
            "color": pd.Series(["red", "red", np.nan, "blue", "blue", "blue"], dtype=object),
        }
    )
    labels = np.array([0, 0, 0, 1, 1, 1])
    problem = Problem(("size", "color"), ("color",), True, 2, 1, 0, 1, False)

    model = SklearnTrainer(problem, {}).refit({"estimator": "logistic_regression"}, rows, labels)

    unseen = pd.DataFrame({"size": [1.1, 3.2], "color": ["red", "a color never seen"]})
    assert model.predict(unseen).tolist() == [0, 1]


@pytest.mark.parametrize("gaps", [True, False])
def test_imputer_costs_time_only_where_values_are_missing(gaps: bool) -> None:
    problem = Problem(("x",), (), gaps, 2, 1, 0, 1, False)
    rows, labels = np.array([[0.0], [0.1], [1.0], [1.1]]), np.array([0, 0, 1, 1])

    model = SklearnTrainer(problem, {}).refit({"estimator": "logistic_regression"}, rows, labels)

    assert ("simpleimputer" in model.named_steps) == gaps


def test_several_epochs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"epochs: 3: .* allowed: 1"):
        SklearnTrainer(Problem(("x",), (), False, 2, 3, 0, 1, False), {})
