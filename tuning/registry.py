"""What a registered version consists of, and how it gets there exactly once.

The steps are: log the model, create the version with all of its tags in one request, set
the alias, note the alias as a tag. A crash between any two of them leaves a state that
the next call recognizes: a version is found by the run of its sweep.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    RESOURCE_ALREADY_EXISTS,
    RESOURCE_DOES_NOT_EXIST,
    ErrorCode,
)

from tuning.crossvalidation import fold_scores, mean_and_std
from tuning.data import Rows
from tuning.fitted import Fitted, Say
from tuning.flavors import make_signature, require_flavor
from tuning.home import Home
from tuning.inputprofile import make_profile, write_profile
from tuning.ledger import Trial
from tuning.modelstore import ModelStore
from tuning.probes import first_line
from tuning.provenance import git_commit
from tuning.seen import ROWS_FILE, encode_hashes, row_hashes
from tuning.spec import Task
from tuning.tracking import DATA_HASH, GIT_COMMIT, SWEEP, TRIAL_ID
from tuning.trainers.trainer import Metrics

SWEEP_RUN_ID = "rayfleet.sweep_run_id"
TRIAL_RUN_ID = "rayfleet.trial_run_id"
METRIC = "rayfleet.metric"
CV_MEAN = "rayfleet.cv_mean"
CV_STD = "rayfleet.cv_std"
FOLD_SCORES = "rayfleet.fold_scores"
HOLDOUT_SCORE = "rayfleet.holdout_score"
HOLDOUT = "rayfleet.holdout"
CLASSES = "rayfleet.classes"
ALIAS = "rayfleet.alias"
SELECTION = "rayfleet.selection"

CHAMPION = "champion"
CHALLENGER = "challenger"

EXAMPLE_ROWS = 2
"""Rows in the input example: enough to show that it is a batch."""


@dataclass(frozen=True, slots=True)
class Winner:
    """The best trial, refitted."""

    trial: Trial
    trial_run_id: str
    sweep_run_id: str
    fitted: Fitted
    holdout: Metrics
    """What the refitted model scored on the rows that no fold saw."""
    tags: Mapping[str, str] = field(default_factory=dict)
    """More of the version's tags."""


def open_registry(home: Home) -> MlflowClient:
    """Point MLflow's own functions at the home, and return a client to it."""
    mlflow.set_tracking_uri(home.tracking_uri)
    mlflow.set_registry_uri(home.registry_uri)
    return MlflowClient(home.tracking_uri, home.registry_uri)


def find_version(client: MlflowClient, model: str, sweep_run_id: str) -> ModelVersion | None:
    """Find the version that a sweep registered; None if it did not get there."""
    for version in client.search_model_versions(f"name = '{model}'"):
        # One that a selection made of its trials is not the sweep's own.
        if version.tags.get(SWEEP_RUN_ID) == sweep_run_id and SELECTION not in version.tags:
            return version
    return None


def find_trial_version(client: MlflowClient, model: str, trial_run_id: str) -> ModelVersion | None:
    """Find the version that was made of a trial; None if there is none."""
    for version in client.search_model_versions(f"name = '{model}'"):
        if version.tags.get(TRIAL_RUN_ID) == trial_run_id:
            return version
    return None


def get_version(client: MlflowClient, model: str, version: str) -> ModelVersion | None:
    """Look up a version; None if it was deleted."""
    try:
        return client.get_model_version(model, version)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            return None
        raise


def register(client: MlflowClient, task: Task, winner: Winner, say: Say) -> ModelVersion:
    """Log the model and create its version. Call `find_version` first.

    Args:
        client: Of tracking store and registry.
        task: The winner's.
        winner: The model and what is known of it.
        say: Told of a detour on the model's way into the store.
    """
    spec = task.spec
    tags = version_tags(task, winner)
    rows, _ = task.training_rows
    example = rows[:EXAMPLE_ROWS]
    run = client.get_run(winner.sweep_run_id)
    store = ModelStore(mlflow.get_tracking_uri(), run.info.artifact_uri, winner.sweep_run_id)
    arguments = {
        "name": spec.model,
        "signature": make_signature(rows, winner.fitted.outputs(example)),
        "input_example": example,
        "metadata": _metadata(task, winner, tags),
    }
    logged = winner.fitted.log(store, require_flavor(task.trainer.flavor), arguments, say)
    raw_rows = task.select_raw(task.split.training)
    _remember_rows(client, raw_rows, winner.sweep_run_id)
    try:
        keep_profile(client, logged.model_id, raw_rows, task.table.columns)
    except (ValueError, TypeError) as error:
        say(f"{spec.model} will not be watched for drift: {first_line(error)}")
    try:
        client.create_registered_model(spec.model)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    return client.create_model_version(
        spec.model,
        source=logged.uri,
        run_id=winner.sweep_run_id,
        tags=tags,
        model_id=logged.model_id,
    )


def give_alias(client: MlflowClient, version: ModelVersion) -> str:
    """Make a version champion if its model has none, else challenger; only ever once.

    Returns:
        The alias that the version was given, now or by an earlier call.
    """
    given = version.tags.get(ALIAS)
    if given:
        return str(given)
    aliases = client.get_registered_model(version.name).aliases
    # Stores differ in whether a version is a number or a string (MLflow 3.17).
    champion = str(aliases.get(CHAMPION, version.version))
    alias = CHAMPION if champion == str(version.version) else CHALLENGER
    client.set_registered_model_alias(version.name, alias, version.version)
    # Last: whoever moves the alias afterwards must not find it moved back by a resume.
    client.set_model_version_tag(version.name, version.version, ALIAS, alias)
    return alias


def _remember_rows(client: MlflowClient, rows: Rows, run_id: str) -> None:
    """Keep by which to tell new rows from those that the model was fitted on."""
    seen = encode_hashes(row_hashes(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ROWS_FILE
        path.write_bytes(seen)
        client.log_artifact(run_id, str(path))


def keep_profile(client: MlflowClient, model_id: str, rows: Rows, names: Sequence[str]) -> None:
    """Put beside a logged model how its training rows are distributed, for serving to compare.

    Args:
        client: Of the tracking store.
        model_id: What `log_model` answered.
        rows: A DataFrame, or an array of shape (rows, ...), as the data has them.
        names: Of the features; of too many, nothing is kept.
    """
    profile = make_profile(rows, names)
    if profile is not None:
        with tempfile.TemporaryDirectory() as folder:
            client.log_model_artifact(model_id, str(write_profile(profile, Path(folder))))


def version_tags(task: Task, winner: Winner) -> dict[str, str]:
    """Say where a version came from and how good it was, as strings."""
    spec = task.spec
    scores = list(fold_scores(winner.trial.reports, spec.metric).values())
    mean, std = mean_and_std(scores)
    tags = {
        SWEEP: spec.name,
        SWEEP_RUN_ID: winner.sweep_run_id,
        TRIAL_RUN_ID: winner.trial_run_id,
        TRIAL_ID: str(winner.trial.number),
        DATA_HASH: task.table.sha256,
        METRIC: spec.metric,
        CV_MEAN: repr(mean),
        CV_STD: repr(std),
        FOLD_SCORES: json.dumps(scores),
        HOLDOUT_SCORE: repr(winner.holdout[spec.metric]),
        HOLDOUT: json.dumps(dict(winner.holdout)),
        CLASSES: json.dumps(task.table.classes),
        **winner.tags,
    }
    commit = git_commit()
    return tags if commit is None else {**tags, GIT_COMMIT: commit}


def _metadata(task: Task, winner: Winner, tags: dict[str, str]) -> dict[str, Any]:
    return {
        **tags,
        "rayfleet.feature_names": list(task.table.columns),
        "rayfleet.params": winner.trial.params,
        "rayfleet.holdout": dict(winner.holdout),
        "rayfleet.n_training_rows": len(task.split.training),
    }
