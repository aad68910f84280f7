"""When a sweep has had enough, apart from the number of its trials."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from annotated_types import Gt
from pydantic import PositiveInt

from tuning.configfile import Spec
from tuning.goals import Constraint, broken
from tuning.ledger import Trial, TrialState
from tuning.values import value_of


class BudgetSpec(Spec):
    """What a sweep may use up. Once spent, no trial begins; those that run may end."""

    wall_s: Annotated[float, Gt(0)] | None = None
    """Seconds in which trials ran, over all resumes."""

    cost: Annotated[float, Gt(0)] | None = None
    """Sum of what the ended trials cost."""

    cost_metric: str | None = None
    """Metric that says what a trial cost; None counts the seconds of reserved cores."""

    patience: PositiveInt | None = None
    """Trials in a row that ended without a better one that keeps to the constraints."""

    target: float | None = None
    """Value of `metric` that is good enough, of a trial that keeps to the constraints."""

    @property
    def bounds(self) -> dict[str, float]:
        """What was given that may end a sweep, by field."""
        given = {name: getattr(self, name) for name in ("wall_s", "cost", "patience", "target")}
        return {name: bound for name, bound in given.items() if bound is not None}


class Account:
    """Adds up what a sweep's trials used; each is told once it has ended."""

    def __init__(
        self,
        budget: BudgetSpec,
        *,
        metric: str,
        mode: Literal["max", "min"],
        cpu: float,
        limits: Sequence[Constraint] = (),
    ) -> None:
        """Open an account.

        Args:
            budget: What may be used up.
            metric: What decides.
            mode: Whether more of it is better.
            cpu: Cores that a trial reserves.
            limits: Bounds without which a trial can neither win nor be good enough.
        """
        self._budget = budget
        self._limits = limits
        self._metric = metric
        self._sign = 1.0 if mode == "max" else -1.0
        self._cpu = cpu
        self._cost = 0.0
        self._best: float | None = None
        self._since_best = 0
        self._earlier: list[tuple[float, float]] = []
        self._earlier_s = 0.0
        self._since_s: float | None = None

    def add(self, trial: Trial) -> None:
        """Take up a trial that has ended."""
        ended_at_s = trial.ended_at_s or trial.started_at_s
        if self._since_s is None:
            self._earlier.append((trial.started_at_s, ended_at_s))
        if self._budget.cost_metric is None:
            self._cost += self._cpu * (ended_at_s - trial.started_at_s)
        else:
            self._cost += value_of(trial.reports, self._budget.cost_metric) or 0.0
        value = None
        if trial.state is TrialState.COMPLETE and not broken(trial, self._limits):
            value = value_of(trial.reports, self._metric)
        if value is not None and (self._best is None or self._sign * value > self._best):
            self._best, self._since_best = self._sign * value, 0
        else:
            self._since_best += 1

    def spent(self, now_s: float) -> str | None:
        """Say which part of the budget is used up; None while there is something left.

        The clock of this process begins with its first question; trials told before it were
        an earlier process's.

        Args:
            now_s: Unix time.
        """
        if self._since_s is None:
            self._since_s, self._earlier_s = now_s, covered_s(self._earlier)
        budget = self._budget
        if budget.target is not None and self._best is not None:
            best = self._sign * self._best
            if self._best >= self._sign * budget.target:
                return f"{self._metric} reached {best:.6g}, the target is {budget.target:g}"
        if budget.patience is not None and self._since_best >= budget.patience:
            kept = ", ".join(each.text for each in self._limits)
            within = f" within {kept}" if kept else ""
            return f"{self._since_best} trials without a better {self._metric}{within}"
        if budget.cost is not None and self._cost >= budget.cost:
            unit = budget.cost_metric or "core seconds"
            return f"{self._cost:.6g} of {budget.cost:g} {unit} used"
        if budget.wall_s is not None:
            took_s = self._earlier_s + now_s - self._since_s
            if took_s >= budget.wall_s:
                return f"{took_s:.0f} of {budget.wall_s:g} s used"
        return None


def covered_s(intervals: Iterable[tuple[float, float]]) -> float:
    """Length of the union of intervals, so that trials side by side count once."""
    total, reached = 0.0, float("-inf")
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
