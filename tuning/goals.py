"""What a sweep is after beside its metric: bounds that must hold, and further objectives."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints

from tuning.configfile import Spec
from tuning.ledger import Trial, TrialState
from tuning.values import value_of

Mode = Literal["max", "min"]

UNITS: Mapping[str, int] = {
    "": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
}
BYTES = "_bytes"
"""How the name of a metric ends that may be compared with a size."""

CONSTRAINT = re.compile(
    r"\s*(?P<metric>[\w.:-]+)\s*(?P<sign><=|>=)\s*"
    r"(?P<bound>[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?)\s*(?P<unit>[A-Za-z]+)?\s*"
)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A bound on a metric."""

    text: str
    """As it was written."""

    metric: str
    upper: bool
    """Whether it must not be more than `bound`, or not less."""

    bound: float

    def violation(self, value: float) -> float:
        """How far beyond the bound, as a share of it; 0 or less within."""
        beyond = value - self.bound if self.upper else self.bound - value
        return beyond / (abs(self.bound) or 1.0)


def parse_constraint(text: str) -> Constraint:
    """Read a bound such as `p99_ms <= 5` or `model_bytes <= 10 MB`.

    Raises:
        ValueError: It is no bound.
    """
    found = CONSTRAINT.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: should be METRIC <= NUMBER or METRIC >= NUMBER")
    unit = found["unit"] or ""
    if unit and not found["metric"].endswith(BYTES):
        raise ValueError(f"{text!r}: only metrics named ...{BYTES} are compared with {unit}")
    if unit not in UNITS:
        raise ValueError(f"{text!r}: unit {unit!r}, allowed: {', '.join(filter(None, UNITS))}")
    bound = float(found["bound"]) * UNITS[unit]
    return Constraint(text.strip(), found["metric"], found["sign"] == "<=", bound)


def _checked(text: str) -> str:
    parse_constraint(text)
    return text


ConstraintText = Annotated[str, StringConstraints(max_length=200), AfterValidator(_checked)]


class ObjectiveSpec(Spec):
    """One more metric to search for."""

    metric: str
    """A metric that the trainer reports, or `model_bytes`, `p50_ms` or `p99_ms`."""

    mode: Mode = "max"
    """Whether more of it is better."""


def feasible(trials: Iterable[Trial], constraints: Sequence[Constraint]) -> list[Trial]:
    """Leave out completed trials that break a bound, or that have no value to compare with it."""
    return [trial for trial in trials if not broken(trial, constraints)]


def broken(trial: Trial, constraints: Sequence[Constraint]) -> list[Constraint]:
    """Return the bounds that a completed trial does not keep; empty for any other trial."""
    if trial.state is not TrialState.COMPLETE:
        return []
    values = ((each, value_of(trial.reports, each.metric)) for each in constraints)
    return [each for each, value in values if value is None or each.violation(value) > 0]


def pareto_set(trials: Iterable[Trial], objectives: Sequence[ObjectiveSpec]) -> list[Trial]:
    """Choose the completed trials that no other one beats in every objective.

    One trial beats another if it is nowhere worse and somewhere better; equals stay.

    Returns:
        The best in the first objective first.
    """
    points = [
        (tuple(_losses(trial, objectives)), trial)
        for trial in trials
        if trial.state is TrialState.COMPLETE
    ]
    front: list[tuple[tuple[float, ...], Trial]] = []
    # In this order a later point never beats an earlier one.
    for losses, trial in sorted(points, key=lambda point: (point[0], point[1].number)):
        if not any(_dominates(other, losses) for other, _ in front):
            front.append((losses, trial))
    return [trial for _, trial in front]


def _losses(trial: Trial, objectives: Sequence[ObjectiveSpec]) -> Iterable[float]:
    for objective in objectives:
        value = value_of(trial.reports, objective.metric)
        if value is None:
            yield float("inf")
        else:
            yield -value if objective.mode == "max" else value


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine <= theirs for mine, theirs in zip(one, other, strict=True))
