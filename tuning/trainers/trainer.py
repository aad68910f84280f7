"""What a trainer is given, what it owes, and nothing about where it runs."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from tuning.data import Labels, Rows
from tuning.space import Params

Metrics = Mapping[str, float]


BACKENDS = ("tensorflow", "torch")
"""How Ray Train can join the workers of a trial."""


@dataclass(frozen=True, slots=True)
class Workers:
    """The processes that train one trial together, and which of them this one is."""

    rank: int = 0
    """From 0; what worker 0 reports and keeps is the trial's."""

    size: int = 1
    """How many there are."""

    def share(self, n_rows: int) -> slice:
        """Return this worker's rows of a batch; those of all workers make up the batch."""
        return slice(n_rows * self.rank // self.size, n_rows * (self.rank + 1) // self.size)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a trainer is built for; the same for all trials of a sweep, but for `workers`."""

    columns: tuple[str, ...]
    """Feature names."""

    text_columns: tuple[str, ...]
    """Those of `columns` that hold text; empty for a matrix."""

    missing: bool
    """Whether a training row lacks a value."""

    n_classes: int
    """Labels are 0 to n_classes - 1; 0 where they are measurements, for a regression."""

    epochs: int
    """Passes over the rows that a fit makes."""

    seed: int
    """Equal seeds and parameters give equal metrics."""

    n_threads: int
    """Threads that a fit may keep busy in each worker."""

    gpu: bool
    """Whether a GPU was reserved for each worker of a trial."""

    workers: Workers = Workers()
    """Who trains together; one process, unless the trainer is `Distributed`."""

    @property
    def regression(self) -> bool:
        """Whether numbers are predicted, and no classes."""
        return self.n_classes == 0


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows to fit and rows to validate on, in the form that the trainer asks for.

    Arrays may be read-only views of Ray's object store.
    """

    rows: Rows
    labels: Labels
    validation_rows: Rows
    validation_labels: Labels


class Trainer(Protocol):
    """Trains models of one kind. Knows neither Tune nor MLflow.

    Building one is cheap and imports no framework; it is used by one thread at a time.
    """

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that every report carries, but see `Selective`."""
        ...

    @property
    def flavor(self) -> str:
        """How the model is logged, a key of `tuning.flavors.FLAVORS`."""
        ...

    @property
    def row_shape(self) -> tuple[int, ...] | None:
        """Shape of one row as the model wants it; None takes rows as the data has them."""
        ...

    def check(self, params: Params) -> None:
        """Refuse parameters that no fit could use, without fitting.

        Raises:
            ConfigError: Names the parameter, its value and what is allowed.
        """
        ...

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Fit one fold, yielding validation metrics after each epoch, at most `epochs` times."""
        ...

    def refit(self, params: Params, rows: Rows, labels: Labels) -> Any:
        """Return a model fitted on all of these rows; it pickles, and lives on the CPU."""
        ...

    def score(self, model: Any, rows: Rows, labels: Labels) -> Metrics:
        """Measure a refitted model."""
        ...


@runtime_checkable
class Selective(Protocol):
    """What a trainer needs beside that if some parameters keep a fit from some of `metrics`."""

    def require_reported(self, params: Params, metrics: Collection[str]) -> None:
        """Refuse parameters with which a fit would not report all of these metrics.

        Args:
            params: What `check` lets pass.
            metrics: Those that a sweep depends on; others may be in it that no trainer reports.

        Raises:
            ConfigError: Names the parameter, its value and what is allowed.
        """
        ...


@runtime_checkable
class Resumable(Protocol):
    """What a trainer may have beside that: a fold that was cut off goes on from an epoch."""

    def state(self) -> bytes:
        """Return everything by which `resume` goes on after the last report of `train`."""
        ...

    def resume(self, params: Params, fold: Fold, state: bytes) -> Iterator[Metrics]:
        """Yield what `train` would have yielded after the report that `state` was taken at."""
        ...


@runtime_checkable
class Distributed(Protocol):
    """What a trainer needs beside that to train on several workers.

    Every worker has a trainer and the whole fold, and all are called alike: what one yields,
    all yield. `Problem.workers` says which one it is. Worker 0's reports and state count; with
    `state`, all of them resume from it.
    """

    @property
    def backend(self) -> str:
        """How workers are joined before a trainer is built, one of `BACKENDS`.

        `torch` initializes `torch.distributed`, `tensorflow` sets `TF_CONFIG`.
        """
        ...


@runtime_checkable
class Evolving(Resumable, Protocol):
    """What a trainer needs for population based training, beside that."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that every report carries."""
        ...

    @property
    def mutable(self) -> tuple[str, ...]:
        """Parameters that `resume` may be given other values of than its state had."""
        ...

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Fit one fold, as `Trainer` does."""
        ...

    def model(self) -> Any:
        """Return the model after the last report; it pickles, and lives on the CPU."""
        ...
