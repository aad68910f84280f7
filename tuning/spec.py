"""What a sweep's YAML file may say, and whether it can be done."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
from annotated_types import Ge, Gt, Le
from pydantic import (
    Field,
    PositiveInt,
    StringConstraints,
    field_validator,
    model_validator,
)

from tuning.budget import BudgetSpec
from tuning.comparison import RequireBetterSpec
from tuning.configfile import Spec, read_spec
from tuning.crossvalidation import take_rows
from tuning.data import DataSpec, Labels, Rows, Table, load_table
from tuning.errors import ConfigError
from tuning.exploring import mutable_dimensions
from tuning.flavors import require_flavor
from tuning.folds import FoldsSpec, Split, split_rows
from tuning.goals import Constraint, ConstraintText, Mode, ObjectiveSpec, parse_constraint
from tuning.resources import ResourcesSpec
from tuning.scheduler import SchedulerSpec, require_suitable
from tuning.searcher import LEARNERS, SearcherSpec, require_searchable
from tuning.sequence import require_grid
from tuning.space import Space, examples
from tuning.tracespec import TracesSpec
from tuning.trainers.factory import in_one_line, make_trainer
from tuning.trainers.trainer import BACKENDS, Distributed, Problem, Selective, Trainer
from tuning.values import MEASURED

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""Letters, digits, dots, dashes and underscores: it becomes a folder and an application."""

TRACKED_NAME = re.compile(r"[\w.:-][\w .:-]{0,249}")
"""Names of parameters and metrics that MLflow takes; slashes it takes only sometimes."""

Seed = Annotated[int, Ge(0), Le(2**32 - 1)]
"""What NumPy and scikit-learn take."""

UNTIED_FIELDS = frozenset({"checkpoint_every_s", "max_concurrent", "resources", "traces"})
"""How fast a sweep runs, not what it computes: these may change while it is unfinished."""


class SweepSpec(Spec):
    """One search over hyperparameters that ends in a registered model version."""

    name: Name
    """The sweep; the same name resumes it."""

    given_model: Name | None = Field(None, alias="model")
    """Registered model that gets the version; None takes the sweep's name."""

    experiment: Annotated[str, StringConstraints(min_length=1, max_length=250)] = "rayfleet"
    """MLflow experiment of the runs; also the name of its folder of artifacts."""

    data: DataSpec
    """Where the rows come from."""

    folds: FoldsSpec = FoldsSpec()
    """How they are split."""

    trainer: Annotated[str, StringConstraints(min_length=1)]
    """`sklearn`, `tensorflow`, `torch`, or one's own `package.module:factory`."""

    options: dict[str, Any] = Field(default_factory=dict)
    """What the trainer can be told beside its parameters."""

    epochs: PositiveInt = 1
    """Passes over the rows; trainers that fit in one go know only 1."""

    space: Space
    """What is tried."""

    metric: str = "accuracy"
    """What decides: the mean over the folds of a metric that the trainer reports."""

    mode: Mode = "max"
    """Whether more of it is better."""

    objectives: Annotated[tuple[ObjectiveSpec, ...], Field(strict=False)] = ()
    """Further metrics to search for; the result is the Pareto set, its best in `metric` wins."""

    constraints: Annotated[tuple[ConstraintText, ...], Field(strict=False)] = ()
    """Bounds that a winner keeps, such as `p99_ms <= 5` or `model_bytes <= 10 MB`."""

    n_trials: Annotated[int, Gt(0), Le(1_000_000)]
    """Configurations to try."""

    max_concurrent: Annotated[int, Gt(0), Le(1_000_000)] | None = None
    """Trials at one time; None takes as many as the cluster has room for when the sweep begins."""

    resources: ResourcesSpec = ResourcesSpec()
    """What each trial reserves."""

    checkpoint_every_s: Annotated[float, Ge(0)] = 10.0
    """Least seconds between two checkpoints of a trial, from which it goes on when it was killed;
    the epochs of `torch` and `tensorflow` have them, and the finished folds of every trainer."""

    scheduler: SchedulerSpec = SchedulerSpec()
    """When trials are stopped early."""

    searcher: SearcherSpec = SearcherSpec()
    """How configurations are chosen."""

    warm_start: Annotated[str, StringConstraints(min_length=1, max_length=250)] | None = None
    """Sweep of the same model, by name or MLflow run id, whose results the search begins with."""

    budget: BudgetSpec = BudgetSpec()
    """When the sweep has had enough, beside `n_trials`."""

    seed: Seed = 0
    """Of the search and of every fit; `folds.seed` is apart, to compare on equal folds."""

    require_better: RequireBetterSpec | None = None
    """Whether the winner must beat the champion in a paired test; null: no."""

    traces: TracesSpec | None = None
    """Where spans of the sweep, its trials and their folds go; null makes none."""

    @model_validator(mode="after")
    def _model_can_be_served(self) -> Self:
        # A version's application is called MODEL--vVERSION.
        if "--" in self.model:
            field = "name" if self.given_model is None else "model"
            raise ValueError(f"{field}: {self.model!r}: a model has no '--' in its name")
        return self

    @field_validator("experiment")
    @classmethod
    def _experiment_names_a_folder(cls, value: str) -> str:
        parts = value.removeprefix("/").split("/")
        if not value.isprintable() or any(part.strip(" .") == "" for part in parts):
            raise ValueError(
                f"{value!r}: allowed: printable text whose parts between slashes are neither "
                "empty nor dots"
            )
        return value

    @model_validator(mode="after")
    def _scheduler_suits_the_trials(self) -> Self:
        require_suitable(
            self.scheduler, self.budget, n_folds=self.folds.n_folds, n_reports=self.n_reports
        )
        return self

    @model_validator(mode="after")
    def _objectives_differ_and_are_let_finish(self) -> Self:
        names = [goal.metric for goal in self.goals]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"objectives: {twice!r} stands twice")
        if self.objectives and self.scheduler.kind != "fifo":
            raise ValueError(
                f"scheduler.kind: {self.scheduler.kind!r}: stops trials by one metric, allowed "
                "with objectives: fifo"
            )
        if self.measured and self.scheduler.kind == "pbt":
            raise ValueError("scheduler.kind: 'pbt': does not measure models, allowed: any other")
        return self

    @model_validator(mode="after")
    def _groups_and_times_decide_the_folds(self) -> Self:
        # Any other folds would let rows of one group, or the future, onto both sides.
        for column, name, kind in (
            ("group", self.data.group, "grouped"),
            ("time", self.data.time, "time_series"),
        ):
            if name is not None and self.folds.kind != kind:
                raise ValueError(
                    f"data.{column}: {name!r}: {self.folds.kind} folds do not heed it, allowed "
                    f"with folds.kind: {kind}"
                )
        return self

    @model_validator(mode="after")
    def _searcher_can_learn_from_a_warm_start(self) -> Self:
        if self.warm_start is not None and self.searcher.kind not in LEARNERS:
            raise ValueError(
                f"warm_start: {self.warm_start!r}: the {self.searcher.kind} searcher learns from "
                f"no results, allowed: {', '.join(LEARNERS)}"
            )
        if self.warm_start is not None and self.warm_start == self.name:
            raise ValueError(f"warm_start: {self.warm_start!r}: is this sweep itself")
        return self

    @property
    def model(self) -> str:
        """Registered model that gets the version."""
        return self.given_model or self.name

    @property
    def n_reports(self) -> int:
        """Reports of a trial that is not stopped."""
        return self.folds.n_folds * self.epochs

    @property
    def goals(self) -> tuple[ObjectiveSpec, ...]:
        """Everything that is searched for, the deciding metric first."""
        return (ObjectiveSpec(metric=self.metric, mode=self.mode), *self.objectives)

    @property
    def limits(self) -> tuple[Constraint, ...]:
        """The bounds that a winner keeps."""
        return tuple(map(parse_constraint, self.constraints))

    @property
    def measured(self) -> bool:
        """Whether a goal is a property of the model that folds do not tell."""
        named = {goal.metric for goal in self.goals} | {limit.metric for limit in self.limits}
        return not named.isdisjoint(MEASURED) or self.budget.cost_metric in MEASURED

    def tied(self) -> dict[str, Any]:
        """Return the fields that an unfinished sweep must keep, as plain values."""
        return self.model_dump(mode="json", by_alias=True, exclude=set(UNTIED_FIELDS))

    def sha256(self) -> str:
        """Hash the fields that decide what the sweep computes."""
        plain = self.model_dump_json(by_alias=True, exclude=set(UNTIED_FIELDS))
        return hashlib.sha256(plain.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Task:
    """What a spec's words stand for: rows, their split, and who trains on them."""

    spec: SweepSpec
    table: Table
    split: Split
    problem: Problem
    trainer: Trainer

    @property
    def training_rows(self) -> tuple[Rows, Labels]:
        """Rows and labels that folds and the final fit may see, as the model wants them."""
        return self._select(self.split.training)

    @property
    def holdout_rows(self) -> tuple[Rows, Labels]:
        """Rows and labels that no fold sees, as the model wants them."""
        return self._select(self.split.holdout)

    def select_raw(self, positions: Any) -> Rows:
        """Pick rows as the data has them, whoever the trainer is."""
        return take_rows(self.table.rows, positions)

    def _select(self, positions: Any) -> tuple[Rows, Labels]:
        chosen = self.select_raw(positions)
        return model_rows(chosen, self.trainer.row_shape), self.table.labels[positions]


def model_rows(rows: Rows, row_shape: tuple[int, ...] | None) -> Rows:
    """Bring rows into the form that a model wants: float32 of its shape, or as they are."""
    if row_shape is None or isinstance(rows, pd.DataFrame):
        return rows
    return np.ascontiguousarray(rows.reshape(-1, *row_shape), dtype=np.float32)


def read_sweep(path: Path) -> SweepSpec:
    """Read a sweep from YAML, without opening what it names.

    Raises:
        ConfigError: One line for each fault.
    """
    return read_spec(path, SweepSpec)


def check_sweep(spec: SweepSpec, where: str) -> Task:
    """Check what takes a look at the data and at the trainer; nothing is fitted.

    Args:
        spec: The sweep.
        where: The prefix of the fault, the spec's file.

    Raises:
        ConfigError: The first fault, in one line.
    """
    try:
        return _prepare(spec)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def validate_file(path: Path) -> SweepSpec:
    """Read and check a sweep's file.

    Raises:
        ConfigError: One line for each fault.
    """
    spec = read_sweep(path)
    check_sweep(spec, where=str(path))
    return spec


def _prepare(spec: SweepSpec) -> Task:
    table = load_table(spec.data)
    split = split_rows(table.labels, spec.folds, table.groups)
    problem = _problem(spec, table)
    trainer = make_trainer(spec.trainer, problem, spec.options)
    require_flavor(trainer.flavor)
    _require_joinable(spec, trainer)
    require_searchable(spec.searcher, spec.space, len(spec.goals))
    if spec.searcher.kind == "grid":
        require_grid(spec.space, spec.searcher, spec.n_trials)
    _require_reported(spec, trainer)
    if spec.scheduler.kind == "pbt":
        mutable_dimensions(spec.space, trainer)
    _require_names_that_mlflow_takes("metric", trainer.metrics)
    _require_shape(spec, table, trainer)
    searched = {metric for _, metric, _ in _named_metrics(spec)}
    for params in examples(spec.space):
        _require_names_that_mlflow_takes("space", params)
        try:
            trainer.check(params)
            if isinstance(trainer, Selective):
                trainer.require_reported(params, searched)
        except Exception as error:  # noqa: BLE001, a user's own code may raise anything
            reason = str(error) if isinstance(error, ConfigError) else in_one_line(error)
            raise ConfigError(f"space: {reason}") from None
    return Task(spec, table, split, problem, trainer)


def _require_joinable(spec: SweepSpec, trainer: Trainer) -> None:
    if isinstance(trainer, Distributed) and trainer.backend not in BACKENDS:
        raise ConfigError(
            f"trainer: {spec.trainer!r}: backend {trainer.backend!r}, allowed: "
            f"{', '.join(BACKENDS)}"
        )
    if spec.resources.gang and not isinstance(trainer, Distributed):
        raise ConfigError(
            f"resources.num_workers: {spec.resources.num_workers}: the {spec.trainer} trainer "
            "trains in one process, allowed: 1"
        )


def _require_reported(spec: SweepSpec, trainer: Trainer) -> None:
    for field, metric, measured in _named_metrics(spec):
        if metric not in trainer.metrics and metric not in measured:
            raise ConfigError(
                f"{field}: {metric!r}: the {spec.trainer} trainer never reports it, "
                f"allowed: {', '.join((*trainer.metrics, *measured))}"
            )


def _named_metrics(spec: SweepSpec) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield fields, the metrics in them, and what may stand there beside a trainer's own."""
    yield "metric", spec.metric, ()
    for objective in spec.objectives:
        yield "objectives", objective.metric, MEASURED
    for limit in spec.limits:
        yield "constraints", limit.metric, MEASURED
    if spec.budget.cost_metric is not None:
        yield "budget.cost_metric", spec.budget.cost_metric, MEASURED


def _require_names_that_mlflow_takes(field: str, names: Iterable[str]) -> None:
    for name in names:
        if not TRACKED_NAME.fullmatch(name):
            raise ConfigError(
                f"{field}: {name!r:.100}: MLflow cannot store it, allowed: up to 250 letters, "
                "digits, spaces and any of _ - . :"
            )


def _require_shape(spec: SweepSpec, table: Table, trainer: Trainer) -> None:
    shape = trainer.row_shape
    if shape is not None and prod(shape) != len(table.columns):
        raise ConfigError(
            f"trainer: {spec.trainer!r}: wants rows of shape {shape}, the data has "
            f"{len(table.columns)} columns"
        )


def _problem(spec: SweepSpec, table: Table) -> Problem:
    rows = table.rows
    text = (
        tuple(name for name in table.columns if rows[name].dtype == object)
        if isinstance(rows, pd.DataFrame)
        else ()
    )
    return Problem(
        columns=table.columns,
        text_columns=text,
        missing=bool(np.asarray(pd.isna(rows)).any()),
        n_classes=len(table.classes),
        epochs=spec.epochs,
        seed=spec.seed,
        n_threads=max(1, int(spec.resources.cpu)),
        gpu=spec.resources.gpu > 0,
    )
