"""Whether a registered model knows the columns that it would be asked about.

A model that was fitted on other columns cannot answer. And rows are told apart by all of their
columns, so that with one more or one less every row would pass for new, also those that the
model was fitted on.
"""

from collections.abc import Sequence

import numpy as np

from tuning.data import Rows
from tuning.flavors import make_signature

FEATURE_NAMES = "rayfleet.feature_names"
"""In the metadata of a registered model: the columns of its data, in their order."""

MOST_NAMED = 5
"""Columns that a message names."""


def strange_columns(uri: str, names: Sequence[str], rows: Rows) -> str | None:
    """Say how columns differ from those of a registered model.

    Args:
        uri: Of the model.
        names: Of the columns.
        rows: At least one, as the model would get them.

    Returns:
        None where they are the same.

    Raises:
        Exception: Whatever MLflow's stores raise.
    """
    from mlflow.models import get_model_info  # noqa: PLC0415, seconds, which few sweeps need pay

    info = get_model_info(uri)
    known = (info.metadata or {}).get(FEATURE_NAMES)
    fault = None if known is None else difference(known, names)
    if fault is None and info.signature is not None:
        here = make_signature(rows[:1], np.zeros(1))
        if info.signature.inputs != here.inputs:
            return "its columns are of other types"
    return fault


def difference(known: Sequence[str], now: Sequence[str]) -> str | None:
    """Say how columns differ from those that are known; None where they do not."""
    gone = [name for name in known if name not in now]
    new = [name for name in now if name not in known]
    if gone or new:
        parts = [
            f"{_named(names)} {what}" for names, what in ((gone, "gone"), (new, "new")) if names
        ]
        return f"it knows other columns: {' and '.join(parts)}"
    return None if list(known) == list(now) else "it knows the columns in another order"


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    listed = ", ".join(map(repr, names[:MOST_NAMED])) + (f" and {more} more" if more > 0 else "")
    return f"{listed} {'is' if len(names) == 1 else 'are'}"
