"""What is sent to every target, and what each must answer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.models import MODELS

Array = NDArray[Any]

ROWS = "rows.npy"
ANSWERS = "answers.npy"

MOST_EXAMPLES = 512
"""Requests sent in turn: an answer handed to the wrong caller shows soon, and the share of them
that hashes to a tenth of the traffic is near a tenth."""

MOST_BYTES = 16 * 2**20
"""Of all examples of a workload."""


@dataclass(frozen=True, slots=True)
class Model:
    """One fitted model, in a folder that every target reads."""

    name: str
    folder: Path

    @property
    def file(self) -> Path:
        """The fitted model, for targets without a registry."""
        return self.folder / f"model{MODELS[self.name].suffix}"

    @property
    def home(self) -> Path:
        """Root of the throw-away registry that holds the same model, as two versions."""
        return self.folder / "home"


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests of one shape to one model."""

    model: str
    questions: Array
    """Shape (examples, rows of each, ...)."""

    answers: Array
    """What the model answers offline: shape (examples, values of each answer)."""


def make_workload(model: Model, rows: int) -> Workload:
    """Cut the model's rows and offline answers into requests of so many rows."""
    all_rows = np.load(model.folder / ROWS)
    answers = np.load(model.folder / ANSWERS)
    examples = n_examples(len(all_rows), all_rows[0].nbytes, rows)
    starts = range(examples) if rows < len(all_rows) else [0] * examples
    chosen = np.stack([np.arange(start, start + rows) % len(all_rows) for start in starts])
    return Workload(model.name, all_rows[chosen], answers[chosen].reshape(examples, -1))


def n_examples(available_rows: int, row_bytes: int, rows: int) -> int:
    """Number of different requests: at most one for each row, and bounded in all."""
    return max(2, min(available_rows, MOST_EXAMPLES, MOST_BYTES // (row_bytes * rows)))
