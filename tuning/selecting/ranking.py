"""Which trial wins by the rules, and why each of the others does not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev, stdev
from typing import Any

from tuning.feasibility import broken_limits
from tuning.goals import Constraint
from tuning.selecting.conditions import Order, as_number, shown
from tuning.selecting.rules import SelectionSpec, preferences


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trial as MLflow shows it."""

    run_id: str
    sweep: str
    sweep_run_id: str
    trial: int
    state: str
    """`complete`, `pruned`, `failed`, `running` or `interrupted`."""

    sweep_started_at_ms: int
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """Each metric's mean, std, min and max over the folds, what was measured of the model, and
    `duration_s`."""

    tags: Mapping[str, str]
    scores: tuple[float, ...]
    """The deciding metric in each fold."""

    data_hash: str
    folds: str
    """How the rows were split, as text: equal texts split equal data equally."""

    limits: tuple[Constraint, ...] = ()
    """The bounds of its sweep that count here."""

    @property
    def name(self) -> str:
        """How people are told of it."""
        return f"{self.sweep} trial {self.trial}"

    @property
    def mean(self) -> float:
        """Of the deciding metric."""
        return fmean(self.scores)


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a candidate."""

    candidate: Candidate
    place: int | None
    """From 1; None where it was out of the running."""

    reason: str


def rank(candidates: Sequence[Candidate], spec: SelectionSpec) -> list[Placed]:
    """Put candidates in the order of the rules: those in the running first."""
    running: list[Candidate] = []
    out: list[Placed] = []
    newest = max(candidates, key=lambda each: each.sweep_started_at_ms, default=None)
    for candidate in candidates:
        fault = _fault(candidate, spec, newest)
        if fault is None:
            running.append(candidate)
        else:
            out.append(Placed(candidate, None, fault))
    running.sort(key=lambda each: _rank(each, spec))
    ranked = _simplest_first(running, spec) if running else []
    return ranked + sorted(out, key=lambda each: (each.candidate.sweep, each.candidate.trial))


def _fault(candidate: Candidate, spec: SelectionSpec, newest: Candidate | None) -> str | None:
    """Say why a candidate is out of the running; None if it is in."""
    if candidate.state != "complete":
        return {"pruned": "was stopped early", "failed": "failed"}.get(
            candidate.state, f"is {candidate.state}"
        )
    filters, constraints = spec.conditions
    faults = (condition.fault(candidate) for condition in filters)
    fault = next((f"filter {each}" for each in faults if each), None)
    fault = fault or _incomparable(candidate, spec, newest)
    if fault is None and not candidate.scores:
        fault = f"has no {spec.metric!r} for its folds"
    if fault is None:
        faults = (condition.fault(candidate) for condition in constraints)
        fault = next((f"constraint {each}" for each in faults if each), None)
    return fault or _out_of_bounds(candidate)


def _out_of_bounds(candidate: Candidate) -> str | None:
    """Say which bound of its own sweep a candidate breaks."""
    broken = broken_limits(candidate.metrics, candidate.limits)
    if not broken:
        return None
    limit, value = broken[0]
    return f"constraint of its sweep, {limit.text}: " + (
        "has none" if value is None else f"is {shown(value)}"
    )


def _incomparable(
    candidate: Candidate, spec: SelectionSpec, newest: Candidate | None
) -> str | None:
    if newest is None or spec.comparable_by == "nothing":
        return None
    if candidate.data_hash != newest.data_hash:
        return (
            f"saw data {candidate.data_hash[:8]}, the newest sweep {newest.sweep} "
            f"saw {newest.data_hash[:8]}"
        )
    if spec.comparable_by == "folds" and candidate.folds != newest.folds:
        return f"had other folds than the newest sweep {newest.sweep}"
    return None


def _rank(candidate: Candidate, spec: SelectionSpec) -> tuple[Any, ...]:
    return (
        -spec.sign * candidate.mean,
        *(order.rank(candidate) for order in spec.orders),
        pstdev(candidate.scores),
        candidate.sweep_started_at_ms,
        candidate.trial,
    )


def _simplest_first(ranked: list[Candidate], spec: SelectionSpec) -> list[Placed]:
    """Let the simplest of those win that are about as good as the best."""
    best, tie = ranked[0], None
    if spec.parsimony is None:
        winner = best
    else:
        error = standard_error(best.scores)
        tie = spec.sign * best.mean - spec.parsimony.standard_errors * error
        near = [each for each in ranked if spec.sign * each.mean >= tie]
        # `min` keeps the first of equals: the better one.
        winner = min(near, key=lambda each: _complexity(each, spec))
    ordered = [winner, *(each for each in ranked if each is not winner)]
    return [
        Placed(
            candidate,
            place,
            _why_won(winner, best, spec) if place == 1 else _why_lost(candidate, winner, tie, spec),
        )
        for place, candidate in enumerate(ordered, start=1)
    ]


def standard_error(scores: Sequence[float]) -> float:
    """Estimate how far the mean of a trial's folds is off; 0.0 for a single fold."""
    return stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else 0.0


def _complexity(candidate: Candidate, spec: SelectionSpec) -> tuple[tuple[int, float, str], ...]:
    ranks: list[tuple[int, float, str]] = []
    for key, preference in preferences(spec.parsimony):
        if isinstance(preference, Order):
            ranks.append(preference.rank(candidate))
            continue
        values = [as_number(str(value)) for value in preference]
        found = key.of(candidate)
        unlisted = found is None or found not in values
        ranks.append((1, 0.0, "") if unlisted else (0, float(values.index(found)), ""))  # type: ignore[arg-type]
    return tuple(ranks)


def _why_won(winner: Candidate, best: Candidate, spec: SelectionSpec) -> str:
    mean = f"{spec.metric}_mean {winner.mean:.6g}"
    if winner is best:
        return f"best {mean}"
    if spec.parsimony is None:
        raise ValueError("only parsimony lets another than the best win")
    error = spec.parsimony.standard_errors * standard_error(best.scores)
    return (
        f"{mean} is within {error:.3g} ({spec.parsimony.standard_errors:g} standard errors) of "
        f"the best, {best.name} with {best.mean:.6g}, and simpler: "
        f"{_difference(winner, best, spec)}"
    )


def _why_lost(
    candidate: Candidate, winner: Candidate, tie: float | None, spec: SelectionSpec
) -> str:
    gap = spec.sign * (winner.mean - candidate.mean)
    if tie is not None and spec.sign * candidate.mean >= tie:
        simpler = _difference(winner, candidate, spec)
        if simpler:
            return f"about as good, but the winner is simpler: {simpler}"
    if gap > 0:
        worse = "below" if spec.mode == "max" else "above"
        return f"{spec.metric}_mean {candidate.mean:.6g}, {gap:.3g} {worse} the winner's"
    for order in spec.orders:
        ours, theirs = order.key.of(candidate), order.key.of(winner)
        if order.rank(candidate) != order.rank(winner):
            return f"tie on {spec.metric}_mean; {order.key} {shown(ours)} against {shown(theirs)}"
    mine, other = pstdev(candidate.scores), pstdev(winner.scores)
    if mine != other:
        return f"tie on {spec.metric}_mean; {spec.metric}_std {mine:.3g} against {other:.3g}"
    return f"tie on {spec.metric}_mean; the winner came first"


def _difference(simpler: Candidate, other: Candidate, spec: SelectionSpec) -> str:
    """Name the first preference in which two candidates differ; empty if none."""
    pairs = zip(
        preferences(spec.parsimony), _complexity(simpler, spec), _complexity(other, spec),
        strict=True,
    )  # fmt: skip
    for (key, _), ours, theirs in pairs:
        if ours != theirs:
            return f"{key} {shown(key.of(simpler))} against {shown(key.of(other))}"
    return ""
