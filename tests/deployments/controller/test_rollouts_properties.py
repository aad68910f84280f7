"""Whatever happens, in whatever order: what must hold of rollouts holds at every tick."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.controller.decide import Decision
from deployments.controller.failures import ApplicationState
from deployments.controller.rolloutrows import event_rows, row_of
from deployments.rollout.commands import Action, Request, command, equal_arms, start
from deployments.rollout.strategies import plan_of
from deployments.rolloutspec import RolloutSpec
from deployments.schema import ModelSpec
from deployments.traffic.table import RouteState
from tests.deployments.controller.rolloutworld import FakeRegistry, World, copied, migrated
from tests.properties import examples

STRATEGIES: list[dict[str, Any]] = [
    {"steps": [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}, {"analysis": {}}]},
    {"steps": [{"setMirror": 50}, {"analysis": {}}, {"setWeight": 30}, {"pause": {}}]},
    {"strategy": "blueGreen"},
    {"strategy": "rolling", "max_surge": 40},
    {"strategy": "shadow", "duration_s": 5},
    {"strategy": "ab", "duration_s": 10},
]
SHORT = {"progress_deadline_s": 20, "keep_previous_s": 5}
NUMBERS = itertools.count()
UNHEALTHY = ApplicationState("UNHEALTHY", 0, "a replica died")
NAMES = st.sampled_from(["one", "two"])
VERSIONS = st.sampled_from(["1", "2", "3", None])
Happening = Callable[[World], object]


def alias(name: str, version: str | None) -> Happening:
    def happen(world: World) -> None:
        world.registry.aliases["m"].pop(name, None)
        if version is not None and ("m", version) in world.registry.versions:
            world.registry.aliases["m"][name] = version

    return happen


def dies(name: str, version: str) -> Happening:
    def happen(world: World) -> None:
        if f"m--v{version}" in world.cluster(name).applications:
            world.cluster(name).applications[f"m--v{version}"] = UNHEALTHY

    return happen


def recovers(world: World) -> None:
    for cluster in world.clusters.values():
        cluster.slow.clear()
        cluster.broken.clear()
        for name, state in cluster.applications.items():
            if state.status == "UNHEALTHY":
                cluster.applications[name] = ApplicationState(
                    "RUNNING", 1, fingerprint=state.fingerprint
                )


def served(errors: int, differing: int) -> Happening:
    def happen(world: World) -> None:
        for cluster in world.clusters.values():
            for route in cluster.table.models["m"].routes:
                bad = errors if route.version != "1" else 0
                world.counts.add("m", route.version, requests=route.weight * 5,
                                 errors=route.weight * bad, mirrored=route.mirror * 5,
                                 differing=route.mirror * differing)  # fmt: skip

    return happen


def asked(action: Action) -> Happening:
    def happen(world: World) -> None:
        rollout = world.active()
        row = next((row for row in world.rows.unsettled() if row.active), None)
        if rollout is not None and row is not None:
            done = command(rollout, action, "ada", world.now_s)
            if not isinstance(done, str):
                world.rows.save(row_of(done.rollout, row.revision), event_rows(done, world.now_s))

    return happen


def started(version: str, strategy: dict[str, Any]) -> Happening:
    """Somebody starts a rollout by name."""

    def happen(world: World) -> None:
        stable = world.registry.aliases["m"].get("champion")
        if stable in {None, version} or ("m", version) not in world.registry.versions:
            return
        plan = plan_of(RolloutSpec.load({**strategy, **SHORT}))
        request = Request("m", equal_arms([version]), stable, plan, "ada", "asked", True, None)
        begun = start(request, f"r{next(NUMBERS)}", world.now_s)
        world.rows.begin(row_of(begun.rollout), event_rows(begun, world.now_s))

    return happen


def away(store_calls: float, registry: bool) -> Happening:
    """The store answers so many calls more, and the registry none."""

    def happen(world: World) -> None:
        world.flaky.calls_left, world.registry.is_away = store_calls, registry

    return happen


def crashes_amid_a_tick(name: str, store_calls: int) -> Happening:
    def happen(world: World) -> None:
        before, world.flaky.calls_left = world.flaky.calls_left, store_calls
        world.tick(name)
        world.crash(name)
        world.flaky.calls_left = before

    return happen


HAPPENINGS: st.SearchStrategy[Happening] = st.one_of(
    st.builds(lambda name, s: lambda world: world.tick(name, s), NAMES,
              st.sampled_from([0.5, 0.5, 2.0, -3600.0, 3600.0])),
    st.builds(lambda name, n: lambda world: world.run(name, n), NAMES, st.integers(2, 15)),
    st.builds(lambda name: lambda world: world.crash(name), NAMES),
    st.builds(alias, st.sampled_from(["challenger", "challenger", "champion"]), VERSIONS),
    st.builds(dies, NAMES, st.sampled_from(["1", "2", "3"])),
    st.builds(lambda name, v: lambda world: world.cluster(name).broken.update({f"m--v{v}": "torn"}),
              NAMES, st.sampled_from(["2", "3"])),
    st.builds(lambda name, v: lambda world: world.cluster(name).slow.add(f"m--v{v}"),
              NAMES, st.sampled_from(["2", "3"])),
    st.just(recovers),
    st.builds(served, st.sampled_from([0, 0, 0, 1]), st.sampled_from([0, 0, 1])),
    st.builds(asked, st.sampled_from(list(Action))),
    st.builds(away, st.sampled_from([0, 1, 3, 9, math.inf, math.inf]), st.booleans()),
    st.builds(crashes_amid_a_tick, NAMES, st.integers(0, 8)),
    st.builds(started, st.sampled_from(["1", "2", "3"]), st.sampled_from(STRATEGIES)),
    st.just(lambda world: world.registry.remove("m", "3")),
)  # fmt: skip


class Watched(World):
    """Checks what must hold after every tick."""

    def tick(self, name: str = "one", seconds: float = 0.5) -> Decision:
        before = self.cluster(name)
        applications = dict(before.applications)
        decision = super().tick(name, seconds)
        routes = decision.table.models["m"].routes
        weights = sum(route.weight for route in routes)
        stable = decision.table.models["m"].stable
        ready = stable is not None and stable.state is RouteState.READY
        assert weights == (100 if ready else 0)
        for route in routes:
            assert route.weight == 0 or route.state is RouteState.READY
            state = applications.get(route.application)
            if route is not stable and route.weight:
                assert state is not None
                assert state.running_replicas > 0
            assert not (route.weight and route.application in decision.delete)
        # A champion that loads is a canary's peer until it is ready, and gets nothing.
        here = [route.track for route in routes if route.state is RouteState.READY]
        tracks = [track for track in here if track != "previous"]
        assert len(set(tracks)) == len(tracks)
        return decision


def ends_are_written_down(world: World) -> None:
    assert world.rows.unsettled() == []
    for row in world.rows.history("m"):
        last = world.rows.events(row.id)[-1]
        assert last.kind in {"aborted", "promoted", "reported"}
        assert last.reason


def peace(world: World) -> None:
    """Everything works again and everybody agrees: then every rollout comes to an end."""
    world.flaky.calls_left, world.registry.is_away = math.inf, False
    recovers(world)
    world.registry.aliases["m"].setdefault("champion", "1")
    for _ in range(40):
        for name in ("one", "two"):
            world.run(name, 5)
        for _ in range(5):
            served(0, 0)(world)
        asked(Action.APPROVE)(world)
        asked(Action.RESUME)(world)
        if not world.rows.unsettled() and "challenger" not in world.registry.aliases["m"]:
            break
    ends_are_written_down(world)
    champion = world.registry.aliases["m"]["champion"]
    for _ in range(60):
        # What could not be loaded is tried again after a while, and then there.
        for name in ("one", "two"):
            world.run(name, most=5)
        if world.weights("one") == world.weights("two") == {champion: 100}:
            break
    assert world.weights("one") == world.weights("two") == {champion: 100}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(tmp_path_factory.mktemp("stores"))


@pytest.mark.ray
@examples(60)
@given(
    strategy=st.sampled_from(STRATEGIES),
    begun=st.sampled_from([0, 5]),
    happenings=st.lists(HAPPENINGS, min_size=5, max_size=40),
)
def test_whatever_happens(
    strategy: dict[str, Any], begun: int, happenings: list[Happening], empty: Path
) -> None:
    spec = ModelSpec.load({"rollout": {**strategy, **SHORT}})
    path = copied(empty, empty.with_name(f"{next(NUMBERS)}.db"))
    world = Watched(path, {"m": spec}, FakeRegistry(m={"champion": "1"}))
    world.run(most=3)
    world.run("two", most=3)
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(most=begun)
    for happen in happenings:
        happen(world)

    peace(world)
    world.store.close()
