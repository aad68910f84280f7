"""Requests made up at random, at every door and in both protocols: no fault of ours, no hang."""

import pytest

from tests.integration import fuzz
from tests.integration.hosting import Fleet
from tests.integration.load import Question
from tests.soak.scene import Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

EXAMPLES = 150
"""Of each kind, at each door, in a round."""


def test_http(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    with soak.loaded("fuzz over HTTP", fleet, questions) as (scene, _):
        for number in scene.rounds():
            seed = scene.random.getrandbits(32)
            for url in fleet.doors.values():
                fuzz.try_http(url, EXAMPLES, seed)
            scene.figures["requests made up"] = 4 * EXAMPLES * (number + 1)


def test_grpc(soak: Soak, fleet: Fleet, questions: list[Question]) -> None:
    with soak.loaded("fuzz over gRPC", fleet, questions) as (scene, _):
        for number in scene.rounds():
            seed = scene.random.getrandbits(32)
            for address in fleet.grpc_doors.values():
                fuzz.try_grpc(address, EXAMPLES, seed)
            scene.figures["requests made up"] = 2 * EXAMPLES * (number + 1)
