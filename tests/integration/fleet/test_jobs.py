"""The sweeps that ship run as Ray jobs on a cluster, from the working directory."""

from typing import Any

import mlflow
import pytest

from tests.integration.hosting import REPOSITORY, Cluster

pytestmark = pytest.mark.ray


def test_a_sweep_runs_as_a_ray_job(cluster: Cluster) -> None:
    output = cluster.run(
        "ray", "job", "submit", "--address", cluster.dashboard, "--working-dir", REPOSITORY,
        "--", "python", "-m", "tuning", "configs/sweeps/breast-cancer-challenger.yaml",
        "--trials", "1",
    )  # fmt: skip

    assert "succeeded" in output
    assert [run.info.status for run in child_runs(cluster)] == ["FINISHED"]


def child_runs(cluster: Cluster) -> list[Any]:
    uri = f"sqlite:///{cluster.home / 'mlflow.db'}"
    client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
    versions = client.search_model_versions("name = 'breast-cancer'")
    submitted = next(v for v in versions if v.tags.get("rayfleet.sweep"))
    parent = submitted.tags["rayfleet.sweep_run_id"]
    experiment = client.get_run(parent).info.experiment_id
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    return list(client.search_runs([experiment], query))
