"""Which rows a model has been fitted on, remembered without the rows themselves.

A hold-out of new data says nothing about a model that was fitted on some of its rows. So
each version's sweep keeps a number for every training row, by which another can tell.
"""

import io

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tuning.data import Rows

ROWS_FILE = "training_rows.npy"
"""Artifact of a sweep's run: the hashes of its training rows, ascending."""

RowHashes = NDArray[np.uint64]


def row_hashes(rows: Rows) -> RowHashes:
    """Hash each row's features; equal rows have equal hashes on every machine.

    Labels stay out of it: a row whose label was mended has been seen nevertheless.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(rows.reshape(len(rows), -1))
    return np.asarray(pd.util.hash_pandas_object(frame, index=False), dtype=np.uint64)


def encode_hashes(hashes: RowHashes) -> bytes:
    """Spell hashes as the content of a file."""
    file = io.BytesIO()
    np.save(file, np.unique(hashes), allow_pickle=False)
    return file.getvalue()


def decode_hashes(content: bytes) -> RowHashes:
    """Read what `encode_hashes` wrote."""
    hashes: RowHashes = np.load(io.BytesIO(content), allow_pickle=False)
    return hashes
