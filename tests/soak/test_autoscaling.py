"""Replicas follow the queue at the gateways: up under load, down after it, to zero and back.

Serve does not see what travels past its handle, nor that a batch holds many requests: the
gateways tell the replicas how many wait, and those tell Serve (`predictor.autoscaling`).
"""

import json
from collections.abc import Callable

import pytest

from tests.integration.hosting import Fleet, eventually, replica_pids
from tests.integration.load import Load, Question
from tests.soak.scene import Scene, Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

SLOW = 1e6
"""From this number on the model takes 20 ms for a batch; four rows a batch are 200 a second."""

MODEL = "moody"
APPLICATION = f"{MODEL}--v1#Predictor"
MOST = 3

SPEC = {
    "max_batch_size": 4,
    "max_concurrent_batches": 1,
    "request_deadline_s": 30.0,  # a replica starts from zero meanwhile
    "autoscaling_config": {
        "min_replicas": 0,
        "max_replicas": MOST,
        "target_ongoing_requests": 8,
        "look_back_period_s": 2.0,
        "upscale_delay_s": 1.0,
        "downscale_delay_s": 2.0,
        "downscale_to_zero_delay_s": 2.0,
    },
}

CROWD = {"clients": 24, "rate_per_s": 2000.0}
"""More than one replica answers in time, at each of both doors: nobody ever waits to ask."""

FEW = {"clients": 1, "rate_per_s": 20.0}


@pytest.mark.parametrize("transport", ["handle", "direct", "inline"])
def test_replicas_follow_the_queue(soak: Soak, fleet: Fleet, transport: str) -> None:
    others = {name: spec for name, spec in fleet.user_config.items() if name != MODEL}
    with soak.scene(f"autoscaling ({transport})") as scene:
        fleet.deploy({**others, MODEL: {**SPEC, "transport": transport}})
        try:
            for _ in scene.rounds():
                until(scene, fleet, "to zero", lambda count: count == 0)
                loaded(scene, fleet, CROWD, "up", lambda count: count == MOST)
                loaded(scene, fleet, FEW, "down", lambda count: count == 1)
                until(scene, fleet, "to zero again", lambda count: count == 0)
        finally:
            fleet.deploy(fleet.user_config)
            eventually("the model is as it was", lambda: running(fleet) == 1)
        scene.require_no_failures()


def loaded(
    scene: Scene,
    fleet: Fleet,
    how: dict[str, float],
    what: str,
    holds: Callable[[int], bool],
) -> None:
    """Ask until there are as many replicas as there should be; no request may fail."""
    load = Load(fleet.doors, questions(), **how)  # type: ignore[arg-type]
    with load:
        until(scene, fleet, what, holds)
        load.wait_for_answers(20)
    scene.tally.asked += load.tally.asked


def until(scene: Scene, fleet: Fleet, what: str, holds: Callable[[int], bool]) -> None:
    began_s = scene.now_s
    eventually(what, lambda: holds(running(fleet)))
    scene.mark(what)
    scene.figures[f"{what}, s"] = round(scene.now_s - began_s, 1)


def running(fleet: Fleet) -> int:
    """Processes of the model's replicas."""
    return sum(name == APPLICATION for name, _ in replica_pids(fleet))


def questions() -> list[Question]:
    def question(number: int) -> Question:
        value = SLOW + number
        tensor = {"name": "input-0", "shape": [1, 1], "datatype": "FP64", "data": [value]}
        body = json.dumps({"inputs": [tensor]}).encode()
        return Question(
            f"/v2/models/{MODEL}/infer",
            body,
            lambda answer: bool(answer["outputs"][0]["data"] == [2 * value]),
        )

    return [question(number) for number in range(16)]
