"""How rows are split: a hold-out that no fold ever sees, and folds over the rest."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from numpy.typing import NDArray
from pydantic import model_validator

from tuning.configfile import Spec
from tuning.data import Labels
from tuning.errors import ConfigError

Positions = NDArray[np.int64]
"""Row numbers, ascending."""

REPEATABLE = ("stratified", "kfold", "grouped")
MOST_REPEATS = 100
"""The error of a mean that further passes would take away is far below that of the folds; and
each pass is cut, and held by every actor, before the first trial."""

HOLDOUT_DRAWS = 100
"""Draws of groups among which one has every class on both sides, if that can be."""


class FoldsSpec(Spec):
    """Cross-validation beside a hold-out that is split off in the same manner."""

    kind: Literal["stratified", "kfold", "grouped", "time_series"] = "stratified"
    """What a fold keeps: each class's share; nothing; `data.group`'s rows together; or order,
    so that each fold validates on what comes after the rows that it fits. A regression has no
    classes, so it cannot be `stratified`."""

    n_splits: Annotated[int, Ge(2)] = 5
    """Folds of one pass; but for `time_series`, it validates on every training row once."""

    repeats: Annotated[int, Ge(1), Le(MOST_REPEATS)] = 1
    """Passes, each shuffled anew; not of `time_series`."""

    holdout: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Fraction of all rows kept for the final report; of all groups with `grouped`, the last
    rows with `time_series`."""

    seed: Annotated[int, Ge(0), Le(2**32 - 1)] = 0
    """Of the shuffles; the split depends on nothing else but labels and groups."""

    @model_validator(mode="after")
    def _only_shuffles_repeat(self) -> Self:
        if self.repeats > 1 and self.kind not in REPEATABLE:
            raise ValueError(
                f"repeats: {self.repeats}: {self.kind} folds are the same each time, allowed: 1"
            )
        return self

    @property
    def n_folds(self) -> int:
        """Folds of all passes."""
        return self.n_splits * self.repeats


@dataclass(frozen=True, slots=True)
class Split:
    """Which rows train, which are held out, and how the former are folded."""

    training: Positions
    """Rows that folds and the final fit may see."""

    holdout: Positions
    """Rows that are scored once, by the registered model."""

    folds: tuple[tuple[Positions, Positions], ...]
    """For each fold the rows it fits and those it validates, as positions in `training`."""

    @property
    def test_share(self) -> float:
        """Validation rows of a fold divided by the rows that it fits, on average."""
        return float(np.mean([len(validate) / len(fit) for fit, validate in self.folds]))


def split_rows(labels: Labels, spec: FoldsSpec, groups: NDArray[np.int64] | None = None) -> Split:
    """Split rows; equal arguments give equal splits.

    Args:
        labels: Class codes, or measurements as float64, shape (rows,).
        spec: How.
        groups: Group codes, shape (rows,); what `grouped` keeps together.

    Raises:
        ConfigError: A class, or the groups, have too few rows for the hold-out or the folds.
    """
    measured = labels.dtype.kind == "f"
    if measured and spec.kind == "stratified":
        raise ConfigError(
            "folds.kind: 'stratified': a regression has no classes, allowed: kfold, grouped, "
            "time_series"
        )
    training, holdout = _holdout(labels, spec, groups)
    _require_room(labels[training], spec, None if groups is None else groups[training])
    inside = groups[training] if spec.kind == "grouped" and groups is not None else None
    folds = tuple(
        (np.sort(fit), np.sort(validate))
        for splitter in _splitters(spec, measured=measured)
        for fit, validate in splitter.split(training, labels[training], inside)
    )
    if not measured:
        _require_all_classes(labels, labels[training], spec, folds)
    return Split(training, holdout, folds)


def _holdout(
    labels: Labels, spec: FoldsSpec, groups: NDArray[np.int64] | None
) -> tuple[Positions, Positions]:
    if spec.kind == "grouped":
        if groups is None:
            raise ConfigError("folds.kind: 'grouped': needs data.group, the column of the groups")
        return _grouped_holdout(labels, spec, groups)
    if spec.kind == "time_series":
        return _last_rows(len(labels), spec)
    return _shuffled_holdout(labels, spec)


def _splitters(spec: FoldsSpec, *, measured: bool) -> list[Any]:
    """What cuts the folds, pass after pass."""
    # Its import costs a second, which trials that only receive positions need not pay.
    from sklearn import model_selection  # noqa: PLC0415, as above

    shuffled = {"shuffle": True, "random_state": spec.seed}
    repeated = {"n_splits": spec.n_splits, "n_repeats": spec.repeats, "random_state": spec.seed}
    match spec.kind, spec.repeats:
        case "stratified", 1:
            return [model_selection.StratifiedKFold(spec.n_splits, **shuffled)]
        case "stratified", _:
            return [model_selection.RepeatedStratifiedKFold(**repeated)]
        case "kfold", 1:
            return [model_selection.KFold(spec.n_splits, **shuffled)]
        case "kfold", _:
            return [model_selection.RepeatedKFold(**repeated)]
        case "grouped", _:
            plain, even = model_selection.GroupKFold, model_selection.StratifiedGroupKFold
            seeds = [(spec.seed + each) % 2**32 for each in range(spec.repeats)]
            cut = plain if measured else even
            return [cut(spec.n_splits, shuffle=True, random_state=seed) for seed in seeds]
        case _:
            return [model_selection.TimeSeriesSplit(spec.n_splits)]


def _shuffled_holdout(labels: Labels, spec: FoldsSpec) -> tuple[Positions, Positions]:
    from sklearn.model_selection import train_test_split  # noqa: PLC0415, as above

    stratify = labels if spec.kind == "stratified" else None
    try:
        training, holdout = train_test_split(
            np.arange(len(labels)),
            test_size=spec.holdout,
            stratify=stratify,
            random_state=spec.seed,
        )
    except ValueError:
        if labels.dtype.kind == "f":
            raise ConfigError(
                f"folds.holdout: {spec.holdout}: {len(labels)} rows leave a side without one"
            ) from None
        n_classes = len(np.unique(labels))
        smallest = int(np.unique(labels, return_counts=True)[1].min())
        raise ConfigError(
            f"folds.holdout: {spec.holdout}: {len(labels)} rows of {n_classes} classes, the "
            f"smallest with {smallest}, leave a side without one row of each class"
        ) from None
    return np.sort(training), np.sort(holdout)


def _grouped_holdout(
    labels: Labels, spec: FoldsSpec, groups: NDArray[np.int64]
) -> tuple[Positions, Positions]:
    from sklearn.model_selection import GroupShuffleSplit  # noqa: PLC0415, as above

    draws = GroupShuffleSplit(HOLDOUT_DRAWS, test_size=spec.holdout, random_state=spec.seed)
    measured = labels.dtype.kind == "f"
    n_classes = 0 if measured else len(np.unique(labels))
    n_groups = len(np.unique(groups))
    if n_groups > 1 and 0 < round(spec.holdout * n_groups) < n_groups:
        for training, holdout in draws.split(labels, groups=groups):
            sides = (labels[training], labels[holdout])
            if measured or all(len(np.unique(side)) == n_classes for side in sides):
                return np.sort(training), np.sort(holdout)
    raise ConfigError(
        f"folds.holdout: {spec.holdout}: {n_groups} groups "
        + (
            "leave a side without one"
            if measured
            else f"of {n_classes} classes leave a side without one row of each class"
        )
    )


def _last_rows(n_rows: int, spec: FoldsSpec) -> tuple[Positions, Positions]:
    n_holdout = round(spec.holdout * n_rows)
    if not 0 < n_holdout < n_rows:
        raise ConfigError(f"folds.holdout: {spec.holdout}: {n_rows} rows leave a side without one")
    positions = np.arange(n_rows)
    return positions[:-n_holdout], positions[-n_holdout:]


def _require_room(labels: Labels, spec: FoldsSpec, groups: NDArray[np.int64] | None) -> None:
    """Refuse more folds than there are rows, or groups, to fill them with."""
    match spec.kind:
        case "stratified":
            n_units = int(np.unique(labels, return_counts=True)[1].min())
            have = f"the smallest class has {n_units} training rows"
        case "grouped":
            n_units = len(np.unique(groups)) if groups is not None else 0
            have = f"there are {n_units} groups beside the hold-out"
        case "kfold":
            n_units = len(labels)
            have = f"there are {n_units} training rows"
        case _:
            n_units = len(labels) - 1  # the first fold fits at least one row
            have = f"there are {n_units + 1} training rows"
    if n_units < spec.n_splits:
        allowed = f"allowed: 2 to {n_units}" if n_units >= 2 else "at least 2 are needed"
        raise ConfigError(f"folds.n_splits: {spec.n_splits}: {have}, {allowed}")


def _require_all_classes(
    everything: Labels,
    labels: Labels,
    spec: FoldsSpec,
    folds: tuple[tuple[Positions, Positions], ...],
) -> None:
    """Refuse a fold that would fit rows without some class: its model could never answer it."""
    classes = np.unique(everything)
    for number, (fit, _) in enumerate(folds):
        missing = np.setdiff1d(classes, labels[fit])
        if len(missing):
            raise ConfigError(
                f"folds.kind: {spec.kind!r}: fold {number} of {spec.n_folds} fits no row of "
                f"class number {missing[0]}; fewer folds, or another kind, may have one"
            )
