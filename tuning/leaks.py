"""Whether a feature is the target itself: every trial would be perfect, and of no use."""

from typing import Any

import numpy as np
import pandas as pd

from tuning.errors import ConfigError

N_FIRST = 1000
"""Rows that are looked at first: nearly all features differ from the target within them."""

FEWEST_ROWS = 20
"""Rows below which two columns correspond by chance; a hundred of two values each, in so many
rows and with two classes, do so in one data set of five thousand."""


def require_no_leak(
    features: pd.DataFrame, target: "pd.Series[Any]", *, name: str, measured: bool
) -> None:
    """Refuse a feature that is a copy of the target, be it under other names.

    A feature with one value for each class is a copy where each row has that of its class: `yes`
    and `no` for 1 and 0, or nothing wherever the class is 0. One that has a value of its own in
    each row is none.

    Args:
        features: Columns of numbers, booleans and text; values may be missing.
        target: Labels without missing ones, or what a regression predicts.
        name: The target's.
        measured: Whether the target is measured, so that only the same numbers are a copy.

    Raises:
        ConfigError: Names the feature.
    """
    for column in features.columns:
        known = _names(features[column], target)
        if known is None:
            continue
        if list(map(str, known[0])) == list(map(str, known[1])) or _equal(*known):
            said = f"equals the target {name!r} in every row"
        elif not measured and len(known[0]) < len(target) >= FEWEST_ROWS:
            said = f"is the target {name!r} under other names, row by row"
        else:
            continue
        raise ConfigError(
            f"data.path: column {str(column)!r:.100} {said}: "
            "leave it out, or nothing is learnt from the others"
        )


def _names(feature: "pd.Series[Any]", target: "pd.Series[Any]") -> tuple[Any, Any] | None:
    """Return both columns' values in the order of first use; None where they do not correspond."""
    for rows in (slice(N_FIRST), slice(None)):
        # Numbered by first use, columns that differ in names alone have the same numbers.
        codes, names = pd.factorize(feature.iloc[rows], use_na_sentinel=False)
        target_codes, target_names = pd.factorize(target.iloc[rows])
        if not np.array_equal(codes, target_codes):
            return None
    return names, target_names


def _equal(names: Any, target_names: Any) -> bool:
    numbers = (pd.to_numeric(pd.Series(each), errors="coerce") for each in (names, target_names))
    one, other = (each.to_numpy(np.float64, na_value=np.nan) for each in numbers)
    return bool(np.array_equal(one, other))
