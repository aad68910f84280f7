import asyncio
from typing import Any

import numpy as np
import pytest

from deployments.errors import ModelNotReadyError, NotFoundError
from deployments.gateway.inference import Inference
from deployments.protocols.tensors import Request
from deployments.telemetry import REVISION, Counters
from deployments.traffic.table import Endpoint, Route, RouteState, Track
from tests.fakes import FakeTransport, loop_time, make_route, make_table, run_virtually

REQUEST = Request({"x": np.ones((1, 2))}, 1)
CANARY = make_route(version="2", weight=10, track=Track.CANARY)
STABLE = make_route(version="1", weight=90)
LOADING = make_route(weight=0, state=RouteState.LOADING, reason="its first replica is starting")


class Fleet:
    """An `Inference` whose transports can be looked at, by application."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.transports: dict[str, FakeTransport] = {}
        self.counters = Counters("a")
        self.inference = Inference(self._make, self.counters, loop_time)
        self._takes_s = takes_s

    def _make(self, application: str) -> FakeTransport:
        assert application not in self.transports, "a queue was thrown away"
        self.transports[application] = FakeTransport(takes_s=self._takes_s)
        return self.transports[application]


def chosen(inference: Inference, key: str) -> Route:
    return inference.choose("churn", key)


def test_keys_are_split_by_the_table_in_force() -> None:
    async def test() -> dict[str, int]:
        inference = Fleet().inference
        inference.apply(make_table(churn=(CANARY, STABLE)))
        found = [chosen(inference, str(key)).version for key in range(1_000)]
        return {version: found.count(version) for version in set(found)}

    counts = run_virtually(test)

    # A tenth, give or take 4 standard deviations.
    assert counts["2"] == pytest.approx(100, abs=38)
    assert sum(counts.values()) == 1_000


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        pytest.param((LOADING,), "its first replica is starting", id="loading"),
        pytest.param((), "no version has the alias champion", id="nothing"),
        pytest.param(
            (make_route(weight=0, track=Track.CANARY),), "alias champion", id="a-canary-alone"
        ),
    ],
)
def test_a_model_that_is_not_ready_says_why(routes: tuple[Route, ...], reason: str) -> None:
    async def test() -> None:
        inference = Fleet().inference
        inference.apply(make_table(churn=routes))
        with pytest.raises(ModelNotReadyError, match=reason):
            chosen(inference, "key")

    run_virtually(test)


def test_unknown_names_say_what_there_is() -> None:
    async def test() -> None:
        inference = Fleet().inference
        inference.apply(make_table(churn=(CANARY, STABLE)))
        with pytest.raises(NotFoundError, match="unknown model 'other'"):
            inference.choose("other", "key")
        with pytest.raises(NotFoundError, match="no version '9', hosted: 2, 1"):
            inference.pinned("churn", "9")

    run_virtually(test)


def test_a_pinned_version_answers_whatever_its_weight() -> None:
    async def test() -> list[str]:
        fleet = Fleet()
        idle = make_route(version="2", weight=0, track=Track.CANARY)
        fleet.inference.apply(make_table(churn=(idle, make_route())))
        await fleet.inference.answer("churn", fleet.inference.pinned("churn", "2"), REQUEST)
        return [name for name, transport in fleet.transports.items() if transport.sent]

    assert run_virtually(test) == ["churn--v2"]


def test_a_pinned_version_that_is_not_ready_says_why() -> None:
    async def test() -> None:
        inference = Fleet().inference
        inference.apply(make_table(churn=(LOADING,)))
        with pytest.raises(ModelNotReadyError, match="version 1: its first replica is starting"):
            await inference.answer("churn", inference.pinned("churn", "1"), REQUEST)

    run_virtually(test)


def test_queues_outlive_tables_and_learn_the_new_track() -> None:
    async def test() -> str:
        fleet = Fleet(takes_s=1.0)
        fleet.inference.apply(make_table(1, churn=(CANARY, STABLE)))
        asked = asyncio.ensure_future(fleet.inference.answer("churn", CANARY, REQUEST))
        await asyncio.sleep(0.5)
        promoted = make_route(version="2")
        fleet.inference.apply(make_table(2, churn=(promoted,)))
        await asked
        assert fleet.counters.snapshot().families[REVISION.name][0].counts == (2,)
        return str(fleet.inference._queues["churn--v2"].track)

    assert run_virtually(test) == "stable"


@pytest.mark.parametrize(
    ("after_s", "answered"),
    [
        pytest.param(0.0, True, id="at-once"),
        pytest.param(29.0, True, id="within-the-deadline"),
        pytest.param(31.0, False, id="after-it"),
    ],
)
def test_a_request_decoded_for_a_version_that_left_meanwhile_is_still_answered(
    after_s: float, answered: bool
) -> None:
    async def test() -> Any:
        inference = Fleet().inference
        inference.apply(make_table(1, churn=(STABLE,)))
        route = chosen(inference, "key")
        inference.apply(make_table(2, churn=(make_route(version="2"),)))
        await asyncio.sleep(after_s)
        inference.apply(make_table(3, churn=(make_route(version="2", replicas=2),)))
        try:
            return bool(await inference.answer("churn", route, REQUEST))
        except ModelNotReadyError:
            return False

    assert run_virtually(test) is answered


def test_the_connections_of_a_version_that_left_are_let_go() -> None:
    door = Endpoint("a", "node-1", "/tmp/a", "127.0.0.1", 1, "00")

    async def test() -> list[int]:
        fleet = Fleet()
        fleet.inference.apply(make_table(1, churn=(make_route(endpoints=(door,)),)))
        fleet.inference.apply(make_table(2, churn=(make_route(version="2"),)))
        transport = fleet.transports["churn--v1"]
        counts = [len(transport.endpoints)]
        for wait_s in (29.0, 2.0):  # the deadline is 30 s, and no other table comes
            await asyncio.sleep(wait_s)
            counts.append(len(transport.endpoints))
        return counts

    assert run_virtually(test) == [1, 1, 0]


def test_a_version_that_comes_back_has_one_queue() -> None:
    async def test() -> int:
        fleet = Fleet()
        for revision, version in enumerate(("1", "2", "1", "2"), start=1):
            fleet.inference.apply(make_table(revision, churn=(make_route(version=version),)))
            await fleet.inference.answer("churn", chosen(fleet.inference, ""), REQUEST)
        return sum(len(transport.sent) for transport in fleet.transports.values())

    assert run_virtually(test) == 4
