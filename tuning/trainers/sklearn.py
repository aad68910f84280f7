"""Scikit-learn estimators, each in a pipeline with the preprocessing that it needs."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tuning.configfile import unknown_key
from tuning.data import Labels, Rows
from tuning.errors import ConfigError
from tuning.space import Params
from tuning.trainers.estimators import CLASSIFIERS, REGRESSORS, SETTINGS, WITHOUT_THREADS
from tuning.trainers.scores import (
    CLASSIFICATION_METRICS,
    PROBABILISTIC_METRICS,
    REGRESSION_METRICS,
    classification_metrics,
    regression_metrics,
)
from tuning.trainers.trainer import Fold, Metrics, Problem


class SklearnTrainer:
    """Fits the estimator that the parameter `estimator` names, on all rows in one go.

    The other parameters are the estimator's own, by scikit-learn's names.
    """

    flavor = "sklearn"
    row_shape: tuple[int, ...] | None = None

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        if options:
            raise ConfigError(f"options: {sorted(options)}: the sklearn trainer has none")
        if problem.epochs != 1:
            raise ConfigError(
                f"epochs: {problem.epochs}: the sklearn trainer fits once, allowed: 1"
            )
        self._problem = problem
        self._estimators = REGRESSORS if problem.regression else CLASSIFIERS
        self.metrics = REGRESSION_METRICS if problem.regression else CLASSIFICATION_METRICS

    def check(self, params: Params) -> None:
        """Refuse unknown estimators, parameters that they do not have, and impossible values."""
        if params.get("estimator") not in self._estimators:
            allowed = ", ".join(sorted(self._estimators))
            raise ConfigError(f"estimator: {params.get('estimator')!r}, allowed: {allowed}")
        known = self._estimator({"estimator": params["estimator"]}).get_params()
        for name in params:
            if name != "estimator" and name not in known:
                raise ConfigError(f"{params['estimator']}: {unknown_key(name, allowed=known)}")
        try:
            # What `fit` would begin with.
            self._estimator(params)._validate_params()  # noqa: SLF001, scikit-learn's developer API
        except ValueError as error:
            raise ConfigError(f"{params['estimator']}: {error}") from None

    def require_reported(self, params: Params, metrics: Collection[str]) -> None:
        """Refuse estimators without probabilities where a metric is made from them."""
        wanting = sorted(PROBABILISTIC_METRICS.intersection(metrics, self.metrics))
        if wanting and not self._has_probabilities(params):
            able = (
                name for name in self._estimators if self._has_probabilities({"estimator": name})
            )
            raise ConfigError(
                f"estimator: {params['estimator']!r}: predicts no probabilities, so it never "
                f"reports {', '.join(map(repr, wanting))}, allowed: {', '.join(sorted(able))}"
            )

    def _has_probabilities(self, params: Params) -> bool:
        return hasattr(self._estimator(params), "predict_proba")

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Fit and validate; there are no epochs to report between."""
        model = self.refit(params, fold.rows, fold.labels)
        yield self.score(model, fold.validation_rows, fold.validation_labels)

    def refit(self, params: Params, rows: Rows, labels: Labels) -> Pipeline:
        """Return a fitted pipeline."""
        return make_pipeline(*self._preprocessing(), self._estimator(params)).fit(rows, labels)

    def score(self, model: Pipeline, rows: Rows, labels: Labels) -> Metrics:
        """Measure what `predict` answers, and the probabilities behind it, if there are any."""
        predicted = model.predict(rows)
        if self._problem.regression:
            return regression_metrics(labels, np.asarray(predicted, dtype=np.float64))
        shares = model.predict_proba(rows) if hasattr(model, "predict_proba") else None
        return classification_metrics(labels, np.asarray(predicted, dtype=np.int64), shares)

    def _estimator(self, params: Params) -> Any:
        name = str(params["estimator"])
        given = {key: value for key, value in params.items() if key != "estimator"}
        estimator = self._estimators[name](**SETTINGS.get(name, {}) | given)
        # Not every estimator has all three, and a parameter that is given wins.
        ours = {"random_state": self._problem.seed, "n_jobs": self._threads(name)}
        known = estimator.get_params()
        return estimator.set_params(
            **{key: value for key, value in ours.items() if key in known and key not in given}
        )

    def _threads(self, name: str) -> int | None:
        return None if name in WITHOUT_THREADS else self._problem.n_threads

    def _preprocessing(self) -> list[Any]:
        numbers = [StandardScaler()]
        # An imputer costs a tenth of a millisecond per prediction: only where it works.
        if self._problem.missing:
            numbers.insert(0, SimpleImputer(strategy="median"))
        text = self._problem.text_columns
        if not text:
            return numbers
        plain = [name for name in self._problem.columns if name not in text]
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        categories = make_pipeline(SimpleImputer(strategy="most_frequent"), encoder)
        return [
            ColumnTransformer(
                [("numbers", make_pipeline(*numbers), plain), ("text", categories, list(text))]
            )
        ]
