"""Requests made up at random, at every door and in both protocols: no fault of ours, no hang."""

from pathlib import Path

import pytest

from tests.guided.running import run
from tests.integration import fuzz
from tests.integration.hosting import Fleet
from tests.integration.load import Question
from tests.soak.scene import Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

EXAMPLES = 150
"""Of each kind, at each door, in a round."""

GUIDED_S = 5
"""A round with one of the readers, seconds."""


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


@pytest.mark.parametrize("target", ["rest", "grpc", "mlflow"])
def test_bytes_guided_by_what_they_cover(soak: Soak, target: str, tmp_path: Path) -> None:
    with soak.scene(f"bytes guided by what they cover ({target})") as scene:
        for number in scene.rounds():
            folder = tmp_path / str(number)
            folder.mkdir()
            seed = 1 + scene.random.getrandbits(30)
            status, said = run(target, folder, f"-max_total_time={GUIDED_S}", f"-seed={seed}")
            assert status == 0, said[-5000:]
