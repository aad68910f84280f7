"""Where batches for pooled versions go, by links that answer when a test says."""

import asyncio
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.direct import DirectTransport
from deployments.gateway.pool import (
    MORE_BATCHES,
    OWN_BATCHES,
    PoolableTransport,
    PoolReplicas,
    Pools,
    choose_replica,
    home_order,
)
from deployments.predictor.direct import DirectDoor
from deployments.predictor.pool import Target
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch, Form, Layout
from deployments.traffic.table import Endpoint
from tests.fakes import FakeTransport, make_route

BATCH = Batch({"x": np.ones((1, 2))}, {}, Layout.TENSOR, ())
WITHIN_S = 5.0


@dataclass(frozen=True)
class Seen:
    """A replica as the choice sees it."""

    replica: str
    in_flight: int = 0


A, B, C = Seen("a"), Seen("b"), Seen("c")
OWN_MANY = OWN_BATCHES + 3


@pytest.mark.parametrize(
    ("ordered", "own", "warm", "expected"),
    [
        pytest.param([A, B, C], {}, set(), "a", id="home-when-it-is-warm-nowhere"),
        pytest.param([A, B, C], {}, {"a", "c"}, "a", id="home-when-it-is-warm-there"),
        pytest.param([A, B, C], {}, {"c"}, "c", id="where-it-is-warm-though-not-at-home"),
        pytest.param(
            [A, B], {"a": OWN_MANY}, set(), "a", id="no-second-load-while-home-is-loading"
        ),
        pytest.param(
            [A, B, C], {"a": OWN_BATCHES}, {"a"}, "b", id="a-busy-version-spreads-to-the-idlest"
        ),
        pytest.param(
            [A, B, C],
            {"a": OWN_BATCHES, "b": 1},
            {"a", "b"},
            "b",
            id="the-second-home-before-a-third",
        ),
        pytest.param(
            [Seen("a", MORE_BATCHES), B], {}, {"a"}, "b", id="other-versions-keep-home-busy"
        ),
        pytest.param(
            [Seen("a", MORE_BATCHES - 1), B], {}, {"a"}, "a", id="home-is-a-little-busier"
        ),
        pytest.param([A], {"a": 50}, {"a"}, "a", id="there-is-only-one"),
    ],
)
def test_choice_of_a_replica(
    ordered: list[Seen], own: dict[str, int], warm: set[str], expected: str
) -> None:
    assert choose_replica(ordered, own, warm).replica == expected


@given(
    replicas=st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, unique=True),
    leaving=st.integers(0, 9),
)
def test_a_replica_that_leaves_moves_only_what_was_at_home_there(
    replicas: list[str], leaving: int
) -> None:
    gone = replicas[leaving % len(replicas)]
    before = [each.replica for each in home_order("m--v1", [Seen(name) for name in replicas])]

    after = home_order("m--v1", [Seen(name) for name in reversed(replicas) if name != gone])

    assert [each.replica for each in after] == [name for name in before if name != gone]


def test_homes_are_spread_evenly() -> None:
    homes = Counter(
        home_order(f"tail-{number:04}--v1", [A, B])[0].replica for number in range(1000)
    )

    assert 450 < homes["a"] < 550


class Handle:
    """Serve's handle, which notes for whom it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Target | None, int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def predict(
        self, batch: Batch, depth: int, timeout_s: float, target: Target | None = None
    ) -> Prediction:
        self.asked.append((target, depth))
        await self.may_answer.wait()
        return Prediction({"x": np.ones(1)}, Form.ARRAY, 0.0, 0.0)


def surroundings() -> tuple[Pools, Handle, list[FakeTransport]]:
    """Pools without a connection, the handle behind them, and what versions have of their own."""
    handle = Handle()
    own: list[FakeTransport] = []
    pools = Pools(
        lambda _: PoolReplicas(DirectTransport("gateway-1", "node-1", FakeTransport()), handle)
    )
    return pools, handle, own


def transport(pools: Pools, own: list[FakeTransport]) -> PoolableTransport:
    def make() -> FakeTransport:
        own.append(FakeTransport())
        return own[-1]

    return PoolableTransport(make, pools)


def route(model: str = "churn", **changes: Any) -> Any:
    changes = {"pool": "tail--pool", "runtime": "sklearn", "size_bytes": 7, **changes}
    return msgspec.structs.replace(make_route(model), **changes)


def test_without_a_connection_the_pool_s_handle_is_told_the_version() -> None:
    async def test() -> None:
        pools, handle, own = surroundings()
        way = transport(pools, own)
        way.update(route())

        await way.predict(BATCH, 3, WITHIN_S)

        assert handle.asked == [(("churn", "1", "sklearn", 7), 3)]
        assert own == []

    asyncio.run(test())


def test_the_pool_hears_how_much_waits_for_all_of_its_models() -> None:
    async def test() -> None:
        pools, handle, own = surroundings()
        first, second = transport(pools, own), transport(pools, own)
        first.update(route("churn"))
        second.update(route("risk"))
        handle.may_answer.clear()

        sent = [asyncio.ensure_future(way.predict(BATCH, 5, WITHIN_S)) for way in (first, second)]
        await asyncio.sleep(0)
        handle.may_answer.set()
        await asyncio.gather(*sent)
        await first.predict(BATCH, 1, WITHIN_S)

        assert [depth for _, depth in handle.asked] == [5, 10, 1]

    asyncio.run(test())


def test_a_model_moves_between_a_pool_and_replicas_of_its_own() -> None:
    async def test() -> None:
        pools, handle, own = surroundings()
        way = transport(pools, own)
        for pool in (None, "tail--pool", None):
            way.update(route(pool=pool))
            await way.predict(BATCH, 1, WITHIN_S)

        assert len(handle.asked) == 1
        assert [len(each.sent) for each in own] == [2]

    asyncio.run(test())


class Door:
    """A replica of a pool, without Serve around it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.asked: list[Target] = []
        self.door = DirectDoor(self._predict, "tail", "")

    async def _predict(self, batch: Batch, gateway: str, depth: int, target: Target) -> Prediction:
        self.asked.append(target)
        return Prediction({"x": np.ones(1)}, Form.ARRAY, 0.0, 0.0)

    async def open(self, folder: Path) -> Endpoint:
        return await self.door.open(self.name, "node-1", "127.0.0.1", folder)


async def until_ready(pools: Pools, n_replicas: int) -> None:
    while len(pools.of("tail--pool").direct.ready) != n_replicas:
        await asyncio.sleep(0.01)


def test_a_version_stays_with_one_replica_and_goes_to_the_other_when_that_leaves() -> None:
    async def test(folder: Path) -> None:
        doors = {name: Door(name) for name in ("r1", "r2")}
        endpoints = {name: await door.open(folder) for name, door in doors.items()}
        pools, handle, own = surroundings()
        way = transport(pools, own)
        pools.update({"tail--pool": tuple(endpoints.values())})
        way.update(route())
        await until_ready(pools, 2)

        for _ in range(10):
            await way.predict(BATCH, 1, WITHIN_S)
        (home, other) = sorted(doors.values(), key=lambda door: -len(door.asked))
        assert home.asked == [("churn", "1", "sklearn", 7)] * 10
        await home.door.drain(WITHIN_S)
        await until_ready(pools, 1)
        await way.predict(BATCH, 1, WITHIN_S)

        assert (len(home.asked), len(other.asked), handle.asked) == (10, 1, [])
        pools.update({})
        await other.door.drain(WITHIN_S)

    with tempfile.TemporaryDirectory(prefix="rf-") as folder:  # short, for the sockets' paths
        asyncio.run(asyncio.wait_for(test(Path(folder)), 20))
