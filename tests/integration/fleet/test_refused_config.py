"""A bad config deployed onto a running fleet: what ran before goes on, and the fleet says so."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.fleet.test_doctor import doctor
from tests.integration.hosting import (
    Fleet,
    eventually,
    kill,
    make_fleet,
    pids_of,
    replica_pids,
    started_cluster,
)

CONTROLLER = "fleet#Controller"
LINE = "user_config.models.wime: not in the model registry"

pytestmark = pytest.mark.ray


@pytest.fixture
def controller(fleet: Fleet) -> Iterator[int]:
    """Process of the controller, whose fleet gets its good config back after the test."""
    (pid,) = pids_of(fleet, CONTROLLER)
    yield pid
    deploy_good(fleet)


def deploy_good(fleet: Fleet) -> None:
    fleet.deploy(fleet.user_config)
    eventually("the good config", lambda: refusal(fleet) == "")


def deploy_misspelt(fleet: Fleet) -> None:
    fleet.deploy({**fleet.user_config, "wime": {}})
    eventually("the refusal", lambda: refusal(fleet).startswith(LINE))


def test_the_controller_and_its_config_stay_and_tell_of_it(fleet: Fleet, controller: int) -> None:
    model = fleet.models["wine"]

    deploy_misspelt(fleet)

    assert fleet.infer("wine", model.holdout_rows[:1])[0] == 200
    assert pids_of(fleet, CONTROLLER) == {controller}
    assert hosted(fleet) >= set(fleet.user_config)
    assert 'rayfleet_config_refused{gateway="controller"} 1.0' in metrics(fleet)


@pytest.mark.thorough
def test_the_next_controller_has_the_good_config_and_a_good_one_ends_it(
    fleet: Fleet, controller: int
) -> None:
    deploy_misspelt(fleet)

    kill(replica_pids(fleet), CONTROLLER)
    eventually("a new controller", lambda: pids_of(fleet, CONTROLLER) - {controller})

    eventually("the refusal again", lambda: refusal(fleet).startswith(LINE))
    assert hosted(fleet) >= set(fleet.user_config)
    _, report = doctor(fleet)
    said = [each["what"] for each in report["findings"] if each["area"] == "config"]
    assert any(LINE in what for what in said)

    deploy_good(fleet)
    assert 'rayfleet_config_refused{gateway="controller"} 0.0' in metrics(fleet)


@pytest.mark.thorough
def test_a_refused_config_is_in_force_once_what_it_names_is_registered(
    fleet: Fleet, controller: int
) -> None:
    fleet.deploy({**fleet.user_config, "spare": {"traffic": {"fresh": 100}}})
    eventually("the refusal", lambda: "no version has the alias 'fresh'" in refusal(fleet))

    fleet.cluster.registry.set_registered_model_alias("spare", "fresh", "1")
    try:
        eventually("the config", lambda: refusal(fleet) == "")
        assert hosted(fleet) == {*fleet.user_config, "spare"}
        assert pids_of(fleet, CONTROLLER) == {controller}
    finally:
        fleet.deploy(fleet.user_config)
        eventually("the spare model is gone", lambda: fleet.call("/v2/models/spare")[0] == 404)
        fleet.cluster.registry.delete_registered_model_alias("spare", "fresh")


@pytest.mark.thorough
def test_the_first_config_of_a_fleet_is_refused_by_its_status_message(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights = {"traffic": {"champion": 90, "challenger": 20}}
    sum_to_110 = "user_config.models.wine.traffic: weights {champion: 90, challenger: 20} sum to"
    with started_cluster(tmp_path) as cluster:
        fleet = make_fleet(cluster, tmp_path_factory.mktemp("fleet"), {})
        for models, line in (({"wime": {}}, LINE), ({"wine": weights}, sum_to_110)):
            fleet.deploy(models)
            eventually(line, partial(is_said, fleet, line))

        fleet.deploy({})
        eventually("the fleet is well", lambda: fleet.status()["fleet"]["status"] == "RUNNING")


def is_said(fleet: Fleet, line: str) -> bool:
    return "fleet" in fleet.status() and line in fleet.status_messages()


def refusal(fleet: Fleet) -> str:
    return str(asked(fleet, "/api/v1/fleet").get("config_refusal", "it does not answer"))


def hosted(fleet: Fleet) -> set[str]:
    return {each["name"] for each in asked(fleet, "/api/v1/deployments")["deployments"]}


def asked(fleet: Fleet, path: str) -> dict[str, Any]:
    """What the control API says; empty while it does not listen."""
    try:
        _, _, body = fleet.call(path, door=fleet.control_url)
    except OSError:
        return {}
    return dict(json.loads(body))


def metrics(fleet: Fleet) -> str:
    return fleet.call("/metrics")[2].decode()
