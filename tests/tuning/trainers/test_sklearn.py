from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from tests.contracts.trainer import TrainerContract, blobs
from tuning.errors import ConfigError
from tuning.flavors import require_flavor
from tuning.space import Params
from tuning.trainers.estimators import CLASSIFIERS, REGRESSORS
from tuning.trainers.sklearn import SklearnTrainer
from tuning.trainers.trainer import Fold, Problem, Trainer


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


class TestNearestNeighbours(SklearnContract):
    params: ClassVar[Params] = {"estimator": "knn", "n_neighbors": 5}


class TestBoosting(SklearnContract):
    params: ClassVar[Params] = {"estimator": "adaboost", "n_estimators": 20}


class TestTree(SklearnContract):
    params: ClassVar[Params] = {"estimator": "decision_tree", "max_depth": 4}


class TestPerceptron(SklearnContract):
    params: ClassVar[Params] = {"estimator": "mlp", "learning_rate_init": 0.05, "tol": 0.001}


def test_a_model_without_probabilities_has_no_log_loss() -> None:
    rows, labels = blobs(seed=0, n_rows=90)
    columns = tuple(f"x{position}" for position in range(rows.shape[1]))
    trainer = SklearnTrainer(Problem(columns, (), False, 3, 1, 0, 1, False), {})

    (scores,) = trainer.train({"estimator": "svm"}, Fold(rows, labels, rows, labels))

    assert set(scores) == {"accuracy", "balanced_accuracy", "f1_macro"}
    assert scores["accuracy"] >= 0.9


@pytest.mark.parametrize("estimator", sorted(CLASSIFIERS))
def test_a_metric_is_refused_where_it_would_never_be_reported(estimator: str) -> None:
    """Which is where a fit reports less than the trainer says that its kind does."""
    rows, labels = blobs(seed=0, n_rows=90)
    columns = tuple(f"x{position}" for position in range(rows.shape[1]))
    trainer = SklearnTrainer(Problem(columns, (), False, 3, 1, 0, 1, False), {})
    # Small: it is about the names of scores.
    small: dict[str, Params] = {"mlp": {"max_iter": 5}}
    small |= {name: {"n_estimators": 2} for name in ("adaboost", "extra_trees", "random_forest")}
    small["gradient_boosting"] = {"max_iter": 2}
    params: Params = {"estimator": estimator, **small.get(estimator, {})}
    (scores,) = trainer.train(params, Fold(rows, labels, rows, labels))

    refused = []
    for metric in trainer.metrics:
        try:
            trainer.require_reported(params, {metric, "fit_seconds"})
        except ConfigError:
            refused.append(metric)

    assert set(refused) == set(trainer.metrics) - set(scores)


@pytest.mark.parametrize("estimator", sorted(REGRESSORS))
def test_regressors_predict_numbers(estimator: str) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 4))
    values = 100.0 + rows @ [3.0, -2.0, 1.0, 0.0]
    trainer = SklearnTrainer(Problem(("a", "b", "c", "d"), (), False, 0, 1, 0, 1, False), {})
    params: Params = {"estimator": estimator}
    if estimator == "mlp":
        params |= {"max_iter": 2000, "learning_rate_init": 0.1, "tol": 0.01}
    trainer.check(params)

    (scores,) = trainer.train(params, Fold(rows[:150], values[:150], rows[150:], values[150:]))
    model = trainer.refit(params, rows[:150], values[:150])

    assert set(scores) == set(trainer.metrics)
    assert scores["r2"] > 0.6
    assert scores["rmse"] ** 2 == pytest.approx(scores["mse"])
    outputs = require_flavor(trainer.flavor).outputs(model, rows[150:])
    assert outputs.dtype == np.float64
    assert np.mean(np.abs(outputs - values[150:])) == pytest.approx(scores["mae"])


def test_estimators_of_the_other_kind_are_refused() -> None:
    trainer = SklearnTrainer(Problem(("x",), (), False, 0, 1, 0, 1, False), {})

    with pytest.raises(ConfigError, match=r"estimator: 'logistic_regression', allowed: .*ridge"):
        trainer.check({"estimator": "logistic_regression"})


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
