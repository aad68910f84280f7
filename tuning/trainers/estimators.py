"""Scikit-learn's estimators by the names that a sweep gives them, for classes and for numbers."""

from collections.abc import Callable, Mapping
from typing import Any

from sklearn import ensemble, linear_model, neighbors, neural_network, svm, tree

from tuning.space import Params

Estimators = Mapping[str, Callable[..., Any]]

CLASSIFIERS: Estimators = {
    "adaboost": ensemble.AdaBoostClassifier,
    "decision_tree": tree.DecisionTreeClassifier,
    "extra_trees": ensemble.ExtraTreesClassifier,
    "gradient_boosting": ensemble.HistGradientBoostingClassifier,
    "knn": neighbors.KNeighborsClassifier,
    "logistic_regression": linear_model.LogisticRegression,
    "mlp": neural_network.MLPClassifier,
    "random_forest": ensemble.RandomForestClassifier,
    "svm": svm.SVC,
}

REGRESSORS: Estimators = {
    "adaboost": ensemble.AdaBoostRegressor,
    "decision_tree": tree.DecisionTreeRegressor,
    "extra_trees": ensemble.ExtraTreesRegressor,
    "gradient_boosting": ensemble.HistGradientBoostingRegressor,
    "knn": neighbors.KNeighborsRegressor,
    "lasso": linear_model.Lasso,
    "mlp": neural_network.MLPRegressor,
    "random_forest": ensemble.RandomForestRegressor,
    "ridge": linear_model.Ridge,
    "svm": svm.SVR,
}

SETTINGS: Mapping[str, Params] = {"logistic_regression": {"max_iter": 2000}}
"""Where scikit-learn's own default is too small to converge on ordinary data."""

WITHOUT_THREADS = frozenset({"logistic_regression"})
"""Only warn about `n_jobs`, which has no effect."""
