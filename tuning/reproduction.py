"""Runs one trial again from its MLflow run, and holds the scores against those of then."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID
from rich.console import Console
from rich.text import Text
from threadpoolctl import threadpool_limits

from tuning.crossvalidation import Report, cross_validate, cut_folds, fold_scores
from tuning.errors import ConfigError, NotReproducedError
from tuning.home import Home
from tuning.mlflowfaults import reachable
from tuning.provenance import git_commit
from tuning.runs import fold_values, open_runs, recorded_spec
from tuning.selecting.champion import recorded_params
from tuning.space import Params
from tuning.spec import Task, check_sweep
from tuning.tracking import DATA_HASH, GIT_COMMIT, SCHEDULE, TRIAL_ID, TRIAL_STATE
from tuning.trainers.factory import in_one_line


@dataclass(frozen=True, slots=True)
class Score:
    """A metric of one fold, then and now."""

    metric: str
    fold: int
    then: float
    now: float | None
    """None where the trial did not come that far again."""

    def same(self, tolerance: float) -> bool:
        """Whether they agree."""
        return self.now is not None and (
            self.then == self.now or math.isclose(self.then, self.now, rel_tol=0, abs_tol=tolerance)
        )


def reproduce(home: Home, run_id: str, *, tolerance: float, console: Console) -> None:
    """Run a trial again, in this process.

    Args:
        home: Where MLflow is.
        run_id: Of the trial.
        tolerance: Largest difference that passes; 0.0 wants the same numbers.
        console: Where both are shown.

    Raises:
        ConfigError: The run is no trial with scores, or its data is not what it was.
        NotReproducedError: The deciding metric differs; with both numbers.
    """
    client = open_runs(home)
    with reachable(home):
        trial = _trial(client, run_id)
        sweep = client.get_run(trial.data.tags[MLFLOW_PARENT_RUN_ID])
        spec = recorded_spec(client, sweep)
        params = recorded_params(client, run_id)
        task = check_sweep(spec, where=f"sweep {spec.name}")
        _require_data(task, sweep)
        names = [name for name in task.trainer.metrics if name in trial.data.metrics]
        then = {name: fold_values(client, run_id, name) for name in names}
    commit = sweep.data.tags.get(GIT_COMMIT)
    if commit is not None and commit != git_commit():
        console.print(f"  code: was {commit}, now it is {git_commit()}", soft_wrap=True)
    n_folds = len(then.get(spec.metric, ()))
    if n_folds == 0:
        raise ConfigError(f"run {run_id}: has no {spec.metric!r} of a whole fold to compare with")
    try:
        reports = _rerun(task, params, n_folds)
    except Exception as error:  # a user's own code may raise anything
        raise NotReproducedError(
            f"run {run_id}: it had {n_folds} folds, now it raises {in_one_line(error)}"
        ) from error
    scores = _scores(reports, then)
    for score in scores:
        console.print(Text(_line(score, tolerance)), soft_wrap=True)
    wrong = [each for each in scores if each.metric == spec.metric and not each.same(tolerance)]
    if wrong:
        first = wrong[0]
        raise NotReproducedError(
            f"run {run_id}: {first.metric} of fold {first.fold} was {first.then!r}, now it is "
            f"{first.now!r}; {len(wrong)} of {n_folds} folds differ"
        )
    console.print(f"trial {trial.data.tags[TRIAL_ID]} of {spec.name}: {n_folds} folds, the same "
                  f"{spec.metric} as before", markup=False, soft_wrap=True)  # fmt: skip


def _trial(client: MlflowClient, run_id: str) -> Run:
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        first = str(error).partition("\n")[0]
        raise ConfigError(f"run {run_id!r}: not in MLflow: {first}") from None
    tags = run.data.tags
    if TRIAL_ID not in tags or MLFLOW_PARENT_RUN_ID not in tags:
        raise ConfigError(f"run {run_id!r}: is no trial of a sweep, allowed: the run of a trial")
    if tags.get(TRIAL_STATE) not in {"complete", "pruned"}:
        raise ConfigError(
            f"run {run_id!r}: its trial is {tags.get(TRIAL_STATE, 'unknown')}, "
            "allowed: complete, pruned"
        )
    if SCHEDULE in tags:
        raise ConfigError(
            f"run {run_id!r}: its trial belongs to a population, whose parameters changed while it"
            " trained, allowed: a trial with one configuration"
        )
    return run


def _require_data(task: Task, sweep: Run) -> None:
    saw = sweep.data.tags.get(DATA_HASH, "")
    if task.table.sha256 != saw:
        raise ConfigError(
            f"sweep {task.spec.name}: data: hash {task.table.sha256[:12]}, but the sweep saw "
            f"{saw[:12]}: bring the data back"
        )


def _rerun(task: Task, params: Params, n_folds: int) -> list[Report]:
    """Train the folds that there are scores of, with as many threads as on the cluster."""
    spec = task.spec
    rows, labels = task.training_rows
    folds = cut_folds(rows, labels, task.split.folds)[:n_folds]
    with threadpool_limits(limits=max(1, int(spec.resources.cpu))):
        return list(
            cross_validate(task.trainer, params, folds, metric=spec.metric, epochs=spec.epochs)
        )


def _scores(reports: Sequence[Report], then: dict[str, tuple[float, ...]]) -> list[Score]:
    found = []
    for name, values in then.items():
        now = fold_scores(reports, name)
        found += [Score(name, fold, value, now.get(fold)) for fold, value in enumerate(values)]
    return found


def _line(score: Score, tolerance: float) -> str:
    if score.same(tolerance):
        return f"  same    {score.metric} fold {score.fold}: {score.then!r}"
    return f"  differs {score.metric} fold {score.fold}: then {score.then!r}, now {score.now!r}"
