"""A real Prometheus, on the config that we ship, collects, watches and shows a real fleet."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import yaml
from sklearn.datasets import load_breast_cancer

from dashboards.boards import BOARDS
from dashboards.queries import filled, queries
from tests.integration.hosting import REPOSITORY, Fleet, eventually, infer_body
from tests.integration.monitoring import RUNBOOKS, Monitoring, monitored
from tests.integration.sweeping import FAKE

pytestmark = [
    pytest.mark.ray,
    pytest.mark.thorough,
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="prometheus is missing: apt-get install prometheus",
    ),
]

needs_alertmanager = pytest.mark.skipif(
    shutil.which("prometheus-alertmanager") is None,
    reason="prometheus-alertmanager is missing: apt-get install prometheus-alertmanager",
)

MODEL = "breast-cancer"

VARIABLES = {
    "__rate_interval": "1m",
    "model": MODEL,
    "version": ".*",
    "sweep": ".*",
    "node": ".*",
}
"""What the dashboards' variables stand for here."""

ABSENT = {
    "ray_node_gram_used": "no GPU here",
    "ray_rayfleet_gpu_memory_bytes": "no GPU here",
    " offset 1m)": "marks what changed within the last minute, and nothing did",
    "|503|": "nothing was refused",
    "rayfleet_mirrored_total": "nothing is mirrored",
}
"""Parts of queries that may have no series in this fleet, and why."""


@pytest.fixture(scope="module")
def monitoring(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    address = fleet.url.removeprefix("http://")
    with monitored(address, fleet.ray_tmpdir, tmp_path_factory.mktemp("monitoring")) as monitoring:
        yield monitoring


@pytest.fixture(scope="module")
def sweep(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A sweep that has begun and does not end, on the fleet's cluster."""
    folder = tmp_path_factory.mktemp("sweep")
    path = folder / "sweep.yaml"
    options = {"folder": str(folder), "hold": 4}
    path.write_text(yaml.safe_dump({**FAKE, "options": options}))
    environment = {**os.environ, **fleet.cluster.environment, "RAYFLEET_HOME": str(folder / "home")}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-m", "tuning", str(path)]
        process = subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        (folder / "go").touch()
        assert process.wait(180) == 0, (folder / "log").read_text()


def test_targets_of_both_kinds_are_up(monitoring: Monitoring) -> None:
    def both_are_up() -> bool:
        targets = monitoring.ask("targets")["activeTargets"]
        up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
        return up == {"rayfleet", "ray"}

    eventually("both targets", both_are_up)


def test_fleet_counters_arrive_with_their_labels(monitoring: Monitoring, fleet: Fleet) -> None:
    version = fleet.models[MODEL].version
    query = f'rayfleet_requests_total{{model="{MODEL}",version="{version}",code="200"}}'

    (first, *_) = eventually(query, lambda: asked(fleet) and monitoring.series(query))

    assert {"gateway", "model", "version", "track", "protocol", "code"} <= first["metric"].keys()


def test_every_query_of_every_dashboard_finds_data(
    monitoring: Monitoring, fleet: Fleet, sweep: None
) -> None:
    wanted = {
        filled(query, VARIABLES)
        for board in BOARDS.values()
        for query in queries(board().build())
        if not any(part in query for part in ABSENT)
    }
    empty = set(wanted)

    def all_have_data() -> bool:
        asked(fleet)
        fails(fleet)
        empty.difference_update([query for query in empty if monitoring.series(query)])
        return not empty

    try:
        eventually("data for every query", all_have_data)
    except AssertionError:
        pytest.fail("no data for:\n" + "\n".join(sorted(empty)))


def test_what_may_be_empty_is_still_understood(monitoring: Monitoring) -> None:
    for board in BOARDS.values():
        for query in queries(board().build()):
            monitoring.series(filled(query, VARIABLES))


def test_parts_that_may_be_empty_are_in_queries() -> None:
    text = "\n".join(query for board in BOARDS.values() for query in queries(board().build()))

    assert [part for part in ABSENT if part not in text] == []


@needs_alertmanager
def test_a_version_that_fails_reaches_the_receivers(monitoring: Monitoring, fleet: Fleet) -> None:
    alert = "RayfleetVersionFailing"

    def is_firing() -> bool:
        fails(fleet)
        return bool(monitoring.series(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))

    eventually(alert, is_firing)
    webhook = monitoring.received.next("/alerts", alert, within_s=120)

    (sent,) = [each for each in webhook["alerts"] if each["labels"]["model"] == "moody"]
    assert webhook["receiver"] == "on-call"
    assert sent["status"] == "firing"
    assert sent["labels"]["version"] == "1"
    assert sent["annotations"]["summary"] == "moody version 1 (stable): the model fails"
    assert sent["annotations"]["runbook_url"] == f"{RUNBOOKS}#{alert.lower()}"
    assert "runbooks" not in sent["labels"]


@needs_alertmanager
def test_chats_are_told_as_slack_wants_it(monitoring: Monitoring, fleet: Fleet) -> None:
    alert = "RayfleetVersionFailing"

    def is_firing() -> bool:
        fails(fleet)
        return bool(monitoring.series(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))

    eventually(alert, is_firing)
    message = monitoring.received.next("/slack", alert, within_s=120)

    (attachment,) = message["attachments"]
    assert message["channel"] == "#rayfleet"
    assert attachment["title"] == f"[firing] {alert}"
    assert f"{RUNBOOKS}#{alert.lower()}" in attachment["text"]


@needs_alertmanager
def test_people_are_told_by_mail(monitoring: Monitoring, fleet: Fleet) -> None:
    alert = "RayfleetVersionFailing"

    def is_firing() -> bool:
        fails(fleet)
        return bool(monitoring.series(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))

    eventually(alert, is_firing)
    mail = monitoring.received.next("/mail", alert, within_s=120)

    assert mail["to"] == "fleet-operators@localhost"
    assert mail["subject"] == "[firing] moody version 1 (stable): the model fails"
    assert f"{RUNBOOKS}#{alert.lower()}" in mail["text"]


@needs_alertmanager
def test_inputs_that_are_no_longer_those_of_training_reach_the_receivers(
    monitoring: Monitoring, fleet: Fleet
) -> None:
    alert = "RayfleetInputsDrift"
    training = load_breast_cancer().data
    random = np.random.default_rng(11)
    moved = training.copy()
    moved[:, 7] *= 3

    def drifted(rows: np.ndarray) -> set[str]:
        fleet.infer(MODEL, new_rows(rows, random))
        query = f'ray_rayfleet_drifted_features{{model="{MODEL}"}}'
        return {series["value"][1] for series in monitoring.series(query)}

    def farthest() -> set[str]:
        fleet.infer(MODEL, new_rows(moved, random))
        found = monitoring.series(f'ray_rayfleet_input_drift{{model="{MODEL}"}} > 0.2')
        return {series["metric"]["feature"] for series in found}

    def is_firing() -> bool:
        return bool(monitoring.series(f'ALERTS{{alertname="{alert}",alertstate="firing"}}'))

    eventually("a window like training", lambda: drifted(training) == {"0"})
    eventually("nothing is said", lambda: not is_firing())
    eventually("one feature that moved", lambda: drifted(moved) == {"1"})
    eventually("it is feature 7", lambda: farthest() == {"7"})  # others' series stay for 20 s
    eventually(alert, is_firing)
    message = monitoring.received.next("/slack", alert, within_s=120)

    (attachment,) = message["attachments"]
    assert f"{MODEL} version {fleet.models[MODEL].version}" in json.dumps(attachment)


def new_rows(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Twenty rows like these, none of which was there before."""
    drawn = random.choice(rows, 20)
    return drawn * (1 + 1e-6 * random.normal(size=drawn.shape))


def asked(fleet: Fleet) -> bool:
    """Send rows to each track; whether they were answered."""
    random = np.random.default_rng()
    statuses = [
        fleet.infer(name, new_rows(fleet.models[name].holdout_rows, random))[0]
        for name in (MODEL, "wine")
    ]
    return statuses == [200, 200]


def fails(fleet: Fleet) -> None:
    """Have a model raise, and refuse a request of a caller's."""
    negative = infer_body(np.array([[-1.0]]))
    for path in ("/v2/models/moody/infer", f"/v2/models/{MODEL}/infer"):
        for _ in range(3):
            assert fleet.call(path, negative)[0] in {400, 500}
