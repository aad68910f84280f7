"""What the fleet writes as JSON reaches an index, and a request is found there by its id."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.documents import REPOSITORY
from tests.integration.hosting import Cluster, Fleet, eventually, infer_body
from tests.integration.shipping import Index, shipped
from tuning.console import JsonConsole

TEMPLATE = REPOSITORY / "configs" / "logging" / "elasticsearch" / "index-template.json"

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "Content-Type": "application/json"}
PAYLOAD = -98765.4321
"""A number that must not be in what gateways write."""

SWEEP: dict[str, Any] = {
    "name": "shipped-by-a-job",
    "data": {"bundled": "iris"},
    "folds": {"n_splits": 2},
    "trainer": "sklearn",
    "space": {"estimator": "extra_trees", "n_estimators": 3},
    "n_trials": 1,
}

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(
        shutil.which("rsyslogd") is None or not any(Path("/usr/lib").rglob("omelasticsearch.so")),
        reason="rsyslogd is missing: apt-get install rsyslog rsyslog-elasticsearch",
    ),
]


@pytest.fixture(scope="module")
def index(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    logs = fleet.ray_tmpdir / "ray" / "session_latest" / "logs"
    with shipped(logs, tmp_path_factory.mktemp("shipping")) as index:
        yield index


@pytest.mark.parametrize("door", ["serve", "express"])
def test_a_failed_request_is_found_by_its_id(fleet: Fleet, index: Index, door: str) -> None:
    request_id = f"shipped-{door}"
    body = infer_body(np.array([[PAYLOAD]]))
    status, headers, _ = fleet.call(
        "/v2/models/moody/infer",
        body,
        {**HEADERS, "X-Request-Id": request_id},
        door=fleet.doors[door],
    )
    assert (status, headers["x-request-id"]) == (500, request_id)

    (line, *more) = eventually("the line", lambda: index.find(request_id=request_id, code="500"))

    assert more == []
    assert line["trace_id"] == TRACE
    assert (line["application"], line["deployment"]) == ("fleet", "fleet_Gateway")
    assert (line["model"], line["version"], line["track"]) == ("moody", "1", "stable")
    assert (line["error"], line["origin"]) == ("PredictionError", "version")
    assert str(PAYLOAD) not in json.dumps(line)


@pytest.mark.parametrize("door", ["serve", "express"])
def test_the_replica_s_traceback_is_found_by_the_request_s_id(
    fleet: Fleet, index: Index, door: str
) -> None:
    request_id = f"raised-{door}"
    body = infer_body(np.array([[PAYLOAD]]))
    headers = {**HEADERS, "X-Request-Id": request_id}
    assert fleet.call("/v2/models/moody/infer", body, headers, door=fleet.doors[door])[0] == 500

    def raised() -> list[dict[str, Any]]:
        lines = index.find(request_id=request_id, deployment="moody--v1_Predictor")
        return [line for line in lines if "exc_text" in line]

    (line, *_) = eventually("the traceback", raised)

    assert (line["application"], line["model"], line["version"]) == ("moody--v1", "moody", "1")
    assert line["exc_text"].endswith("ValueError: negative numbers are beyond me")


def test_a_sweep_s_lines_are_found_by_its_runs(fleet: Fleet, index: Index) -> None:
    # As Ray keeps what a job prints; what is no object is left out.
    folder = fleet.ray_tmpdir / "ray" / "session_latest" / "logs"
    with (folder / "job-driver-shipped.log").open("w") as file:
        print("2026-01-31 INFO a line of Ray's own", file=file)
        console = JsonConsole(file=file)
        console.name(sweep="shipped", run_id="f00")
        with console.about(trial=3, run_id="f03"):
            console.print("trial 3 complete")

    (line,) = eventually("the line", lambda: index.find(sweep="shipped"))

    assert (line["trial"], line["run_id"]) == (3, "f03")
    assert line["message"] == "trial 3 complete"


@pytest.mark.thorough
def test_a_job_s_lines_lead_from_its_trial_to_the_version_that_it_registered(
    cluster: Cluster, index: Index, tmp_path: Path
) -> None:
    path = tmp_path / "shipped.yaml"
    path.write_text(yaml.safe_dump(SWEEP))

    cluster.run(
        "ray", "job", "submit", "--address", cluster.dashboard, "--working-dir", tmp_path,
        "--", "python", "-m", "tuning", path.name, "--log-format", "json",
    )  # fmt: skip
    (line,) = eventually("the version's line", lambda: index.find(model=SWEEP["name"]))

    (version,) = cluster.registry.search_model_versions(f"name = '{SWEEP['name']}'")
    tags = version.tags
    assert (line["sweep"], line["version"]) == (SWEEP["name"], str(version.version))
    assert line["run_id"] == tags["rayfleet.sweep_run_id"]
    (trial,) = index.find(sweep=SWEEP["name"], run_id=tags["rayfleet.trial_run_id"])
    assert trial["trial"] == 0
    assert trial["job_id"] == line["job_id"] != ""


def test_the_template_knows_every_field_and_the_actions_fit_a_data_stream(index: Index) -> None:
    mapped = json.loads(TEMPLATE.read_text())["template"]["mappings"]["properties"]

    lines = [line for line in index.find() if {"request_id", "model", "sweep"} & line.keys()]
    assert lines
    assert {name for line in lines for name in line} - mapped.keys() == set()
    assert {next(iter(action)) for action in index.actions} == {"create"}
