"""A replica that stands still: its process is there, its connections too, and nothing moves."""

import os
import signal
import time

import pytest

from tests.integration.hosting import Fleet, pids_of
from tests.integration.load import Load, questions_for
from tests.soak.conftest import DEADLINE_S
from tests.soak.scene import Scene, Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

CLIENTS = 6
"""At each door."""

STOPPED_S = 12.0
"""Longer than any deadline here, so that whoever were left waiting would show."""


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


def stop_one_for_a_while(scene: Scene, fleet: Fleet, name: str) -> None:
    victim = scene.random.choice(sorted(pids_of(fleet, name)))
    scene.mark("stopped")
    os.kill(victim, signal.SIGSTOP)
    try:
        time.sleep(STOPPED_S)
    finally:
        scene.mark("goes on")
        os.kill(victim, signal.SIGCONT)
