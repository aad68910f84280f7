"""How the features of a model's training rows are distributed, kept in the model's folder.

Serving compares what it is asked with it: a model knows nothing of rows unlike those.

Texts get their bins from one half of the rows, and are counted in the other. Counted in the same
ones, those that are frequent by chance would seem to be so, and be missed later: of 100 rows with
a text each of their own, every window would have drifted.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuning.data import Rows
from tuning.seen import row_hashes

PROFILE_FILE = "input_profile.json"
"""In the folder of the model."""

MOST_FEATURES = 1_024
"""Models of more have no profile: of images and the like, single pixels say nothing."""

MOST_ROWS = 100_000
"""Of more rows, so many are counted, drawn at random: enough for any bin."""

QUANTILES = np.arange(1, 10) / 10
"""What bounds the bins of numbers, beside the least and the largest."""

HEAVY = 0.1
"""Share of the rows from which on one number has a bin of its own: a flag's, or a default."""

MOST_VALUES = 20
"""Texts that have bins of their own; the others share one."""

MOST_CHARACTERS = 100
"""Of a text: what follows does not tell it from another."""

MOSTLY = 0.9
"""Share of rows that must be distinct for rows to be all different."""

Values = NDArray[Any]
Counts = NDArray[np.int64]

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class NumberFeature(msgspec.Struct, frozen=True, tag="number"):
    """A feature of numbers, or of times, in bins between quantiles."""

    name: str

    edges: list[float]
    """Ascending. Between values of the training rows, so that a number keeps its bin as float32.
    Below the first and above the last there were none. Times in seconds since 1970."""

    counts: list[Count]
    """Training rows by bin, `len(edges) + 1` of them, and those without a value."""

    def __post_init__(self) -> None:
        """Refuse what cannot be counted in.

        Raises:
            ValueError: Edges are out of order, or there are not as many counts as bins.
        """
        if any(after <= before for before, after in pairwise(self.edges)):
            raise ValueError(f"feature {self.name!r}: its edges do not ascend")
        _require_counts(self.name, self.counts, len(self.edges) + 2)

    def count(self, values: Values) -> Counts:
        """Count rows as `counts` does.

        Args:
            values: Shape (rows,).

        Raises:
            ValueError: They are no numbers.
            TypeError: As above.
        """
        numbers = _numbers(values)
        missing = np.isnan(numbers)
        bins = np.searchsorted(self.edges, numbers[~missing], side="left")
        counts = np.bincount(bins, minlength=len(self.counts))
        counts[-1] = missing.sum()
        return counts


class TextFeature(msgspec.Struct, frozen=True, tag="text"):
    """A feature of texts, with a bin for each of the most frequent."""

    name: str

    values: list[str]
    """No longer than `MOST_CHARACTERS`."""

    counts: list[Count]
    """Training rows by value, then those of all other values, then those without one."""

    def __post_init__(self) -> None:
        """Refuse what cannot be counted in.

        Raises:
            ValueError: There are not as many counts as bins.
        """
        _require_counts(self.name, self.counts, len(self.values) + 2)

    def count(self, values: Values) -> Counts:
        """Count rows as `counts` does.

        Args:
            values: Shape (rows,).
        """
        return _count_texts(self.values, values)


Feature = NumberFeature | TextFeature


class InputProfile(msgspec.Struct, frozen=True):
    """All features of a model, in the order in which it takes them."""

    features: Annotated[list[Feature], msgspec.Meta(max_length=MOST_FEATURES)]

    all_differ: bool = False
    """Whether hardly any training row was there twice: then a row that is asked about again and
    again, by a probe or a test of load, says nothing new."""

    def __post_init__(self) -> None:
        """Refuse what cannot be counted in.

        Raises:
            ValueError: Two features have one name.
        """
        names = Counter(feature.name for feature in self.features)
        twice = next((name for name, count in names.items() if count > 1), None)
        if twice is not None:
            raise ValueError(f"feature {twice!r}: is there twice")


def make_profile(rows: Rows, names: Sequence[str]) -> InputProfile | None:
    """Count training rows; None if there are none, or too many features.

    Args:
        rows: A DataFrame, or an array of shape (rows, ...).
        names: Of the features.
    """
    if len(names) > MOST_FEATURES or not len(rows):
        return None
    # At random, since tables have an order: two sensors that report in turn would be taken apart.
    order = np.random.default_rng(0).permutation(len(rows))[:MOST_ROWS]
    rows = rows.iloc[order] if isinstance(rows, pd.DataFrame) else rows[order]
    if isinstance(rows, pd.DataFrame):
        columns = [_column(rows[name]) for name in names]
    else:
        columns = list(rows.reshape(len(rows), -1).T)
    labels = [_writable(str(name)) for name in names]
    n_distinct = len(np.unique(row_hashes(rows)))
    return InputProfile(
        [_feature(*pair) for pair in zip(labels, columns, strict=True)],
        all_differ=n_distinct >= MOSTLY * len(rows),
    )


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
    except (msgspec.DecodeError, RecursionError) as error:
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


def _column(series: "pd.Series[Any]") -> Values:
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    values: Values = series.to_numpy()
    return values


def _feature(name: str, values: Values) -> Feature:
    if values.dtype.kind in "OSU":
        frequent = Counter(_texts(values[::2])).most_common(MOST_VALUES)
        known = [text for text, count in frequent if count > 1]
        return TextFeature(name, known, _count_texts(known, values[1::2]).tolist())
    numbers = _numbers(values)
    edges = _edges(numbers[np.isfinite(numbers)])
    empty = NumberFeature(name, edges, [0] * (len(edges) + 2))
    return msgspec.structs.replace(empty, counts=empty.count(numbers).tolist())


def _numbers(values: Values) -> NDArray[np.float64]:
    """As numbers; of times, seconds, whatever unit an array of them has."""
    if values.dtype.kind not in "mM":
        return np.asarray(values, dtype=np.float64)
    seconds = values.astype(f"{values.dtype.kind}8[us]").astype(np.int64) / 1e6
    return np.where(np.isnat(values), np.nan, seconds)


def _edges(numbers: NDArray[np.float64]) -> list[float]:
    """Bound bins in the middle between two values, and half a step outside of all."""
    # A tenth of the largest float: beyond that, a step is infinite.
    distinct, counts = np.unique(np.clip(numbers, -1e307, 1e307), return_counts=True)
    if not len(distinct):
        return []
    if len(distinct) == 1:
        step = max(abs(float(distinct[0])), 1.0) * 1e-3
        return [float(distinct[0]) - step, float(distinct[0]) + step]
    middles = distinct[:-1] + np.diff(distinct) / 2
    below = distinct[0] - (middles[0] - distinct[0])
    above = distinct[-1] + (distinct[-1] - middles[-1])
    at = np.quantile(numbers, QUANTILES, method="inverted_cdf")
    above_places = np.searchsorted(distinct, at)
    heavy = np.flatnonzero(counts >= HEAVY * counts.sum())
    places = np.unique([*above_places, *heavy, *(heavy - 1)])
    inner = middles[places[(places >= 0) & (places < len(middles))]]
    # Two floats that are neighbours have no middle.
    return [float(edge) for edge in np.unique([below, *inner, above])]


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
    return [_text(each) for each in values[~pd.isna(values)].tolist()]


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value[: 4 * MOST_CHARACTERS].decode(errors="replace")
    return _writable(str(value)[:MOST_CHARACTERS])


def _writable(text: str) -> str:
    """Without halves of surrogate pairs, which no file in UTF-8 takes."""
    return text.encode(errors="replace").decode()


def _require_counts(name: str, counts: Sequence[int], n_bins: int) -> None:
    if len(counts) != n_bins:
        raise ValueError(f"feature {name!r}: {len(counts)} counts, expected {n_bins}")
