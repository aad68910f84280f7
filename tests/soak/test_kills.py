"""SIGKILL of each part of a fleet under load: only a killed gateway's connections may notice."""

import json
import os
import signal

import psutil
import pytest

from tests.integration.hosting import Fleet, eventually, kill, pids_of, replica_pids
from tests.integration.load import Question
from tests.soak.dependencies import Database, MlflowServer
from tests.soak.scene import Scene, Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

REPLICAS = ("breast-cancer--v1#Predictor", "by-handle--v1#Predictor")
GATEWAY, CONTROLLER = "fleet#Gateway", "fleet#Controller"
API = "/api/v1/deployments"

ANSWERS = 100
"""Of each door, to be seen after each change of what runs."""


def test_a_predictor_replica(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    with soak.loaded("SIGKILL of a predictor replica", fleet, questions) as (scene, load):
        for number in scene.rounds():
            # Each transport in turn: only one has connections that break at once.
            replace_one(scene, fleet, REPLICAS[number % 2], of=2)
            load.wait_for_answers(ANSWERS)


def test_a_gateway_replica(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    name = "SIGKILL of a gateway replica"
    with soak.loaded(name, fleet, questions, cuts=True) as (scene, load):
        for _ in scene.rounds():
            replace_one(scene, fleet, GATEWAY, of=2)
            load.wait_for_answers(ANSWERS)


def test_the_controller(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    with soak.loaded("SIGKILL of the controller", fleet, questions) as (scene, load):
        for _ in scene.rounds():
            replace_one(scene, fleet, CONTROLLER, of=1)
            eventually("the control API", lambda: control(fleet)[0] == 200)
            load.wait_for_answers(ANSWERS)


def test_the_registry(
    soak: Soak, fleet: Fleet, questions: list[Question], registry_server: MlflowServer
) -> None:
    """With a replica killed while nobody can load its replacement."""
    with soak.loaded("SIGKILL of MLflow", fleet, questions) as (scene, load):
        for number in scene.rounds():
            scene.mark("MLflow killed")
            registry_server.kill()
            scene.require("status of a control call", refused(fleet), "==", 503)
            before = pids_of(fleet, REPLICAS[number % 2])
            scene.mark("replica killed")
            kill(replica_pids(fleet), REPLICAS[number % 2])
            load.wait_for_answers(2 * ANSWERS)
            scene.mark("MLflow is back")
            registry_server.start()
            await_replacement(fleet, REPLICAS[number % 2], before, of=2)
            load.wait_for_answers(ANSWERS)


def test_the_store(soak: Soak, fleet: Fleet, questions: list[Question], database: Database) -> None:
    """With the controller killed, whose replacement finds nothing to begin with."""
    with soak.loaded("SIGKILL of the fleet store", fleet, questions) as (scene, load):
        for _ in scene.rounds():
            scene.mark("PostgreSQL killed")
            database.kill()
            scene.require("status of a control call", refused(fleet), "==", 503)
            replace_one(scene, fleet, CONTROLLER, of=1)
            load.wait_for_answers(ANSWERS)
            scene.mark("PostgreSQL is back")
            database.start()
            eventually("the control API", lambda: control(fleet)[0] == 200)
            load.wait_for_answers(ANSWERS)


def test_all_that_is_stored(
    soak: Soak, fleet: Fleet, questions: list[Question], database: Database
) -> None:
    """After it, what is asked of the controller must still reach the gateways."""
    with soak.loaded("loss of the whole fleet store", fleet, questions) as (scene, load):
        for _ in scene.rounds():
            scene.mark("all tables dropped")
            database.lose_everything()
            load.wait_for_answers(ANSWERS)
            replace_one(scene, fleet, CONTROLLER, of=1)
            eventually("the control API", lambda: control(fleet)[0] == 200)
            eventually("a model is added", lambda: host_spare(fleet) == 200)
            scene.require("status of its unloading", fleet.call(UNLOAD, b"")[0], "==", 200)
            load.wait_for_answers(ANSWERS)


UNLOAD = "/v2/repository/models/spare/unload"


def host_spare(fleet: Fleet) -> int:
    """Status of loading a model, which waits until every gateway acts on it."""
    return fleet.call(UNLOAD.replace("unload", "load"), b"")[0]


def replace_one(scene: Scene, fleet: Fleet, name: str, *, of: int) -> None:
    """Kill one of the replicas at random, and wait until there are as many as before."""
    before = pids_of(fleet, name)
    victim = scene.random.choice(sorted(before))
    scene.mark(f"{name} killed")
    os.kill(victim, signal.SIGKILL)
    await_replacement(fleet, name, {victim}, of=of)
    scene.mark(f"{name} replaced")


def await_replacement(fleet: Fleet, name: str, gone: set[int], *, of: int) -> None:
    """Wait for so many replicas, all of them well and not one of those that are gone."""

    def is_replaced() -> bool:
        now = {pid for pid in pids_of(fleet, name) if psutil.pid_exists(pid)}
        application = fleet.status()[name.partition("#")[0]]
        return len(now) == of and not gone <= now and application["status"] == "RUNNING"

    eventually(f"a new replica of {name}", is_replaced)


def control(fleet: Fleet) -> tuple[int, dict[str, str]]:
    """Status and headers of a look at all deployments."""
    try:
        return fleet.call(API, door=fleet.control_url)[:2]
    except OSError:  # the new controller does not listen yet
        return 0, {}


def refused(fleet: Fleet) -> int:
    """Status of a control call that needs what is away, and says when to come back."""
    body = json.dumps({"name": "spare", "spec": {}}).encode()
    headers = {"Content-Type": "application/json"}
    status, answered, _ = fleet.call(API, body, headers, door=fleet.control_url)
    assert "retry-after" in answered, (status, answered)
    return status
