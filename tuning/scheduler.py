"""When trials are stopped early, in a spec's words, and which sweeps that suits."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt
from pydantic import PositiveInt

from tuning.budget import BudgetSpec
from tuning.configfile import Spec

SchedulerKind = Literal["asha", "hyperband", "median", "race", "pbt", "fifo"]


class SchedulerSpec(Spec):
    """Whether hopeless trials are stopped early."""

    kind: SchedulerKind = "asha"
    """Its name in the table of schedulers; `fifo` lets every trial finish."""

    grace_period: PositiveInt = 1
    """Reports that every trial may make; a trial reports once per epoch of every fold."""

    reduction_factor: Annotated[float, Gt(1)] = 4.0
    """At each rung of `asha` and `hyperband`, the best 1/reduction_factor continue."""

    brackets: Annotated[int, Gt(0), Le(100)] = 1
    """Sets of rungs of `asha`; each starts its first one later by the reduction factor."""

    min_trials: PositiveInt = 5
    """Trials that `median` must have seen at the same point before it stops one."""

    alpha: Annotated[float, Gt(0), Lt(0.5)] = 0.02
    """Chance at which `race` stops a trial as good as the one it is held against, over all
    its looks."""

    min_folds: Annotated[int, Ge(2)] = 2
    """Folds that a trial must have finished before `race` looks at it."""

    perturbation_interval: PositiveInt = 1
    """Epochs after which a trial of `pbt` may copy a better one, and again after as many."""

    quantile: Annotated[float, Gt(0), Le(0.5)] = 0.25
    """Share of the population, at its lower end, that copies; and of the upper, to be copied."""

    resample: Annotated[float, Ge(0), Le(1)] = 0.25
    """Chance at which `pbt` draws a parameter anew, in the place of a small step."""


WITH_GRACE = frozenset({"asha", "hyperband", "median"})
"""Schedulers that leave a trial its first reports."""


def require_suitable(
    scheduler: SchedulerSpec, budget: BudgetSpec, *, n_folds: int, n_reports: int
) -> None:
    """Refuse a scheduler that has nothing to decide, or no way to do as it is told.

    Args:
        scheduler: What is asked for.
        budget: When the sweep has had enough.
        n_folds: Folds of a trial.
        n_reports: Reports of a trial that is not stopped.

    Raises:
        ValueError: In one line.
    """
    kind = scheduler.kind
    if kind in WITH_GRACE and scheduler.grace_period > n_reports:
        raise ValueError(
            f"scheduler.grace_period: {scheduler.grace_period}, allowed: 1 to "
            f"{n_reports} (folds times epochs)"
        )
    if kind == "race" and scheduler.min_folds >= n_folds:
        raise ValueError(
            f"scheduler.min_folds: {scheduler.min_folds}: of {n_folds} folds, race can "
            f"spare none, allowed: 2 to {n_folds - 1}"
            if n_folds > 2
            else f"scheduler.kind: 'race': needs 3 folds or more, not {n_folds}"
        )
    if kind == "pbt" and budget.bounds:
        name, bound = next(iter(budget.bounds.items()))
        raise ValueError(
            f"budget.{name}: {bound:g}: all trials of a pbt population begin at once, and a budget "
            "keeps trials from beginning, allowed: null"
        )
