"""What the trials of a sweep share, and what is made of the one that wins.

Apart from the actors that run them, since to import Ray Tune takes a second: a process that
only fits the winner need not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.data import Labels, Rows
from tuning.exploring import Segment, refit_evolved
from tuning.folds import Positions
from tuning.resources import ResourcesSpec
from tuning.tracespec import TracesSpec
from tuning.trainers.factory import make_trainer
from tuning.trainers.trainer import Evolving, Fold, Problem, Trainer, Workers

if TYPE_CHECKING:
    from tuning.spec import Task  # which trials' processes need not

ALONE = Workers()
ONE_CORE = ResourcesSpec()


@dataclass(frozen=True, slots=True)
class Workload:
    """What all trials of a sweep share; it crosses the object store once for each actor."""

    trainer: str
    options: Mapping[str, Any]
    problem: Problem
    metric: str
    rows: Rows
    """Training rows only: the hold-out never reaches a trial."""
    labels: Labels
    folds: tuple[tuple[Positions, Positions], ...]
    measured: bool = False
    """Whether a trial ends with a fit on all rows whose size and speed count."""
    folder: Path | None = None
    """The sweep's, for checkpoints; None makes none."""
    checkpoint_every_s: float = 0.0
    traces: TracesSpec | None = None
    """Where the spans of folds go; None makes none."""

    resources: ResourcesSpec = ONE_CORE

    def make_trainer(self, workers: Workers = ALONE) -> Trainer:
        """Build the trainer anew, in the process that uses it."""
        return make_trainer(self.trainer, replace(self.problem, workers=workers), self.options)


def make_workload(task: "Task", folder: Path | None = None) -> Workload:
    """Gather what trials need, and no row of the hold-out.

    Args:
        task: The sweep.
        folder: The sweep's, visible to all nodes; None keeps no checkpoints.
    """
    rows, labels = task.training_rows
    spec = task.spec
    return Workload(
        spec.trainer,
        spec.options,
        task.problem,
        spec.metric,
        rows,
        labels,
        task.split.folds,
        spec.measured,
        folder,
        spec.checkpoint_every_s,
        spec.traces,
        spec.resources,
    )


def fit_rows(
    trainer: Trainer, params: Any, rows: Rows, labels: Labels, segments: tuple[Segment, ...] = ()
) -> Any:
    """Fit rows with these parameters; with `segments`, as they say, epoch by epoch."""
    if segments and isinstance(trainer, Evolving):
        # One row to validate on, as nobody reads these metrics.
        return refit_evolved(trainer, segments, Fold(rows, labels, rows[:1], labels[:1]))
    return trainer.refit(params, rows, labels)
