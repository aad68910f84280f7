"""The candidates of a selection, read from MLflow."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from mlflow import MlflowClient
from mlflow.entities import Run

from tuning.configfile import meant
from tuning.errors import ConfigError
from tuning.feasibility import recorded_limits
from tuning.goals import Constraint
from tuning.runs import experiment_id, fold_values, split_of, sweep_runs, trial_runs
from tuning.selecting.conditions import Key
from tuning.selecting.ranking import Candidate
from tuning.selecting.rules import SelectionSpec
from tuning.tracking import DATA_HASH, SWEEP, TRIAL_ID, TRIAL_STATE
from tuning.values import MEASURED

SUMMARIES = ("_mean", "_std")
EXTREMES = {"_min": min, "_max": max}

MOST_LISTED = 12
"""Names that a message lists."""


def read_candidates(client: MlflowClient, spec: SelectionSpec) -> list[Candidate]:
    """Read the trials of the sweeps that a selection names.

    Raises:
        ConfigError: No sweep is meant, or a rule asks for what no trial has.
    """
    every = sweep_runs(client, experiment_id(client, spec.experiment))
    known = sorted({run.data.tags[SWEEP] for run in every})
    for pattern in spec.sweeps:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise ConfigError(
                f"sweeps: {pattern!r}: no such sweep in experiment {spec.experiment!r}"
                f"{meant(pattern, known)}, allowed: {_listed(known)}"
            )
    named = [run for run in every if _is_meant(run.data.tags[SWEEP], spec.sweeps)]
    candidates = []
    for sweep in named:
        limits = recorded_limits(client, sweep) if spec.sweep_constraints else ()
        candidates += [
            _candidate(client, spec, sweep, trial, limits)
            for trial in trial_runs(client, sweep)
            if TRIAL_ID in trial.data.tags
        ]
    for key in (Key("metrics", f"{spec.metric}_mean"), *spec.keys):
        _require_known(key, candidates)
    return candidates


def _candidate(
    client: MlflowClient,
    spec: SelectionSpec,
    sweep: Run,
    trial: Run,
    limits: tuple[Constraint, ...],
) -> Candidate:
    data, info = trial.data, trial.info
    state = data.tags.get(TRIAL_STATE, "running")
    metrics = {
        name: value
        for name, value in data.metrics.items()
        if name.endswith(SUMMARIES) or name in MEASURED
    }
    if info.end_time is not None:
        metrics["duration_s"] = (info.end_time - info.start_time) / 1000
    scores: tuple[float, ...] = ()
    if state == "complete":
        scores = fold_values(client, info.run_id, spec.metric)
        for key in spec.keys:
            metrics |= _extreme(client, info.run_id, key)
    return Candidate(
        run_id=info.run_id,
        sweep=sweep.data.tags[SWEEP],
        sweep_run_id=sweep.info.run_id,
        trial=int(data.tags[TRIAL_ID]),
        state=state,
        sweep_started_at_ms=sweep.info.start_time or 0,
        params=dict(data.params),
        metrics=metrics,
        tags={**sweep.data.tags, **data.tags},
        scores=scores,
        data_hash=sweep.data.tags.get(DATA_HASH, ""),
        folds=split_of(sweep),
        limits=limits,
    )


def _extreme(client: MlflowClient, run_id: str, key: Key) -> dict[str, float]:
    """Compute what MLflow does not keep: a metric's smallest or largest value over the folds."""
    suffix = key.name[-4:]
    if key.entity != "metrics" or suffix not in EXTREMES:
        return {}
    values = fold_values(client, run_id, key.name.removesuffix(suffix))
    return {key.name: EXTREMES[suffix](values)} if values else {}


def _require_known(key: Key, candidates: Iterable[Candidate]) -> None:
    complete = [each for each in candidates if each.state == "complete"]
    if not complete or any(key.of(each) is not None for each in complete):
        return
    known = {name for each in complete for name in getattr(each, key.entity)}
    if key.entity == "metrics":
        summaries = [name for name in known if name.endswith("_mean")]
        known |= {f"{name[:-5]}{suffix}" for name in summaries for suffix in EXTREMES}
    names = sorted(known)
    raise ConfigError(
        f"{key}: no completed trial has it{meant(key.name, names)}, allowed: {_listed(names)}"
    )


def _is_meant(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    return ", ".join(names[:MOST_LISTED]) + more if names else "none yet"
