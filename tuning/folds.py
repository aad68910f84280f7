"""How rows are split: a hold-out that no fold ever sees, and folds over the rest."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray

from tuning.configfile import Spec
from tuning.data import Labels
from tuning.errors import ConfigError

Positions = NDArray[np.int64]
"""Row numbers, ascending."""


class FoldsSpec(Spec):
    """Stratified cross-validation beside a stratified hold-out."""

    n_splits: Annotated[int, Ge(2)] = 5
    """Folds; every training row is validated on in exactly one of them."""

    holdout: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Fraction of all rows kept for the final report."""

    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """Of the shuffles; the split depends on nothing else but the labels."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows train, which are held out, and how the former are folded."""

    training: Positions
    """Rows that folds and the final fit may see."""

    holdout: Positions
    """Rows that are scored once, by the registered model."""

    folds: tuple[tuple[Positions, Positions], ...]
    """For each fold the rows it fits and those it validates, as positions in `training`."""


def split_rows(labels: Labels, spec: FoldsSpec) -> Split:
    """Split rows by their labels; equal arguments give equal splits.

    Raises:
        ConfigError: A class has too few rows for the hold-out or for the folds.
    """
    # Its import costs a second, which trials that only receive positions need not pay.
    from sklearn.model_selection import StratifiedKFold, train_test_split  # noqa: PLC0415, as above

    positions = np.arange(len(labels))
    try:
        training, holdout = train_test_split(
            positions, test_size=spec.holdout, stratify=labels, random_state=spec.seed
        )
    except ValueError:
        n_classes = len(np.unique(labels))
        smallest = int(np.unique(labels, return_counts=True)[1].min())
        raise ConfigError(
            f"folds.holdout: {spec.holdout}: {len(labels)} rows of {n_classes} classes, the "
            f"smallest with {smallest}, leave a side without one row of each class"
        ) from None
    training, holdout = np.sort(training), np.sort(holdout)

    smallest = int(np.unique(labels[training], return_counts=True)[1].min())
    if smallest < spec.n_splits:
        raise ConfigError(
            f"folds.n_splits: {spec.n_splits}: the smallest class has {smallest} training rows, "
            f"allowed: 2 to {smallest}"
            if smallest >= 2
            else f"folds.n_splits: {spec.n_splits}: the smallest class has {smallest} training "
            "rows, at least 2 are needed"
        )
    splitter = StratifiedKFold(spec.n_splits, shuffle=True, random_state=spec.seed)
    folds = splitter.split(training, labels[training])
    return Split(training, holdout, tuple((fit, validate) for fit, validate in folds))
