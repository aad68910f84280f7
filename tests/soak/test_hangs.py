"""A replica that stands still: its process is there, its connections too, and nothing moves.

Or only its model does, in the thread that it has for itself, and the rest of the replica is well.
"""

import os
import signal
import subprocess
import threading
import time

import pytest

from tests.integration.hosting import BIN, READY_S, REPOSITORY, Fleet, eventually, pids_of
from tests.integration.load import Load, questions_for
from tests.soak.conftest import DEADLINE_S
from tests.soak.register_faulty import STUCK_AT
from tests.soak.scene import Scene, Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

CLIENTS = 6
"""At each door."""

STOPPED_S = 12.0
"""Longer than any deadline here, so that whoever were left waiting would show."""

STUCK_REPLICA = "stuck--v1#Predictor"

KNOWN_S = 3.0
"""After which every gateway has a connection to a replica that runs, seconds."""

REPLACED_S = 3 * DEADLINE_S + 60.0
"""Of a replica whose model hangs: Serve looks every 2 s, three times, waits until it has left, and
starts another one."""


def test_a_replica_with_connections_of_ours(soak: Soak, fleet: Fleet) -> None:
    questions = questions_for("breast-cancer", fleet.models["breast-cancer"])
    with soak.loaded("SIGSTOP of a replica (direct)", fleet, questions) as (scene, load):
        for _ in scene.rounds():
            stop_one_for_a_while(scene, fleet, "breast-cancer--v1#Predictor")
            load.wait_for_answers(100)
        scene.require("longest wait for an answer, s", scene.tally.longest_s, "<=", DEADLINE_S)


def test_a_replica_behind_serve_s_handle(soak: Soak, fleet: Fleet) -> None:
    load = Load(fleet.doors, questions_for("by-handle", fleet.models["by-handle"]), clients=CLIENTS)
    with soak.scene("SIGSTOP of a replica (handle)") as scene:
        scene.tally = load.tally
        with load:
            for _ in scene.rounds():
                stop_one_for_a_while(scene, fleet, "by-handle--v1#Predictor")
                load.wait_for_answers(100)
        # What waits there when it stops, and nobody twice: Serve looks for others meanwhile.
        failed = scene.tally.failed / scene.rounds_done
        scene.require("failed requests a round", failed, "<=", 2 * CLIENTS)


def test_a_model_that_hangs_in_predict(soak: Soak, fleet: Fleet) -> None:
    host_stuck(fleet)
    with soak.scene("a model that hangs in predict") as scene:
        for _ in scene.rounds():
            before = pids_of(fleet, STUCK_REPLICA)
            scene.mark("one hangs")
            asking = threading.Thread(target=fleet.infer, args=("stuck", [[STUCK_AT]]))
            asking.start()
            began_s, failed = time.monotonic(), 0
            while len(pids_of(fleet, STUCK_REPLICA) - before) == 0 and not late(began_s):
                failed += fleet.infer("stuck", [[1.0]])[0] != 200
            scene.mark("replaced")
            asking.join()
            # Each gateway has to find out for itself, and looks once more while it waits.
            scene.require("other requests that fail", failed, "<=", 4)
            took_s = time.monotonic() - began_s
            scene.require("until it is replaced, s", round(took_s, 1), "<=", REPLACED_S)
            eventually("both replicas", lambda: n_running(fleet) == 2)
    fleet.deploy(fleet.user_config)


def host_stuck(fleet: Fleet) -> None:
    script = REPOSITORY / "tests/soak/register_faulty.py"
    subprocess.run(
        [BIN / "python", script, "hangs", "stuck"],
        env={**os.environ, **fleet.cluster.environment},
        timeout=READY_S, check=True,
    )  # fmt: skip
    fleet.cluster.registry.set_registered_model_alias("stuck", "champion", "1")
    direct = {"transport": "direct", "num_replicas": 2}
    fleet.deploy({**fleet.user_config, "stuck": direct})
    eventually("it answers", lambda: fleet.infer("stuck", [[1.0]])[0] == 200)
    eventually("both replicas", lambda: n_running(fleet) == 2)
    time.sleep(KNOWN_S)


def n_running(fleet: Fleet) -> int:
    replicas = fleet.status()["stuck--v1"]["deployments"]["Predictor"]["replicas"]
    return sum(replica["state"] == "RUNNING" for replica in replicas)


def late(began_s: float) -> bool:
    return time.monotonic() > began_s + 2 * REPLACED_S


def stop_one_for_a_while(scene: Scene, fleet: Fleet, name: str) -> None:
    victim = scene.random.choice(sorted(pids_of(fleet, name)))
    scene.mark("stopped")
    os.kill(victim, signal.SIGSTOP)
    try:
        time.sleep(STOPPED_S)
    finally:
        scene.mark("goes on")
        os.kill(victim, signal.SIGCONT)
