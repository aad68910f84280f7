"""Sweeps and trials as MLflow shows them, for whoever was not there when they ran."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

from tuning.errors import ConfigError
from tuning.home import Home
from tuning.mlflowfaults import reachable
from tuning.probes import require_database
from tuning.spec import SweepSpec
from tuning.tracking import SWEEP_ID, TRIAL_ID

SPEC_FILE = "sweep.json"
"""Artifact of a sweep's run: its whole spec, by which each of its trials can be run again."""

SPLIT_PREFIX = "folds."
"""Of the parameters of a sweep's run that say how rows were split."""


def open_runs(home: Home) -> MlflowClient:
    """Return a client to MLflow, if that is there.

    Raises:
        ConfigError: MLflow cannot be reached or used.
    """
    with reachable(home):
        require_database(home.tracking_uri)
        require_database(home.registry_uri)
        return MlflowClient(home.tracking_uri, home.registry_uri)


def experiment_id(client: MlflowClient, name: str) -> str:
    """Look an experiment up.

    Raises:
        ConfigError: There is none of that name.
    """
    found = client.get_experiment_by_name(name)
    if found is None:
        known = ", ".join(sorted(each.name for each in client.search_experiments(max_results=20)))
        raise ConfigError(f"experiment: {name!r}: not in MLflow, allowed: {known}")
    return str(found.experiment_id)


def sweep_runs(client: MlflowClient, experiment: str) -> list[Run]:
    """Return the runs of an experiment's sweeps, the newest first."""
    query = f"tags.`{SWEEP_ID}` LIKE '%'"
    runs = list(_pages(client, [experiment], query))
    return sorted(runs, key=lambda run: run.info.start_time or 0, reverse=True)


def trial_runs(client: MlflowClient, sweep: Run) -> list[Run]:
    """Return the runs of a sweep's trials, without what a user's own code nested beside them."""
    query = f"tags.`{MLFLOW_PARENT_RUN_ID}` = '{sweep.info.run_id}'"
    children = _pages(client, [sweep.info.experiment_id], query)
    return [run for run in children if TRIAL_ID in run.data.tags]


def fold_values(client: MlflowClient, run_id: str, metric: str) -> tuple[float, ...]:
    """Return a metric of a trial in each of its folds, in their order."""
    points = client.get_metric_history(run_id, metric)
    # Written twice where an answer of MLflow's was lost: the value is the same.
    return tuple(
        value for _, value in sorted({point.step: point.value for point in points}.items())
    )


def split_of(sweep: Run) -> str:
    """Spell how a sweep split its rows; equal texts split equal data equally."""
    params: Mapping[str, str] = sweep.data.params
    return json.dumps({key: params[key] for key in sorted(params) if key.startswith(SPLIT_PREFIX)})


def recorded_spec(client: MlflowClient, sweep: Run) -> SweepSpec:
    """Read the spec that a sweep ran with.

    Raises:
        ConfigError: It was not recorded, or is no spec of this version.
    """
    plain = read_artifact(client, sweep.info.run_id, SPEC_FILE)
    if plain is None:
        raise ConfigError(
            f"run {sweep.info.run_id}: has no artifact {SPEC_FILE!r}; only sweeps that recorded "
            "their spec can be repeated or selected from"
        )
    return SweepSpec.load(json.loads(plain), where=f"{SPEC_FILE} of run {sweep.info.run_id}")


def read_artifact(client: MlflowClient, run_id: str, path: str) -> bytes | None:
    """Read one of a run's artifacts; None if there is none of that name."""
    folder, _, _ = path.rpartition("/")
    try:
        listed = client.list_artifacts(run_id, folder or None)
    except MlflowException:
        return None
    if path not in {each.path for each in listed}:
        return None
    with tempfile.TemporaryDirectory() as target:
        return Path(client.download_artifacts(run_id, path, target)).read_bytes()


def plain_spec(spec: SweepSpec) -> str:
    """Spell a spec whole, as `recorded_spec` reads it."""
    return json.dumps(spec.model_dump(mode="json", by_alias=True), indent=2)


def _pages(client: MlflowClient, experiments: Iterable[str], query: str) -> Iterator[Run]:
    token: Any = None
    while True:
        page = client.search_runs(list(experiments), query, max_results=1000, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
