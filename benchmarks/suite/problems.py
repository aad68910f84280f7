"""The problems: a model's space, a data set, and what is measured.

Source: bayesmark (Apache-2.0), R. Turner and D. Eriksson, 2020, `sklearn_funcs.py`: ranges,
fixed parameters, data sets, metrics and 5 folds beside a hold-out of 20 %. Ours differ in that
features are scaled, trees and perceptrons have plain or logarithmic scales for logit ones,
and support vectors have no log loss.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tuning.configfile import read_spec
from tuning.data import MEASUREMENTS
from tuning.spec import SweepSpec

FOLDER = Path(__file__).parents[2] / "configs" / "sweeps" / "suite"

MODELS = (
    "knn",
    "svm",
    "decision-tree",
    "random-forest",
    "mlp-adam",
    "mlp-sgd",
    "adaboost",
    "lasso",
    "linear",
)
DATA = ("breast-cancer", "digits", "iris", "wine", "diabetes")
METRICS: Mapping[str, str] = {"accuracy": "max", "log_loss": "min", "mse": "min", "mae": "min"}
"""What can be measured, and whether more of it is better: two of classes, two of numbers."""

OF_NUMBERS = frozenset({"mse", "mae"})


@dataclass(frozen=True, slots=True)
class Problem:
    """What a searcher is set to."""

    model: str
    data: str
    metric: str

    @property
    def title(self) -> str:
        """By which people know it."""
        return f"{self.model}, {self.data}, {self.metric}"

    @property
    def path(self) -> Path:
        """Its sweep; linear models have one of their own for numbers."""
        own = FOLDER / f"{self.model}-regression.yaml"
        measured = self.data in MEASUREMENTS
        return own if measured and own.exists() else FOLDER / f"{self.model}.yaml"

    def spec(self, searcher: str, n_trials: int, seed: int) -> SweepSpec:
        """Put the sweep together."""
        plain = read_spec(self.path, SweepSpec).model_dump(mode="json", by_alias=True)
        folds = {**plain["folds"], "kind": "kfold" if self.data in MEASUREMENTS else "stratified"}
        return SweepSpec.load(
            {
                **plain,
                "data": {"bundled": self.data},
                "folds": folds,
                "metric": self.metric,
                "mode": METRICS[self.metric],
                "searcher": {"kind": searcher},
                "n_trials": n_trials,
                "seed": seed,
            },
            where=self.title,
        )


def problems(
    models: Iterable[str], data: Iterable[str], metrics: Iterable[str]
) -> Iterator[Problem]:
    """Combine what goes together."""
    for model in models:
        for each in data:
            for metric in metrics:
                fits = (metric in OF_NUMBERS) == (each in MEASUREMENTS)
                if fits and (model, metric) != ("svm", "log_loss"):
                    yield Problem(model, each, metric)
