"""Where rows come from, what they are, and the hash that names them.

All-numeric data becomes a float64 matrix. Data with text in it stays a DataFrame, with
numbers as float64 and text as objects, so that a model can be asked by column name.
Labels become codes 0..n-1 in the sorted order of the classes, whose names are kept; what a
regression predicts stays a float64.
"""

import hashlib
import importlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from tuning.configfile import Spec
from tuning.errors import ConfigError
from tuning.leaks import require_no_leak

Rows = NDArray[np.floating[Any]] | pd.DataFrame
Labels = NDArray[np.int64 | np.float64]
"""Class codes, or the measurements that a regression predicts."""

BUNDLED: Mapping[str, str] = {
    "breast-cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
    "digits": "load_digits",
    "iris": "load_iris",
    "wine": "load_wine",
}
"""Functions of `sklearn.datasets`, whose import costs a second that no trial should pay."""

MEASUREMENTS = frozenset({"diabetes"})
"""Those of `BUNDLED` whose target is measured."""

READERS: Mapping[str, Callable[[Path], pd.DataFrame]] = {
    ".csv": pd.read_csv,
    ".parquet": pd.read_parquet,
}
N_NAMED = 5
"""Most columns or values that a message lists before it says how many more there are."""


class DataSpec(Spec):
    """Where the rows come from: a bundled set, or a file with a target column."""

    bundled: Literal["breast-cancer", "diabetes", "digits", "iris", "wine"] | None = None
    """A set that ships with scikit-learn; None reads `path`."""

    path: Annotated[Path, Field(strict=False)] | None = None
    """A CSV or Parquet file, relative to the working directory; None takes `bundled`."""

    target: str | None = None
    """The file's column that holds the class labels, or the numbers to predict."""

    regression: bool = False
    """Whether the file's target is measured, and predicted as a number; a bundled set knows."""

    group: str | None = None
    """The file's column that says which rows belong together, for `grouped` folds; no feature."""

    time: str | None = None
    """The file's column by which rows are put in order, for `time_series` folds; no feature."""

    @field_validator("path", mode="before")
    @classmethod
    def _path_is_of_a_file(cls, value: Any) -> Any:
        # A path forgets what it was made of: "" is ".", and two slashes are one.
        if isinstance(value, str) and (not value or "://" in value):
            raise ValueError(f"{value!r}: should be a file's path")
        return value

    @model_validator(mode="after")
    def _one_source_is_named(self) -> Self:
        if (self.bundled is None) == (self.path is None):
            raise ValueError("exactly one of: bundled, path")
        if self.path is not None and self.target is None:
            raise ValueError("target: missing, a file needs the name of its label column")
        columns = {"target": self.target, "group": self.group, "time": self.time}
        for field, column in columns.items():
            if self.bundled is not None and column is not None:
                raise ValueError(f"{field}: {column!r}: only files have a {field} column")
            if column is not None and list(columns.values()).count(column) > 1:
                raise ValueError(f"{field}: {column!r}: stands for two things")
        if self.bundled is not None and self.regression:
            raise ValueError(f"regression: true: only for files, {self.bundled!r} knows itself")
        if self.path is not None and self.path.suffix not in READERS:
            raise ValueError(f"path: {str(self.path)!r}: allowed endings: {', '.join(READERS)}")
        return self

    @property
    def measured(self) -> bool:
        """Whether numbers are predicted, and no classes."""
        return self.regression or self.bundled in MEASUREMENTS


@dataclass(frozen=True, slots=True)
class Table:
    """A data set, ready to be split."""

    rows: Rows
    """float64 matrix of shape (rows, columns), or a DataFrame if there is text."""

    labels: Labels
    """Class codes, or measurements as float64, shape (rows,)."""

    classes: tuple[str, ...]
    """Class names; a code is a position in it. Empty for a regression."""

    columns: tuple[str, ...]
    """Feature names, in the order of the columns."""

    sha256: str
    """Hash of values, labels, groups, class and column names, and dtypes."""

    groups: NDArray[np.int64] | None = None
    """Group codes, shape (rows,); None without `data.group`."""


def load_table(spec: DataSpec) -> Table:
    """Read the rows that a spec names.

    Raises:
        ConfigError: The file or its columns cannot be used; the message starts with the
            path of the field in the spec.
    """
    if spec.bundled is not None:
        bunch = getattr(importlib.import_module("sklearn.datasets"), BUNDLED[spec.bundled])()
        columns = tuple(map(str, bunch.feature_names))
        rows = np.ascontiguousarray(bunch.data, dtype=np.float64)
        if spec.measured:
            return make_table(rows, bunch.target.astype(np.float64), (), columns)
        classes = tuple(map(str, bunch.target_names))
        return make_table(rows, bunch.target.astype(np.int64), classes, columns)
    frame = _in_order(_read_frame(spec), spec.time)
    groups = _group_codes(frame, spec.group)
    frame = frame.drop(columns=[each for each in (spec.group, spec.time) if each is not None])
    if frame.shape[1] < 2:
        raise ConfigError(f"data.path: '{spec.path}': holds no column beside the target")
    target, name = frame[spec.target], str(spec.target)
    labels, classes = (
        (read_measurements(target, name=name), ())
        if spec.measured
        else encode_labels(target, name=name)
    )
    features = frame.drop(columns=[spec.target])
    made = _feature_rows(features)
    require_no_leak(features, target, name=name, measured=spec.measured)
    columns = tuple(map(str, features.columns))
    return make_table(made, labels, classes, columns, groups)


def make_table(
    rows: Rows,
    labels: Labels,
    classes: tuple[str, ...],
    columns: tuple[str, ...],
    groups: NDArray[np.int64] | None = None,
) -> Table:
    """Put a table together and hash it."""
    sha256 = _sha256(rows, labels, classes, columns, groups)
    return Table(rows, labels, classes, columns, sha256, groups)


def read_measurements(target: "pd.Series[Any]", *, name: str) -> NDArray[np.float64]:
    """Turn a column of numbers into what a regression predicts.

    Raises:
        ConfigError: Values are missing, infinite, no numbers, or all alike.
    """
    n_missing = int(target.isna().sum())
    if n_missing:
        raise ConfigError(f"data.target: {name!r}: {n_missing} rows have no value")
    if not _is_number(target) or pd.api.types.is_bool_dtype(target):
        raise ConfigError(
            f"data.target: {name!r}: values such as {target.iloc[0]!s:.40} of type "
            f"{target.dtype}; allowed with data.regression: numbers"
        )
    values = target.to_numpy(dtype=np.float64)
    endless = values[~np.isfinite(values)]
    if len(endless):
        raise ConfigError(
            f"data.target: {name!r}: holds {endless[0]}, allowed with data.regression: "
            "finite numbers"
        )
    if len(np.unique(values)) < 2:
        raise ConfigError(f"data.target: {name!r}: all rows have {values[0]:g}, nothing to predict")
    return values


def encode_labels(
    target: "pd.Series[Any]", *, name: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Turn a label column into codes and class names.

    Raises:
        ConfigError: Labels are missing, or are measurements rather than classes, or
            all alike.
    """
    n_missing = int(target.isna().sum())
    if n_missing:
        raise ConfigError(f"data.target: {name!r}: {n_missing} rows have no label")
    example = target.iloc[0]
    if not isinstance(example, Hashable):
        raise ConfigError(
            f"data.target: {name!r}: values such as {example!s:.40} of type "
            f"{type(example).__name__}; allowed: class labels (text, booleans or whole numbers)"
        )
    if pd.api.types.is_float_dtype(target):
        fractions = target[target % 1 != 0]
        if len(fractions):
            example = fractions.iloc[0]
            raise ConfigError(
                f"data.target: {name!r}: continuous, such as {example}; allowed: class labels "
                "(text, booleans or whole numbers), or any numbers with data.regression: true"
            )
        target = target.astype(np.int64)
    values = sorted(target.unique().tolist())
    if len(values) < 2:
        raise ConfigError(f"data.target: {name!r}: only the class {values[0]!r}, at least 2 needed")
    codes = {value: code for code, value in enumerate(values)}
    labels = np.asarray([codes[value] for value in target.tolist()], dtype=np.int64)
    return labels, tuple(map(str, values))


def _read_frame(spec: DataSpec) -> pd.DataFrame:
    path = spec.path
    if path is None:
        raise ValueError("a bundled set is not a file")
    try:
        if path.is_dir():
            raise ConfigError(f"data.path: '{path}': is a folder, allowed: a file")
        if not path.is_file():
            raise ConfigError(f"data.path: '{path}': no such file")
        _require_different_columns(path)
        frame = READERS[path.suffix](path)
    except (OSError, ValueError) as error:
        strerror = error.strerror if isinstance(error, OSError) else None
        reason = strerror or str(error).splitlines()[0]
        raise ConfigError(f"data.path: '{path}': cannot be read: {reason}") from None
    for field, column in (("target", spec.target), ("group", spec.group), ("time", spec.time)):
        if column is not None and column not in frame.columns:
            known = _listed([str(each) for each in frame.columns])
            raise ConfigError(f"data.{field}: {column!r}: no such column, allowed: {known}")
    if frame.empty:
        raise ConfigError(f"data.path: '{path}': holds no rows")
    return frame


def _in_order(frame: pd.DataFrame, column: str | None) -> pd.DataFrame:
    """Put rows in the order of a column; equal moments stay in the order of the file.

    Text is read as dates: other text has an order, too, but rarely that of time.
    """
    if column is None:
        return frame
    n_missing = int(frame[column].isna().sum())
    if n_missing:
        raise ConfigError(f"data.time: {column!r}: {n_missing} rows have no value")
    moments = frame[column]
    if pd.api.types.is_string_dtype(moments):
        moments = pd.to_datetime(moments, format="ISO8601", utc=True, errors="coerce")
        unread = frame[column][moments.isna()]
        if len(unread):
            raise ConfigError(
                f"data.time: {column!r}: {unread.iloc[0]!r:.100}, allowed: numbers, or dates and "
                "times of ISO 8601, such as 2026-12-01 or 2026-12-01T08:30:00Z"
            )
    try:
        order = moments.sort_values(kind="stable").index
        return frame.loc[order].reset_index(drop=True)
    except TypeError as error:
        raise ConfigError(f"data.time: {column!r}: cannot be put in order: {error}") from None


def _group_codes(frame: pd.DataFrame, column: str | None) -> NDArray[np.int64] | None:
    if column is None:
        return None
    n_missing = int(frame[column].isna().sum())
    if n_missing:
        raise ConfigError(f"data.group: {column!r}: {n_missing} rows have no value")
    codes, _ = pd.factorize(frame[column], sort=True)
    return np.asarray(codes, dtype=np.int64)


def _require_different_columns(path: Path) -> None:
    if path.suffix != ".csv":
        return  # Parquet's reader refuses them itself
    # pandas would call the second `label` `label.1`, and the labels would be a feature.
    header = pd.read_csv(path, header=None, nrows=1, dtype=str).iloc[0].dropna()
    twice = header[header.duplicated()]
    if len(twice):
        raise ConfigError(f"data.path: '{path}': the column {twice.iloc[0]!r:.100} stands twice")


def _feature_rows(frame: pd.DataFrame) -> Rows:
    frame = frame.rename(columns=str)
    text = [name for name in frame.columns if not _is_number(frame[name])]
    for name in text:
        values = frame[name]
        if not (pd.api.types.is_string_dtype(values.dropna()) or values.dropna().empty):
            raise ConfigError(
                f"data.path: column {name!r} has type {values.dtype}; "
                "allowed: numbers, booleans and text"
            )
    for name in frame.columns:
        if name not in text and np.isinf(frame[name].to_numpy(np.float64, na_value=np.nan)).any():
            raise ConfigError(
                f"data.path: column {name!r} holds an infinite value; "
                "allowed: numbers and missing values"
            )
    if not text:
        return frame.to_numpy(dtype=np.float64, na_value=np.nan)
    # Missing text as NaN in an object column is what scikit-learn's imputer looks for.
    return pd.DataFrame(
        {
            name: frame[name].astype(object).where(frame[name].notna(), np.nan)
            if name in text
            else frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            for name in frame.columns
        }
    )


def _is_number(values: "pd.Series[Any]") -> bool:
    types = pd.api.types
    return types.is_bool_dtype(values) or (
        types.is_numeric_dtype(values) and not types.is_complex_dtype(values)
    )


def _sha256(
    rows: Rows,
    labels: Labels,
    classes: tuple[str, ...],
    columns: tuple[str, ...],
    groups: NDArray[np.int64] | None,
) -> str:
    digest = hashlib.sha256()
    digest.update(repr((classes, columns, len(labels))).encode())
    matrix = rows if isinstance(rows, np.ndarray) else None
    for position, name in enumerate(columns):
        values = matrix[:, position] if matrix is not None else rows[name].to_numpy()  # type: ignore[call-overload]
        digest.update(repr((name, str(values.dtype))).encode())
        if values.dtype == object:
            digest.update(repr(values.tolist()).encode())
        else:
            # Little-endian bytes, so that every machine computes the same hash.
            digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    number = "<f8" if labels.dtype.kind == "f" else "<i8"
    digest.update(np.ascontiguousarray(labels, dtype=number).tobytes())
    if groups is not None:
        digest.update(np.ascontiguousarray(groups, dtype="<i8").tobytes())
    return digest.hexdigest()


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - N_NAMED} more" if len(names) > N_NAMED else ""
    return ", ".join(names[:N_NAMED]) + more
