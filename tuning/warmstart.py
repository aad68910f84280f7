"""What a sweep learns from an earlier one of the same model, before its first trial."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuning.errors import ConfigError
from tuning.home import Home
from tuning.ledger import Ledger, Prior, TrialState
from tuning.probes import is_missing_file
from tuning.samplers import DORMANT
from tuning.sequence import Placed
from tuning.space import (
    Branches,
    Choice,
    Dimension,
    Int,
    LogUniform,
    Uniform,
    dimensions,
    sample,
)
from tuning.spec import SweepSpec
from tuning.suggestion import UNKNOWN_VIOLATION
from tuning.values import value_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

SWEEP_NAME = "rayfleet.sweep"
TRIAL_STATE = "rayfleet.trial_state"


@dataclass(frozen=True, slots=True)
class Finding:
    """A completed trial of an earlier sweep."""

    params: Mapping[str, Any]
    """As the trainer was given them; text where they come from MLflow."""

    values: Mapping[str, float]
    """What it was worth, by metric."""


def load_priors(spec: SweepSpec, home: Home) -> list[Prior]:
    """Read the sweep that `warm_start` names; empty if it names none.

    Raises:
        ConfigError: There is no such sweep, it is of another model, or nothing of it is in
            this sweep's space.
    """
    if spec.warm_start is None:
        return []
    name = spec.warm_start
    folder = home.sweeps / name
    ledger = Ledger(folder)
    manifest = ledger.manifest() if folder.is_dir() else None
    if manifest is not None:
        model = manifest.spec.get("model") or manifest.spec["name"]
        findings = list(_of_ledger(spec, ledger))
    else:
        model, findings = _of_mlflow(spec, name, home)
    if model != spec.model:
        raise ConfigError(
            f"warm_start: {name!r}: tuned the model {model!r}, allowed: sweeps of {spec.model!r}"
        )
    priors = make_priors(spec, findings)
    if not priors:
        raise ConfigError(
            f"warm_start: {name!r}: none of its {len(findings)} completed trials lies in this "
            f"space and has a {spec.metric}"
        )
    return priors


def make_priors(spec: SweepSpec, findings: Iterable[Finding]) -> list[Prior]:
    """Keep the findings that this sweep's space could have drawn and whose goals are known."""
    priors = []
    for place, finding in enumerate(findings):
        draws = draws_of(spec.space, finding.params)
        values = [finding.values.get(goal.metric) for goal in spec.goals]
        known = [value for value in values if value is not None]
        if draws is None or len(known) < len(values):
            continue
        if spec.searcher.kind in DORMANT:
            draws = _with_dormant(spec, draws, place)
        violations = [
            limit.violation(finding.values[limit.metric])
            if limit.metric in finding.values
            else UNKNOWN_VIOLATION
            for limit in spec.limits
        ]
        priors.append(Prior(draws, known, violations))
    return priors


def draws_of(
    space: Mapping[str, Dimension], params: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any] | None:
    """Say how a space would have drawn parameters, by qualified names.

    Parameters beyond the space are left out: the earlier sweep may have held constant, or
    varied, what this one leaves to its default.

    Returns:
        None if it could not have: one is missing, out of its range, or no such constant.
    """
    draws: dict[str, Any] = {}
    for name, dimension in space.items():
        if name not in params:
            return None
        options = list(_readings(dimension, params[name]))
        if not options:
            return None
        if isinstance(dimension, Branches):
            inner = draws_of(dimension.choice[options[0]], params, f"{prefix}{name}.{options[0]}.")
            if inner is None:
                return None
            draws |= inner
        if isinstance(dimension, Branches | Choice | Uniform | LogUniform | Int):
            draws[prefix + name] = options[0]
    return draws


def _readings(dimension: Dimension, value: Any) -> Iterator[Any]:
    """The value as a member of the dimension; nothing if it is none."""
    match dimension:
        case Branches(choice=branches):
            yield from (branch for branch in branches if branch == value)
        case Choice(choice=values):
            yield from (each for each in values if _same(each, value))
        case Uniform(uniform=bounds) | LogUniform(loguniform=bounds):
            yield from _within(bounds, value)
        case Int(bounds=(low, high), step=step):
            numbers = _within((low, high), value)
            yield from (int(each) for each in numbers if (each - low) % step == 0)
        case constant:
            if _same(constant, value):
                yield constant


def _same(mine: Any, given: Any) -> bool:
    # MLflow stores text only.
    return bool(type(mine) is type(given) and mine == given) or str(mine) == str(given)


def _within(bounds: tuple[float, float], value: Any) -> Iterator[float]:
    with suppress(TypeError, ValueError):
        number = float(value)
        if not isinstance(value, bool) and bounds[0] <= number <= bounds[1]:
            yield number


def _with_dormant(spec: SweepSpec, draws: dict[str, Any], place: int) -> dict[str, Any]:
    """Add the branches that were not chosen, with any values: nothing depends on them."""
    names = [name for name, _ in dimensions(spec.space)]
    shares = np.random.default_rng([spec.seed, place]).random(len(names))
    placed = Placed(dict(zip(names, map(float, shares), strict=True)))
    sample(spec.space, placed, dormant=True)
    return {**placed.draws, **draws}


def _of_ledger(spec: SweepSpec, ledger: Ledger) -> Iterator[Finding]:
    for trial in ledger.trials():
        if trial.state is TrialState.COMPLETE:
            metrics = {goal.metric for goal in spec.goals}
            metrics |= {limit.metric for limit in spec.limits}
            values = {name: value_of(trial.reports, name) for name in metrics}
            yield Finding(
                trial.params, {name: each for name, each in values.items() if each is not None}
            )


def _of_mlflow(spec: SweepSpec, run_id: str, home: Home) -> tuple[str, list[Finding]]:
    from mlflow import MlflowClient  # noqa: PLC0415, seconds, and few sweeps start warm
    from mlflow.exceptions import MlflowException  # noqa: PLC0415, as above

    unknown = ConfigError(
        f"warm_start: {run_id!r}: no sweep of this name under {str(home.sweeps)!r}, and no "
        "run of this id in MLflow"
    )
    if is_missing_file(home.tracking_uri):  # a client would make it
        raise unknown
    client = MlflowClient(home.tracking_uri, home.registry_uri)
    try:
        parent = client.get_run(run_id)
    except MlflowException:
        raise unknown from None
    if SWEEP_NAME not in parent.data.tags:
        raise ConfigError(f"warm_start: {run_id!r}: is no sweep's run")
    params = parent.data.params
    model = params.get("model") or parent.data.tags[SWEEP_NAME]
    return model, [_finding(run) for run in _completed(client, parent)]


def _completed(client: "MlflowClient", parent: "Run") -> Iterator["Run"]:
    token = None
    while True:
        page = client.search_runs(
            [parent.info.experiment_id],
            f"tags.`mlflow.parentRunId` = '{parent.info.run_id}' "
            f"and tags.`{TRIAL_STATE}` = 'complete'",
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _finding(run: "Run") -> Finding:
    values = dict(run.data.metrics)
    means = {
        name.removesuffix("_mean"): value
        for name, value in values.items()
        if name.endswith("_mean")
    }
    return Finding(run.data.params, {**values, **means})
