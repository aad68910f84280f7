"""Work that nobody waits for any more is not done: deadlines, and clients that leave."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.integration import unwanted
from tests.integration.hosting import Fleet
from tests.soak.scene import Scene, Soak

pytestmark = [
    pytest.mark.ray,
    pytest.mark.soak,
    pytest.mark.parametrize("door", ["express", "serve"]),
]


def test_deadlines(soak: Soak, fleet: Fleet, door: str) -> None:
    with soak.scene(f"X-Request-Timeout-Ms ({door})") as scene:
        for _ in scene.rounds():
            with little_is_done(scene, fleet):
                statuses = asyncio.run(unwanted.with_deadlines(fleet.doors[door]))
            require_only(scene, statuses, 200, 504)


def test_deadlines_of_grpc(soak: Soak, fleet: Fleet, door: str) -> None:
    with soak.scene(f"gRPC deadlines ({door})") as scene:
        for _ in scene.rounds():
            with little_is_done(scene, fleet):
                codes = asyncio.run(unwanted.with_grpc_deadlines(fleet.grpc_doors[door]))
            require_only(scene, codes, "OK", "DEADLINE_EXCEEDED")


def test_clients_that_leave(soak: Soak, fleet: Fleet, door: str) -> None:
    with soak.scene(f"clients that leave ({door})") as scene:
        for _ in scene.rounds():
            with little_is_done(scene, fleet):
                asyncio.run(unwanted.that_leave(fleet.doors[door]))


def require_only(scene: Scene, seen: Counter[int] | Counter[str], *allowed: int | str) -> None:
    others = sum(count for what, count in seen.items() if what not in allowed)
    scene.require(f"neither {allowed[0]} nor {allowed[1]}", others, "<=", 0)


@contextmanager
def little_is_done(scene: Scene, fleet: Fleet) -> Iterator[None]:
    """Bound the share of a crowd's requests that are predicted although it leaves."""
    before = unwanted.predicted(fleet)
    scene.mark("they come")
    yield
    scene.mark("they left")
    done = (unwanted.predicted(fleet) - before) / unwanted.CROWD
    scene.require("share predicted for nobody", round(done, 2), "<=", unwanted.MOST_DONE)
