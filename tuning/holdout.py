"""The rows that no fold saw, for whoever wants to measure a served model."""

from dataclasses import dataclass

from tuning.data import Labels, Rows
from tuning.spec import SweepSpec, check_sweep


@dataclass(frozen=True, slots=True)
class Holdout:
    """Rows as the registered model wants them, and the truth about them."""

    rows: Rows
    """float64 matrix, float32 tensor or DataFrame, as the model's signature says."""

    labels: Labels
    """True class codes, or measurements, shape (rows,)."""

    classes: tuple[str, ...]
    """Class names; a code is a position in it. Empty for a regression."""


def holdout_rows(spec: SweepSpec) -> Holdout:
    """Return the hold-out of a sweep: the same rows each time, as long as the data stays.

    `tuning.flavors.predicted_codes` turns a model's answers into codes to compare.

    Raises:
        ConfigError: The sweep's data cannot be read or split.
    """
    task = check_sweep(spec, where=spec.name)
    rows, labels = task.holdout_rows
    return Holdout(rows, labels, task.table.classes)
