"""How the features of a model's training rows are distributed, kept in the model's folder.

Serving compares what it is asked with it: a model knows nothing of rows unlike those.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuning.data import Rows

PROFILE_FILE = "input_profile.json"
"""In the folder of the model."""

MOST_FEATURES = 1_024
"""Models of more have no profile: of images and the like, single pixels say nothing."""

MOST_ROWS = 100_000
"""Of more rows, so many are counted, evenly spread: enough for any bin."""

QUANTILES = np.arange(1, 10) / 10
"""What bounds the bins of numbers, beside the least and the largest."""

MOST_VALUES = 20
"""Texts that have bins of their own; the others share one."""

Values = NDArray[Any]
Counts = NDArray[np.int64]


class NumberFeature(msgspec.Struct, frozen=True, tag="number"):
    """A feature of numbers, in bins between quantiles."""

    name: str

    edges: list[float]
    """Ascending. Between values of the training rows, so that a number keeps its bin as float32.
    Below the first and above the last there were none."""

    counts: list[int]
    """Training rows by bin, `len(edges) + 1` of them, and those without a value."""

    def count(self, values: Values) -> Counts:
        """Count rows as `counts` does.

        Args:
            values: Shape (rows,).

        Raises:
            ValueError: They are no numbers.
            TypeError: As above.
        """
        numbers = np.asarray(values, dtype=np.float64)
        missing = np.isnan(numbers)
        bins = np.searchsorted(self.edges, numbers[~missing], side="left")
        counts = np.bincount(bins, minlength=len(self.counts))
        counts[-1] = missing.sum()
        return counts


class TextFeature(msgspec.Struct, frozen=True, tag="text"):
    """A feature of texts, with a bin for each of the most frequent."""

    name: str
    values: list[str]

    counts: list[int]
    """Training rows by value, then those of all other values, then those without one."""

    def count(self, values: Values) -> Counts:
        """Count rows as `counts` does.

        Args:
            values: Shape (rows,).
        """
        return _count_texts(self.values, values)


Feature = NumberFeature | TextFeature


class InputProfile(msgspec.Struct, frozen=True):
    """All features of a model, in the order in which it takes them."""

    features: list[Feature]


def make_profile(rows: Rows, names: Sequence[str]) -> InputProfile | None:
    """Count training rows; None if they have too many features.

    Args:
        rows: A DataFrame, or an array of shape (rows, ...).
        names: Of the features.
    """
    if len(names) > MOST_FEATURES:
        return None
    if len(rows) > MOST_ROWS:
        chosen = np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64)
        rows = rows.iloc[chosen] if isinstance(rows, pd.DataFrame) else rows[chosen]
    if isinstance(rows, pd.DataFrame):
        columns = [rows[name].to_numpy() for name in names]
    else:
        columns = list(rows.reshape(len(rows), -1).T)
    return InputProfile([_feature(*pair) for pair in zip(names, columns, strict=True)])


def write_profile(profile: InputProfile, folder: Path) -> Path:
    """Write a profile as `PROFILE_FILE`; gives its path."""
    path = folder / PROFILE_FILE
    path.write_bytes(msgspec.json.encode(profile))
    return path


def read_profile(folder: Path) -> InputProfile | None:
    """Read the profile in a model's folder; None if there is none.

    Raises:
        ValueError: It cannot be understood.
    """
    path = folder / PROFILE_FILE
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=InputProfile)
    except msgspec.DecodeError as error:
        raise ValueError(f"{PROFILE_FILE}: {error}") from None


def feature_columns(
    profile: InputProfile, inputs: Mapping[str, Values]
) -> dict[str, Values] | None:
    """Take a batch's inputs apart into the profile's features, shape (rows,) each.

    Args:
        profile: Of the model.
        inputs: Columns by name, or one array of all features, shape (rows, ...).

    Returns:
        What there is of them; None if they cannot be told apart.
    """
    names = [feature.name for feature in profile.features]
    found = {name: inputs[name].reshape(-1) for name in names if name in inputs}
    if found or len(inputs) != 1:
        return found or None
    (array,) = inputs.values()
    if math.prod(array.shape[1:]) != len(names):
        return None
    return dict(zip(names, array.reshape(-1, len(names)).T, strict=True))


def _feature(name: str, values: Values) -> Feature:
    if values.dtype.kind == "O":
        frequent = Counter(_texts(values)).most_common(MOST_VALUES)
        known = [text for text, _ in frequent]
        return TextFeature(name, known, _count_texts(known, values).tolist())
    numbers = values.astype(np.float64)
    edges = _edges(numbers[np.isfinite(numbers)])
    empty = NumberFeature(name, edges, [0] * (len(edges) + 2))
    return msgspec.structs.replace(empty, counts=empty.count(numbers).tolist())


def _edges(numbers: NDArray[np.float64]) -> list[float]:
    """Bound bins in the middle between two values, and half a step outside of all."""
    distinct = np.unique(numbers)
    if not len(distinct):
        return []
    if len(distinct) == 1:
        step = max(abs(float(distinct[0])), 1.0) * 1e-3
        return [float(distinct[0]) - step, float(distinct[0]) + step]
    middles = (distinct[:-1] + distinct[1:]) / 2
    below = distinct[0] - (middles[0] - distinct[0])
    above = distinct[-1] + (distinct[-1] - middles[-1])
    at = np.quantile(numbers, QUANTILES, method="inverted_cdf")
    places = np.searchsorted(distinct, at)
    inner = middles[np.unique(places[places < len(middles)])]
    return [float(below), *inner.tolist(), float(above)]


def _count_texts(known: Sequence[str], values: Values) -> Counts:
    places = {text: place for place, text in enumerate(known)}
    other = len(known)
    counts = np.zeros(other + 2, dtype=np.int64)
    texts = _texts(values)
    for text in texts:
        counts[places.get(text, other)] += 1
    counts[-1] = len(values) - len(texts)
    return counts


def _texts(values: Values) -> list[str]:
    """All that are not missing, as texts."""
    found = values[~pd.isna(values)].tolist()
    return [
        each.decode(errors="replace") if isinstance(each, bytes) else str(each) for each in found
    ]
