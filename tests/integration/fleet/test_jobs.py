"""The sweeps that ship run as Ray jobs on a cluster, from the working directory."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.hosting import REPOSITORY, Cluster, Fleet, eventually

pytestmark = [pytest.mark.ray, pytest.mark.thorough]


def test_a_sweep_runs_as_a_ray_job(cluster: Cluster) -> None:
    output = cluster.run(
        "ray", "job", "submit", "--address", cluster.dashboard, "--working-dir", REPOSITORY,
        "--", "python", "-m", "tuning", "configs/sweeps/breast-cancer-challenger.yaml",
        "--trials", "1", "--log-format", "json",
    )  # fmt: skip

    assert "succeeded" in output
    (run,) = child_runs(cluster)
    assert run.info.status == "FINISHED"
    said = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert {line["sweep"] for line in said} == {run.data.tags["rayfleet.sweep"]}
    (ended,) = [line for line in said if line.get("run_id") == run.info.run_id]
    assert ended["trial"] == 0
    assert (said[-1]["model"], said[-1]["run_id"]) == (
        "breast-cancer",
        run.data.tags["mlflow.parentRunId"],
    )
    assert all("job_id" in line for line in said[said.index(ended) :])


def child_runs(cluster: Cluster) -> list[Any]:
    client = cluster.registry
    versions = client.search_model_versions("name = 'breast-cancer'")
    submitted = next(v for v in versions if v.tags.get("rayfleet.sweep"))
    return children_of(client, submitted.tags["rayfleet.sweep_run_id"])


def children_of(client: Any, parent: str) -> list[Any]:
    experiment = client.get_run(parent).info.experiment_id
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    return list(client.search_runs([experiment], query))


SMALL = {
    "name": "leaves",
    "data": {"bundled": "iris"},
    "folds": {"n_splits": 2},
    "trainer": "sklearn",
    "space": {"estimator": "extra_trees", "n_estimators": {"int": [2, 9]}},
    "n_trials": 2,
    "max_concurrent": 1,
}

LARGER: dict[str, Any] = {
    **SMALL,
    "name": "more-leaves",
    "seed": 1,
    "space": {"estimator": "extra_trees", "n_estimators": {"int": [400, 600]}},
    "n_trials": 6,
}


def finished(cluster: Cluster, parent: str) -> dict[str, tuple[str, int]]:
    """Trials of a sweep that have ended, with their runs and when those ended."""
    return {
        run.data.tags["rayfleet.trial_id"]: (run.info.run_id, run.info.end_time)
        for run in children_of(cluster.registry, parent)
        if run.info.status == "FINISHED"
    }


def test_a_sweep_from_rest_to_the_terminal(fleet: Fleet, cluster: Cluster, tmp_path: Path) -> None:
    def ask(path: str, body: Any = None) -> tuple[int, Any]:
        sent = None if body is None else json.dumps(body).encode()
        path, door = f"/api/v1/training{path}", fleet.control_url
        status, _, answer = fleet.call(path, sent, {"Content-Type": "application/json"}, door=door)
        return status, json.loads(answer)

    submitted = ask("", {"spec": SMALL})
    assert submitted[0] == 202, submitted
    watched = cluster.run("rayfleet", "sweep", "status", "leaves", "--watch")
    shown = ask("/leaves")[1]
    logs = ask("/leaves/logs?lines=500")[1]["logs"]
    not_running = ask("/leaves/stop", {})

    assert "leaves  succeeded  of 2: 2 complete, best accuracy 0." in watched.splitlines()[-1]
    assert (shown["state"], shown["trials"]) == ("SUCCEEDED", {"complete": 2})
    assert shown["job_id"] == submitted[1]["job_id"]
    assert "registering" in logs
    assert not_running[0] == 409

    # A longer one from the terminal, which is stopped on its way, and the two side by side.
    path = tmp_path / "more.yaml"
    path.write_text(yaml.safe_dump(LARGER))
    sent = cluster.run("rayfleet", "sweep", "submit", path, "--working-dir", tmp_path)
    eventually("a trial", lambda: ask("/more-leaves")[1]["trials"].get("complete"))
    stopped = ask("/more-leaves/stop", {})
    eventually("its end", lambda: ask("/more-leaves")[1]["state"] == "STOPPED")
    halted = ask("/more-leaves")[1]
    before = finished(cluster, halted["run_id"])
    resumed = cluster.run("rayfleet", "sweep", "resume", "more-leaves")
    eventually("the second sweep", lambda: ask("/more-leaves")[1]["state"] == "SUCCEEDED")
    ended = ask("/more-leaves")[1]
    after = finished(cluster, ended["run_id"])
    listed = cluster.run("rayfleet", "sweep", "list", "--address", cluster.dashboard)
    compared = cluster.run("rayfleet", "sweep", "compare", "leaves", "more-leaves")
    printed = cluster.run("rayfleet", "sweep", "logs", "more-leaves", "--lines", "3")

    assert "more-leaves: submitted as job sweep-more-leaves-" in sent
    assert stopped[0] == 202, stopped
    assert "more-leaves: submitted as job sweep-more-leaves-" in resumed
    assert halted["job_id"] != ended["job_id"]
    # What had ended is there as it was, and nothing is there twice.
    assert 0 < len(before) < LARGER["n_trials"] == len(after)
    assert before.items() <= after.items()
    assert re.search(r"^more-leaves +SUCCEEDED +6/6 +accuracy 0\.", listed, re.MULTILINE)
    assert "seed" in compared
    assert len(printed.splitlines()) == 3
