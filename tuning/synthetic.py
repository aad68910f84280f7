"""Data sets made up for trying things out: classes that are hard to tell apart."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import make_classification

from tuning.data import READERS
from tuning.errors import ConfigError

WORDS = ("low", "medium", "high", "extreme")
"""Text that a number becomes, by quartile."""

MOST_VALUES = 10**9
"""Eight gigabytes of memory while they are made up."""

ROWS_PER_CLASS = 10
"""Fewer could not be held out and folded."""

TARGET = "label"
"""Name of the column with the classes."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What to make up."""

    n_rows: int = 1000
    n_numbers: int = 8
    """Numeric columns."""
    n_text: int = 0
    """Text columns, each a number cut into four words."""
    n_classes: int = 2
    missing: float = 0.0
    """Fraction of the values that are left out."""
    seed: int = 0


def make_frame(recipe: Recipe) -> pd.DataFrame:
    """Make up rows; equal recipes give equal frames.

    Raises:
        ConfigError: The recipe contradicts itself.
    """
    n_columns = recipe.n_numbers + recipe.n_text
    if recipe.n_rows * n_columns > MOST_VALUES:
        raise ConfigError(
            f"rows: {recipe.n_rows}, with {n_columns} columns, allowed: {MOST_VALUES} values in all"
        )
    if recipe.n_rows < ROWS_PER_CLASS * recipe.n_classes:
        raise ConfigError(
            f"rows: {recipe.n_rows}, allowed for {recipe.n_classes} classes: "
            f"{ROWS_PER_CLASS * recipe.n_classes} or more"
        )
    # That many clusters need room: 2 ** informative columns, one cluster for each class.
    n_informative = max(2, n_columns // 2, int(np.ceil(np.log2(max(2, recipe.n_classes)))))
    if n_columns < n_informative:
        raise ConfigError(f"columns: {n_columns}, allowed: {n_informative} or more")
    values, labels = make_classification(
        n_samples=recipe.n_rows,
        n_features=n_columns,
        n_informative=n_informative,
        n_redundant=0,
        n_classes=recipe.n_classes,
        n_clusters_per_class=1,
        random_state=recipe.seed,
    )
    numbers = [f"x{position}" for position in range(recipe.n_numbers)]
    frame = pd.DataFrame(values[:, : recipe.n_numbers], columns=numbers)
    for position in range(recipe.n_text):
        quartiles = pd.qcut(values[:, recipe.n_numbers + position], len(WORDS), labels=WORDS)
        frame[f"c{position}"] = np.asarray(quartiles, dtype=object)
    hidden = np.random.default_rng(recipe.seed).random(frame.shape) < recipe.missing
    frame = frame.mask(hidden)
    frame[TARGET] = [f"class-{label}" for label in labels]
    return frame


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write CSV or Parquet, by the file's ending.

    Raises:
        ConfigError: The ending is neither, or the file cannot be written.
    """
    if path.suffix not in READERS:
        raise ConfigError(f"{path}: ending {path.suffix!r}, allowed: {', '.join(READERS)}")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: no such folder: {path.parent}")
    try:
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        else:
            frame.to_parquet(path, index=False)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None
