"""Whether a mirrored version answers as stable does, row by row: pure."""

from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from deployments.protocols.tensors import Array

NUMBERS = "biuf"
WHOLE = "biu"
"""Kinds of NumPy types; what is whole is compared exactly, as labels are."""


Flags = NDArray[np.bool_]
Gaps = NDArray[np.float64]


class Agreement(msgspec.Struct, frozen=True):
    """Two answers to the same rows, held against each other."""

    differs: Flags
    """By row; one element for all of them where an answer is not one row for each row."""

    largest: Gaps
    """Largest absolute difference of two finite numbers, by row; NaN where there are none."""


def is_same(stable: Mapping[str, Array], mirrored: Mapping[str, Array]) -> bool:
    """Whether two answers are equal throughout, by a quick look that misses those with NaN."""
    return stable.keys() == mirrored.keys() and all(
        np.array_equal(array, mirrored[name]) for name, array in stable.items()
    )


def has_numbers(arrays: Mapping[str, Array]) -> bool:
    """Whether there is any number that could differ by some amount."""
    return any(array.dtype.kind in NUMBERS and array.size for array in arrays.values())


def compare(
    stable: Mapping[str, Array], mirrored: Mapping[str, Array], rows: int, tolerance: float
) -> Agreement:
    """Hold two answers against each other.

    Floats agree within `tolerance` times the largest magnitude that either answer has in the
    row's output, so that what is tiny beside its neighbours is not asked for more digits than
    they have. Everything else agrees where it is equal, and so do two NaNs.

    Args:
        stable: Outputs by name.
        mirrored: As above, of the other version.
        rows: That were asked about.
        tolerance: >= 0.
    """
    arrays = [*stable.values(), *mirrored.values()]
    if any(array.ndim == 0 or len(array) != rows for array in arrays):
        rows = 1
    differs = np.zeros(rows, dtype=bool)
    largest = np.full(rows, np.nan)
    if stable.keys() != mirrored.keys():
        differs[:] = True
    for name in stable.keys() & mirrored.keys():
        ours, theirs = stable[name], mirrored[name]
        if ours.shape != theirs.shape:
            differs[:] = True
        elif ours.size:
            apart, gaps = _compare(ours.reshape(rows, -1), theirs.reshape(rows, -1), tolerance)
            differs |= apart
            largest = np.fmax(largest, gaps)
    return Agreement(differs, largest)


def by_request(agreement: Agreement, starts: list[int]) -> Agreement:
    """Sum rows up to requests: one differs where any of its rows does.

    Args:
        agreement: Of a bundle's rows.
        starts: First row of each request, which has at least one.
    """
    if len(starts) == 1:
        starts = [0]
    return Agreement(
        np.logical_or.reduceat(agreement.differs, starts),
        np.fmax.reduceat(agreement.largest, starts),
    )


def _compare(ours: Array, theirs: Array, tolerance: float) -> tuple[Flags, Gaps]:
    apart = _unequal(ours, theirs)
    if ours.dtype.kind not in NUMBERS or theirs.dtype.kind not in NUMBERS:
        return _any(apart), np.full(len(ours), np.nan)
    if not apart.any():
        return _any(apart), np.zeros(len(ours))
    left, right = ours.astype(np.float64), theirs.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.where(apart, np.abs(left - right), 0.0)
    gaps[~np.isfinite(gaps)] = np.nan
    if not (ours.dtype.kind in WHOLE and theirs.dtype.kind in WHOLE):
        sizes = np.maximum(np.abs(left), np.abs(right))
        scale = np.where(np.isfinite(sizes), sizes, 0.0).max(axis=1, keepdims=True)
        apart &= ~(gaps <= tolerance * scale)  # so that NaN, which is no small gap, stays apart
    largest: Gaps = np.fmax.reduce(gaps, axis=1)
    return _any(apart), largest


def _any(apart: Flags) -> Flags:
    return np.asarray(apart.any(axis=1), dtype=bool)


def _unequal(ours: Array, theirs: Array) -> Flags:
    if ours.dtype.kind != theirs.dtype.kind and "O" in ours.dtype.kind + theirs.dtype.kind:
        ours, theirs = ours.astype(object), theirs.astype(object)
    both_nan = _is_nan(ours) & _is_nan(theirs)
    return np.asarray((ours != theirs) & ~both_nan, dtype=bool)


def _is_nan(array: Array) -> Flags:
    return np.asarray(array != array, dtype=bool)  # noqa: PLR0124, for objects, too
