"""Whether a winner is better than the champion: the evidence is gathered here.

Where both saw the same data, their scores on the same folds are compared; folds that
differ are scored anew with the champion's configuration. Where the data changed, both
models answer for rows of the new hold-out that the champion was never fitted on.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import numpy as np
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from tuning.comparison import RequireBetterSpec, compare_paired
from tuning.crossvalidation import cross_validate, cut_folds, fold_scores, take_rows
from tuning.data import Labels, Rows
from tuning.errors import ConfigError
from tuning.exploring import Segment, read_spelled
from tuning.flavors import require_flavor
from tuning.folds import Positions
from tuning.mlflowfaults import MLFLOW_ERRORS
from tuning.registry import CHAMPION, CLASSES, SWEEP_RUN_ID, TRIAL_RUN_ID
from tuning.runs import fold_values, read_artifact, recorded_spec
from tuning.seen import ROWS_FILE, decode_hashes, row_hashes
from tuning.selecting.columns import strange_columns
from tuning.space import Params
from tuning.spec import SweepSpec, Task, check_sweep
from tuning.tracking import DATA_HASH, PARAMS, SCHEDULE
from tuning.trainers.factory import in_one_line
from tuning.trainers.trainer import Metrics

MOST_PARTS = 10
"""Parts into which a hold-out is cut; each is one pair of scores."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Who wants to be registered."""

    task: Task
    trial_run_id: str
    scores: Sequence[float]
    """The deciding metric in each of the task's folds."""

    metric: str
    sign: float
    """1.0 where more is better, -1.0 where less is."""

    score: Callable[[Rows, Labels], Metrics]
    """Measures it, fitted on all training rows; called only where a new hold-out decides."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What both sides are judged by."""

    ours: Sequence[float]
    """The contender's."""

    theirs: Sequence[float]
    """The champion's, on the same rows in the same order."""

    test_to_train: float
    """Rows tested on over rows fitted on; 0.0 where no two scores share a fitted row."""

    where: str
    """On what rows, in words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the comparison."""

    better: bool
    reason: str
    """In one line, with the numbers."""


class _IncomparableError(Exception):
    """The champion cannot be compared; the message says why."""


def judge_contender(
    client: MlflowClient, model: str, contender: Contender, rule: RequireBetterSpec
) -> Verdict:
    """Compare with the version that the alias `champion` names.

    Raises:
        Exception: Whatever MLflow's stores raise, or the contender's trainer.
    """
    registered = client.search_registered_models(f"name = '{model}'")
    number = registered[0].aliases.get(CHAMPION) if registered else None
    if number is None:
        return Verdict(better=True, reason=f"{model!r} has no champion")
    champion = client.get_model_version(model, str(number))
    name = f"the champion, version {champion.version}"
    if champion.tags.get(TRIAL_RUN_ID) == contender.trial_run_id:
        return Verdict(better=True, reason=f"it is {name}")
    try:
        scores = _scores(client, champion, contender)
    except (_IncomparableError, ConfigError) as error:
        return Verdict(better=False, reason=f"it cannot be compared with {name}: {error}")
    return weigh(scores, contender, rule, name)


def weigh(scores: Scores, contender: Contender, rule: RequireBetterSpec, name: str) -> Verdict:
    """Decide from both sides' scores.

    Args:
        scores: Of both.
        contender: Whose are the first.
        rule: How sure it must be.
        name: How people are told of the champion.
    """
    found = compare_paired(
        scores.ours, scores.theirs, sign=contender.sign, test_to_train=scores.test_to_train
    )
    better = found.p <= rule.alpha and found.gain > 0
    word = "better" if better else "not better"
    proof = (
        "the same difference in each, and without a spread nothing is proven"
        if found.even and found.gain > 0
        else f"p = {found.p:.3g}, alpha {rule.alpha:g}"
    )
    return Verdict(
        better=better,
        reason=f"{word} than {name}: {contender.metric} {fmean(scores.ours):.6g} against "
        f"{fmean(scores.theirs):.6g} on {scores.where}, {proof}",
    )


def _scores(client: MlflowClient, champion: ModelVersion, contender: Contender) -> Scores:
    """Gather both sides' scores."""
    sweep_run_id, trial_run_id = champion.tags.get(SWEEP_RUN_ID), champion.tags.get(TRIAL_RUN_ID)
    if sweep_run_id is None or trial_run_id is None:
        raise _IncomparableError("it was not made by a sweep")
    spec = recorded_spec(client, client.get_run(sweep_run_id))
    task = contender.task
    if champion.tags.get(DATA_HASH) != task.table.sha256:
        ours, theirs = _on_new_rows(client, champion, spec, contender)
        return Scores(ours, theirs, 0.0, f"{len(ours)} parts of the new hold-out")
    ratio, where = task.split.test_share, f"the same {len(contender.scores)} folds"
    if spec.folds == task.spec.folds:
        others = fold_values(client, trial_run_id, contender.metric)
        if len(others) == len(contender.scores):
            return Scores(contender.scores, others, ratio, where)
    if recorded_segments(client, trial_run_id):
        raise _IncomparableError("its parameters changed while it trained, on other folds")
    params = recorded_params(client, trial_run_id)
    others = _on_our_folds(task, spec, params, contender.metric)
    return Scores(contender.scores, others, ratio, where)


def recorded_params(client: MlflowClient, trial_run_id: str) -> Params:
    """Read what a trial's trainer was given, with its types.

    Raises:
        ConfigError: The run does not say.
    """
    text = client.get_run(trial_run_id).data.tags.get(PARAMS)
    try:
        params: Params = json.loads(text or "")
    except ValueError:
        raise ConfigError(
            f"run {trial_run_id}: its tag {PARAMS!r} is {'missing' if text is None else 'cut off'};"
            " allowed: a trial of a sweep that recorded its parameters"
        ) from None
    return params


def recorded_segments(client: MlflowClient, trial_run_id: str) -> tuple[Segment, ...]:
    """Read by which parameters a trial of a population was trained, epoch by epoch.

    Returns:
        Nothing for any other trial.

    Raises:
        ConfigError: The run says only a part of it.
    """
    text = client.get_run(trial_run_id).data.tags.get(SCHEDULE)
    try:
        return () if text is None else read_spelled(text)
    except ValueError:
        raise ConfigError(
            f"run {trial_run_id}: its tag {SCHEDULE!r} is cut off, so nobody can fit it again;"
            " allowed: a trial of a population whose parameters changed less often"
        ) from None


def _on_our_folds(task: Task, spec: SweepSpec, params: Params, metric: str) -> tuple[float, ...]:
    """Score the champion's configuration on the contender's folds."""
    # Its own options, epochs and seed; our rows.
    theirs = spec.model_copy(update={"data": task.spec.data, "folds": task.spec.folds})
    other = check_sweep(theirs, where=f"sweep {spec.name}")
    if metric not in other.trainer.metrics:
        raise _IncomparableError(f"its trainer {spec.trainer!r} never reports {metric!r}")
    rows, labels = other.training_rows
    folds = cut_folds(rows, labels, other.split.folds)
    with _answering():
        reports = list(
            cross_validate(other.trainer, params, folds, metric=metric, epochs=spec.epochs)
        )
    return tuple(fold_scores(reports, metric).values())


def _on_new_rows(
    client: MlflowClient, champion: ModelVersion, spec: SweepSpec, contender: Contender
) -> tuple[list[float], list[float]]:
    """Let both models answer for hold-out rows that neither was fitted on."""
    task = contender.task
    if json.loads(champion.tags.get(CLASSES, "[]")) != list(task.table.classes):
        raise _IncomparableError("it knows other classes")
    other = check_sweep(
        spec.model_copy(update={"data": task.spec.data, "folds": task.spec.folds}),
        where=f"sweep {spec.name}",
    )
    uri = f"models:/{champion.name}/{champion.version}"
    # First, as rows with other columns all look new.
    strange = strange_columns(uri, task.table.columns, other.holdout_rows[0])
    if strange is not None:
        raise _IncomparableError(strange)
    new, parts = _new_parts(client, champion, task)
    with _answering():
        model = require_flavor(other.trainer.flavor).load(uri)
        scores = partial(other.trainer.score, model)
        theirs = [
            _deciding(other, scores(*_picked(other.holdout_rows, new[part])), contender.metric)
            for part in parts
        ]
    ours = [
        _deciding(task, contender.score(*_picked(task.holdout_rows, new[part])), contender.metric)
        for part in parts
    ]
    return ours, theirs


def _new_parts(
    client: MlflowClient, champion: ModelVersion, task: Task
) -> tuple[Positions, list[Any]]:
    """Find the hold-out rows that the champion was not fitted on, and cut them into parts."""
    content = read_artifact(client, champion.tags[SWEEP_RUN_ID], ROWS_FILE)
    if content is None:
        raise _IncomparableError(f"its sweep's run has no {ROWS_FILE!r}, which says what it saw")
    held = task.split.holdout
    hashes = row_hashes(task.select_raw(held))
    new = np.flatnonzero(~np.isin(hashes, decode_hashes(content)))
    parts = _parts(task.table.labels[held][new])
    if len(parts) < 2:
        raise _IncomparableError(
            f"{len(new)} of {len(held)} hold-out rows are new to it, with "
            f"{'two of each class' if task.table.classes else 'four'} at least needed"
        )
    return new, parts


@contextmanager
def _answering() -> Iterator[None]:
    """Turn what the champion's code raises in the block into a reason.

    Raises:
        _IncomparableError: It raised something.
        Exception: MLflow did.
    """
    try:
        yield
    except (_IncomparableError, *MLFLOW_ERRORS):
        raise
    except Exception as error:  # a user's own code may raise anything
        raise _IncomparableError(f"it fails on these rows: {in_one_line(error)}") from error


def _parts(labels: Labels) -> list[Any]:
    """Cut rows into parts that hold each class, as many as are allowed."""
    if not len(labels):
        return []
    if labels.dtype.kind == "f":
        # Two rows at least: one alone has no r2.
        n_parts = min(MOST_PARTS, len(labels) // 2)
        return [np.arange(start, len(labels), n_parts) for start in range(n_parts)]
    n_parts = min(MOST_PARTS, int(np.unique(labels, return_counts=True)[1].min()))
    # Row by row of each class in turn, so that every part gets its share of each.
    order = np.argsort(labels, kind="stable")
    return [np.sort(order[start::n_parts]) for start in range(n_parts)]


def _picked(holdout: tuple[Rows, Labels], positions: Any) -> tuple[Rows, Labels]:
    rows, labels = holdout
    return take_rows(rows, positions), labels[positions]


def _deciding(task: Task, scores: Metrics, metric: str) -> float:
    if metric not in scores:
        raise _IncomparableError(f"the trainer {task.spec.trainer!r} never reports {metric!r}")
    return float(scores[metric])
