"""Sweeps as a board of them shows: read from MLflow alone, so from anywhere."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run

from tuning.comparison import Comparison, compare_paired
from tuning.feasibility import broken_limits, recorded_limits
from tuning.runs import (
    SPLIT_PREFIX,
    fold_values,
    recorded_spec,
    split_of,
    sweep_runs,
    trial_runs,
)
from tuning.spec import SweepSpec
from tuning.standing import Standing
from tuning.tracking import DATA_HASH, SWEEP, TRIAL_ID, TRIAL_STATE

PHASES: Mapping[str, str] = {
    "FINISHED": "finished",
    "FAILED": "failed",
    "KILLED": "interrupted",
    "RUNNING": "running",
}
"""What a sweep's run says of it, in the words of a terminal."""


@dataclass(frozen=True, slots=True)
class Versus:
    """Two sweeps, side by side."""

    same_data: bool
    same_folds: bool
    same_metric: bool
    comparison: Comparison | None
    """Of the best trials, the second sweep's against the first's; None where that is not fair,
    or one of them has no trial that could win."""


def all_sweeps(client: MlflowClient) -> list[Run]:
    """Return the newest run of each sweep, the newest first."""
    runs: list[Run] = []
    for experiment in client.search_experiments():
        runs += sweep_runs(client, experiment.experiment_id)
    runs.sort(key=lambda run: run.info.start_time or 0, reverse=True)
    newest: dict[str, Run] = {}
    for run in runs:
        newest.setdefault(run.data.tags[SWEEP], run)
    return list(newest.values())


def find_sweep(client: MlflowClient, name: str) -> Run | None:
    """Return the newest run of a sweep; None if there is none of that name."""
    return next((run for run in all_sweeps(client) if run.data.tags[SWEEP] == name), None)


def standing_of(
    client: MlflowClient, sweep: Run, clock: Callable[[], float] = time.time
) -> Standing:
    """Say where a sweep stands."""
    trials = [each for each in trial_runs(client, sweep) if TRIAL_ID in each.data.tags]
    metric = sweep.data.params.get("metric", "accuracy")
    best = best_trial(client, sweep, trials)
    ended = [each.info for each in trials if _end_ms(each) is not None]
    end_ms = _end_ms(sweep)
    end = end_ms / 1000 if end_ms is not None else clock()
    spec = _spec(client, sweep)
    return Standing(
        name=sweep.data.tags[SWEEP],
        phase=PHASES.get(sweep.info.status, sweep.info.status.lower()),
        n_trials=int(sweep.data.params.get("n_trials", len(trials))),
        counts=Counter(each.data.tags.get(TRIAL_STATE, "running") for each in trials),
        metric=metric,
        elapsed_s=max(end - sweep.info.start_time / 1000, 0.0),
        trial_s=fmean((each.end_time - each.start_time) / 1000 for each in ended) if ended else 0.0,
        best=None if best is None else best.data.metrics[f"{metric}_mean"],
        best_std=0.0 if best is None else best.data.metrics.get(f"{metric}_std", 0.0),
        best_trial=None if best is None else int(best.data.tags[TRIAL_ID]),
        best_params={} if best is None else dict(best.data.params),
        cpu=1.0 if spec is None else spec.resources.total_cpu,
        gpu=0.0 if spec is None else spec.resources.total_gpu,
    )


def _end_ms(run: Run) -> int | None:
    """When a run ended; None while it runs, though MLflow keeps the end that a resume undid."""
    end_ms: int | None = run.info.end_time
    return None if run.info.status == "RUNNING" else end_ms


def best_trial(client: MlflowClient, sweep: Run, trials: list[Run]) -> Run | None:
    """Return the trial that would win now, by the sweep's own rule.

    Returns:
        Of the completed trials that keep the sweep's bounds the one with the best mean, then
        the lower standard deviation, then the lower number; None if there is none.

    Raises:
        ConfigError: The bounds cannot be read.
    """
    params = sweep.data.params
    metric = params.get("metric", "accuracy")
    sign = 1.0 if params.get("mode", "max") == "max" else -1.0
    limits = recorded_limits(client, sweep)

    def rank(trial: Run) -> tuple[float, float, int]:
        metrics = trial.data.metrics
        mean, std = metrics[f"{metric}_mean"], metrics.get(f"{metric}_std", 0.0)
        return -sign * mean, std, int(trial.data.tags[TRIAL_ID])

    running = [
        each
        for each in trials
        if each.data.tags.get(TRIAL_STATE) == "complete"
        and f"{metric}_mean" in each.data.metrics
        and not broken_limits(each.data.metrics, limits)
    ]
    return min(running, key=rank, default=None)


def versus(client: MlflowClient, first: Run, second: Run) -> Versus:
    """Compare the best trials of two sweeps, if they answered the same question."""
    metric = first.data.params.get("metric")
    same_data = first.data.tags.get(DATA_HASH) == second.data.tags.get(DATA_HASH)
    same_folds = split_of(first) == split_of(second)
    same_metric = (metric, first.data.params.get("mode")) == (
        second.data.params.get("metric"),
        second.data.params.get("mode"),
    )
    comparison = None
    if same_data and same_folds and same_metric and metric is not None:
        ours, theirs = (_best_scores(client, sweep, metric) for sweep in (second, first))
        if len(ours) == len(theirs) >= 2:
            comparison = compare_paired(
                ours,
                theirs,
                sign=1.0 if first.data.params.get("mode") == "max" else -1.0,
                test_to_train=_test_to_train(first.data.params),
            )
    return Versus(same_data, same_folds, same_metric, comparison)


def differing(first: Run, second: Run) -> dict[str, tuple[Any, Any]]:
    """Name the settings in which two sweeps differ, with both values."""
    ours, theirs = first.data.params, second.data.params
    return {
        key: (ours.get(key), theirs.get(key))
        for key in sorted({*ours, *theirs})
        if ours.get(key) != theirs.get(key)
    }


def _test_to_train(params: Mapping[str, str]) -> float:
    """Rows that a sweep's fold validates over rows that it fits, on average.

    Computed from how it was asked to split, since its rows may be out of reach.

    Assumes:
        Folds of about equal size; groups of unequal sizes have uneven ones.
    """
    n_splits = int(params[f"{SPLIT_PREFIX}n_splits"])
    if params[f"{SPLIT_PREFIX}kind"] == "time_series":
        # Of n_splits + 1 equal stretches, a fold validates one and fits all before it.
        return fmean(1 / before for before in range(1, n_splits + 1))
    return 1 / (n_splits - 1)


def _best_scores(client: MlflowClient, sweep: Run, metric: str) -> tuple[float, ...]:
    best = best_trial(client, sweep, trial_runs(client, sweep))
    return () if best is None else fold_values(client, best.info.run_id, metric)


def _spec(client: MlflowClient, sweep: Run) -> SweepSpec | None:
    """Read the recorded spec; None where it cannot be had."""
    try:
        return recorded_spec(client, sweep)
    except Exception:  # noqa: BLE001, artifacts may lie where this process cannot read them
        return None


def spec_text(client: MlflowClient, sweep: Run) -> dict[str, Any] | None:
    """Return the recorded spec as plain values; None where it cannot be had."""
    spec = _spec(client, sweep)
    plain: dict[str, Any] | None = (
        None if spec is None else json.loads(spec.model_dump_json(by_alias=True))
    )
    return plain
