"""What a report is about: a sweep's record, and what only its end could know."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tuning.crossvalidation import fold_scores, mean_and_std
from tuning.data import Labels
from tuning.goals import Constraint, broken, pareto_set
from tuning.ledger import Manifest, Outcome, Trial, TrialState
from tuning.selection import select
from tuning.spec import SweepSpec
from tuning.values import value_of

ENDING_FILE = "ending.json"
"""Beside a sweep's trials."""

MOST_PREDICTIONS = 1000
"""Hold-out rows whose residuals are kept and drawn."""

PACKAGES = ("rayfleet", "ray", "optuna", "mlflow", "numpy", "scikit-learn", "torch", "tensorflow")


class Ending(msgspec.Struct, frozen=True):
    """What is not in the ledger's trials: how the sweep was called, what its winner did."""

    spec: dict[str, Any]
    """All of it, also what an unfinished sweep may change."""

    command: str
    commit: str | None
    """Of the working directory; a plus follows where it had changes."""

    versions: dict[str, str]
    """Of the packages that computed it."""

    rows: tuple[int, int]
    """Training and hold-out rows."""

    columns: int
    classes: tuple[str, ...]
    sweep_run_id: str
    trial_run_id: str | None = None
    """Of the winner."""

    holdout: dict[str, float] = {}
    """The winner's metrics on the hold-out; empty where it was not fitted."""

    confusion: list[list[int]] | None = None
    """Hold-out rows by true class, then by predicted class."""

    predictions: list[tuple[float, float]] | None = None
    """Of a regression: what was measured and what was predicted, of hold-out rows spread
    evenly over the measured values."""

    refused: str | None = None
    """Why the winner was not registered."""


@dataclass(frozen=True)  # no slots, which would leave nowhere to keep what is computed once
class Facts:
    """All that a page shows."""

    spec: SweepSpec
    manifest: Manifest
    trials: Sequence[Trial]
    ending: Ending | None

    @property
    def sign(self) -> float:
        """1.0 where more is better, -1.0 where less is."""
        return 1.0 if self.spec.mode == "max" else -1.0

    @property
    def outcome(self) -> Outcome | None:
        """The version, if there is one."""
        return self.manifest.outcome

    @cached_property
    def winner(self) -> Trial | None:
        """The trial that won, or would win by the sweep's own rule."""
        if self.outcome is not None:
            return next(each for each in self.trials if each.number == self.outcome.trial)
        return select(self.front, metric=self.spec.metric, mode=self.spec.mode)

    @cached_property
    def complete(self) -> list[Trial]:
        """Trials with a score, the best first; those that break a bound follow the others."""
        done = [each for each in self.trials if each.state is TrialState.COMPLETE]
        return sorted(
            done,
            key=lambda each: (bool(self.broken(each)), -self.sign * self.score(each), each.number),
        )

    @cached_property
    def feasible(self) -> list[Trial]:
        """Trials that could win, the best first: complete, and within the sweep's bounds."""
        return [each for each in self.complete if not self.broken(each)]

    @cached_property
    def front(self) -> list[Trial]:
        """Trials among which the winner is chosen: with several objectives, the Pareto set."""
        return pareto_set(self.feasible, self.spec.goals) if self.spec.objectives else self.feasible

    @cached_property
    def further_metrics(self) -> list[str]:
        """What objectives and bounds are about beside the deciding metric."""
        named = [
            *(goal.metric for goal in self.spec.goals),
            *(each.metric for each in self.spec.limits),
        ]
        return [name for name in dict.fromkeys(named) if name != self.spec.metric]

    def broken(self, trial: Trial) -> list[Constraint]:
        """The bounds that a complete trial does not keep."""
        return broken(trial, self.spec.limits)

    def value(self, trial: Trial, metric: str) -> float | None:
        """What a trial is worth in a metric; None where that is not known."""
        return value_of(trial.reports, metric)

    def scores(self, trial: Trial) -> list[float]:
        """The deciding metric in each finished fold of a trial."""
        return list(fold_scores(trial.reports, self.spec.metric).values())

    def score(self, trial: Trial) -> float:
        """The mean of a complete trial's folds."""
        return mean_and_std(self.scores(trial))[0]


def write_ending(folder: Path, ending: Ending) -> None:
    """Keep what the report of a sweep will want to know."""
    unfinished = folder / f"{ENDING_FILE}.part"
    unfinished.write_bytes(msgspec.json.encode(ending))
    unfinished.replace(folder / ENDING_FILE)


def read_ending(folder: Path) -> Ending | None:
    """Read what was kept; None where the sweep never came that far."""
    try:
        return msgspec.json.decode((folder / ENDING_FILE).read_bytes(), type=Ending)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def thin_predictions(
    measured: NDArray[Any], predicted: NDArray[Any], most: int = MOST_PREDICTIONS
) -> list[tuple[float, float]]:
    """Pair measured with predicted numbers, by rising measured ones; at most so many pairs."""
    order = np.argsort(measured, kind="stable")
    kept = order[np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int)]
    pairs = zip(measured[kept].tolist(), predicted[kept].tolist(), strict=True)
    return [(float(one), float(other)) for one, other in pairs]


def confusion_matrix(
    labels: Labels, predicted: NDArray[np.int64], n_classes: int
) -> list[list[int]]:
    """Count rows by true class, then by predicted class."""
    counts = np.zeros((n_classes, n_classes), dtype=np.int64)
    np.add.at(counts, (labels.astype(np.int64), predicted), 1)
    matrix: list[list[int]] = counts.tolist()
    return matrix


def installed_versions() -> Mapping[str, str]:
    """List what computed a sweep."""
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
