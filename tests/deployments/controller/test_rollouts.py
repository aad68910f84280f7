"""Rollouts from alias to alias, on a real store: no cluster, no clock."""

import math
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest

from deployments.controller import rollouts
from deployments.controller.failures import ApplicationState
from deployments.controller.rolloutrows import event_rows, row_of
from deployments.rollout.commands import Action, command
from deployments.rollout.seen import Checked, Seen
from deployments.rollout.state import Advanced, Phase, Rollout
from deployments.schema import ModelSpec
from tests.deployments.controller.rolloutworld import FakeRegistry, World, copied, migrated
from tests.lines import kept_lines

QUICK = {
    "steps": [{"setWeight": 20}, {"analysis": {}}, {"setWeight": 50}, {"pause": {"duration_s": 5}}],
    "keep_previous_s": 20,
}
SPEC = ModelSpec.load({"rollout": QUICK})
UNHEALTHY = ApplicationState("UNHEALTHY", 0, "RuntimeError: out of memory")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(tmp_path_factory.mktemp("stores"))


Make = Callable[..., World]


@pytest.fixture
def make(empty: Path, tmp_path: Path) -> Iterator[Make]:
    """Build worlds of model `m`, champion 1, that runs."""
    worlds: list[World] = []

    def build(spec: ModelSpec = SPEC, **aliases: str) -> World:
        path = copied(empty, tmp_path / f"{len(worlds)}.db")
        world = World(path, {"m": spec}, FakeRegistry(m={"champion": "1", **aliases}))
        worlds.append(world)
        world.run(
            until=lambda: "m" in world.cluster().table.models and world.weights() == {"1": 100}
        )
        return world

    yield build
    for world in worlds:
        world.store.close()


def serve(world: World, errors: int = 0) -> None:
    """A hundred requests by the weights in force; so many of the canary's fail."""
    for version, weight in world.weights().items():
        bad = errors if version == "2" and weight else 0
        world.counts.add("m", version, requests=weight * 10, errors=min(bad, weight * 10))


def run(world: World, errors: int = 0, most: int = 300) -> list[dict[str, int]]:
    """Go on until the rollout is over; returns the weights that there were."""
    seen: list[dict[str, int]] = []
    for _ in range(most):
        world.tick()
        serve(world, errors)
        if not seen or seen[-1] != world.weights():
            seen.append(world.weights())
        if world.rows.history("m") and world.last().phase.is_final:
            world.tick()
            return seen
    raise AssertionError(world.last())


def kinds(world: World) -> list[str]:
    return [event.kind for event in world.rows.events(world.last().id)]


def test_a_good_challenger_becomes_champion(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"

    weights = run(world)

    assert weights == [
        {"2": 0, "1": 100}, {"2": 20, "1": 80}, {"2": 50, "1": 50}, {"1": 0, "2": 100},
    ]  # fmt: skip
    assert world.registry.aliases["m"] == {"champion": "2"}
    assert world.registry.tags["m", "2"]["rayfleet.rollout.verdict"] == "successful"
    assert kinds(world) == [
        "created", "started", "step", "step", "step", "step", "promoting", "promoted",
    ]  # fmt: skip
    routes = world.cluster().table.models["m"].routes
    assert [route.track for route in routes] == ["previous", "stable"]

    world.run(most=60)
    assert world.weights() == {"2": 100}
    assert "m--v1" not in world.cluster().applications
    assert world.rows.unsettled() == []


def test_a_bad_one_is_aborted_for_its_errors_and_not_tried_again(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"

    run(world, errors=20)
    world.run(most=20)

    assert world.registry.aliases["m"] == {"champion": "1"}
    assert world.last().phase is Phase.ABORTED
    assert "errors" in world.last().reason
    assert "rise at least" in world.registry.tags["m", "2"]["rayfleet.rollout.reason"]
    assert world.weights() == {"1": 100}

    world.registry.aliases["m"]["challenger"] = "2"
    world.run(most=20)
    assert len(world.rows.history("m")) == 1


def test_what_never_loads_is_aborted_with_the_replica_s_own_error(make: Make) -> None:
    world = make()
    world.cluster().broken["m--v2"] = "RuntimeError: weights file is torn"
    world.registry.aliases["m"]["challenger"] = "2"

    run(world)

    assert (
        world.last().reason == "version 2 could not be loaded: RuntimeError: weights file is torn"
    )
    assert world.weights() == {"1": 100}


def test_what_keeps_dying_is_aborted_and_gets_nothing_while_it_is_away(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)
    app = world.cluster().applications
    for _ in range(3):
        alive, app["m--v2"] = app["m--v2"], UNHEALTHY
        assert world.tick().table.models["m"].route("1").weight == 100  # type: ignore[union-attr]
        app["m--v2"] = alive
        world.tick()

    assert kinds(world).count("lost") == 3
    assert kinds(world).count("back") == 2
    assert world.last().reason == "it died 3 times: RuntimeError: out of memory"
    assert world.last().phase is Phase.ABORTED


@pytest.mark.parametrize(
    ("aliases", "reason", "then"),
    [
        pytest.param({"challenger": "3"}, "superseded by version 3", "3", id="superseded"),
        pytest.param({"challenger": None}, "challenger was taken away", None, id="taken-away"),
        pytest.param({"champion": "9"}, "champion was moved to 9", None, id="champion-moved"),
    ],
)
def test_aliases_that_move_meanwhile(
    make: Make, aliases: dict[str, str | None], reason: str, then: str | None
) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)
    first = world.last()

    for name, version in aliases.items():
        world.registry.aliases["m"].pop(name, None)
        if version is not None:
            world.registry.aliases["m"][name] = version
    world.run(most=4)

    found = world.rows.get(first.id)
    assert found is not None
    assert (found.phase, found.active) == ("aborted", False)
    assert reason in world.rows.events(first.id)[-1].reason
    active = world.active()
    assert (active.version if active else None) == then


def test_a_challenger_that_comes_back_is_tried_again_if_it_was_not_judged(make: Make) -> None:
    world = make()
    for version in ("2", "3", "2"):
        world.registry.aliases["m"]["challenger"] = version
        world.run(most=5)

    assert [row.version for row in world.rows.history("m")] == ["2", "3", "2"]
    assert [row.phase for row in world.rows.history("m")][1:] == ["aborted", "aborted"]


def test_one_that_a_judged_version_supersedes_says_that_nothing_follows(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    run(world, errors=20)  # is judged, and aborted
    world.registry.aliases["m"]["challenger"] = "3"
    world.run(until=lambda: world.weights().get("3") == 20)

    world.registry.aliases["m"]["challenger"] = "2"
    world.run(most=20)

    assert world.last().version == "3"
    assert world.last().reason == (
        "superseded by version 2, which was judged before: start it by name to try it again"
    )


def test_one_that_cannot_go_on_says_why_once(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(rollout: Rollout, seen: Seen) -> Advanced:
        raise ValueError("no such bet")

    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)

    with monkeypatch.context() as patch, kept_lines(rollouts.__name__) as lines:
        patch.setattr(rollouts, "advance", broken)
        world.run(most=20)
        (told,) = world.rows.unsettled()
        world.run(most=20)

    assert world.rows.unsettled() == [told]  # nothing is new, and nothing written
    (held,) = world.cluster().rollouts.rollouts
    assert held.reason == "cannot go on: no such bet"
    assert [line.exc_info is not None for line in lines if line.levelname == "ERROR"] == [True]
    run(world)
    assert world.registry.aliases["m"] == {"champion": "2"}


def test_a_version_deleted_in_mid_rollout(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)
    world.registry.remove("m", "2")

    run(world)

    assert world.weights() == {"1": 100}
    assert world.last().reason == "the alias challenger was taken away"  # with the version


def test_the_store_gone_for_a_minute_and_clocks_that_jump(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)

    world.flaky.calls_left = 0
    for _ in range(120):
        world.tick()
        assert world.weights() == {"2": 20, "1": 80}
    for calls in range(8):  # it comes back, and goes in the middle of a tick
        world.flaky.calls_left = calls
        world.tick()
        assert world.weights() == {"2": 20, "1": 80}
    world.flaky.calls_left = math.inf
    world.tick(seconds=86_400.0)
    world.tick(seconds=-86_400.0)
    assert world.active() is not None

    run(world)
    assert world.registry.aliases["m"] == {"champion": "2"}


def test_the_registry_away_at_the_end_only_delays_the_alias(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)
    world.registry.is_away = True
    for _ in range(40):
        world.tick()
        serve(world)
    assert world.last().phase is Phase.PROMOTING
    assert world.weights() == {"1": 0, "2": 100}

    world.registry.is_away = False
    run(world)
    assert world.registry.aliases["m"] == {"champion": "2"}


@pytest.mark.parametrize("crash_at", range(0, 24, 2))
@pytest.mark.parametrize("errors", [0, 20], ids=["good", "bad"])
def test_a_controller_that_crashes_changes_nothing(make: Make, crash_at: int, errors: int) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    for _ in range(crash_at):
        world.tick()
        serve(world, errors)
    world.crash()

    run(world, errors)

    champion = "1" if errors else "2"
    assert world.registry.aliases["m"] == {"champion": champion}
    assert world.last().phase is (Phase.ABORTED if errors else Phase.SUCCESSFUL)
    assert len(world.rows.history("m")) == 1


BLUE_GREEN = ModelSpec.load({"rollout": {"strategy": "blueGreen", "steps": [{"check": {}}]}})


def test_kept_requests_decide_before_the_switch(make: Make) -> None:
    world = make(BLUE_GREEN)
    world.checked = Checked(0, 0, "its replica is away")
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(most=10)
    assert world.weights() == {"1": 100, "2": 0}
    (first, again, *_) = world.checks
    assert first.routes.route("2") is not None
    assert (first.model, first.version, first.requests) == ("m", "2", None)
    assert again.version == "2"

    world.checked, asked = Checked(4, 0), len(world.checks)
    seen = run(world)

    assert len(world.checks) == asked + 1
    assert world.registry.aliases["m"] == {"champion": "2"}
    assert all(weights["2"] in {0, 100} for weights in seen if "2" in weights)


def test_a_version_that_answers_kept_requests_badly_never_gets_any(make: Make) -> None:
    world = make(BLUE_GREEN)
    world.checked = Checked(4, 1, "line 2: differs")
    world.registry.aliases["m"]["challenger"] = "2"

    seen = run(world)

    assert world.last().phase is Phase.ABORTED
    assert world.last().reason.endswith("line 2: differs")
    assert not any(weights.get("2") for weights in seen)


def test_only_the_holder_of_the_lease_judges_and_both_keep_in_step(make: Make) -> None:
    world = make()
    world.run("two", most=4)
    world.registry.aliases["m"]["challenger"] = "2"
    world.run("two", most=10)
    assert world.rows.history("m") == []  # cluster one has the lease

    world.run(until=lambda: world.weights().get("2") == 20)
    world.run("two", most=4)
    assert world.weights("two") == world.weights("one") == {"2": 20, "1": 80}
    assert world.cluster("one").rollouts.leads
    assert not world.cluster("two").rollouts.leads

    # Cluster one is gone: after a while the other goes on, from what is stored.
    for _ in range(80):
        world.tick("two")
        for version, weight in world.weights("two").items():
            world.counts.add("m", version, requests=weight * 10)
    assert world.cluster("two").rollouts.leads
    assert world.registry.aliases["m"] == {"champion": "2"}
    assert world.weights("two")["2"] == 100

    # It comes back, and follows.
    world.run("one", most=4)
    assert world.weights("one")["2"] == 100


def test_a_cluster_where_the_version_is_not_there_yet_keeps_to_stable(make: Make) -> None:
    world = make()
    world.run("two", most=4)
    world.cluster("two").slow.add("m--v2")
    world.registry.aliases["m"]["challenger"] = "2"
    run(world)

    world.run("two", most=4)

    assert world.weights("one") == {"1": 0, "2": 100}
    assert world.weights("two") == {"2": 0, "1": 100}
    world.cluster("two").slow.clear()
    world.run("two", most=4)
    assert world.weights("two") == {"1": 0, "2": 100}


def test_what_another_controller_wrote_is_not_overwritten(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)
    row = next(row for row in world.rows.unsettled() if row.active)
    active = world.active()
    assert active is not None

    paused = command(active, Action.PAUSE, "ada", world.now_s)
    assert isinstance(paused, Advanced)
    assert world.rows.save(row_of(paused.rollout, row.revision), event_rows(paused, world.now_s))
    for _ in range(40):
        world.tick()
        serve(world)

    found = world.active()
    assert found is not None
    assert (found.phase, found.paused_by) == (Phase.PAUSED, "ada")
    assert world.weights() == {"2": 20, "1": 80}


def test_what_is_written_in_the_middle_of_a_tick_stands(make: Make) -> None:
    world = make()
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)
    world.counts.add("m", "2", requests=10_000)
    world.counts.add("m", "1", requests=10_000)

    def abort() -> None:
        (row,) = world.rows.unsettled()
        active = world.active()
        assert active is not None
        done = command(active, Action.ABORT, "ada", world.now_s)
        assert isinstance(done, Advanced)
        assert world.rows.save(row_of(done.rollout, row.revision), event_rows(done, world.now_s))

    # The tick that it happens in would have gone on to 50 %.
    world.counts.meanwhile = abort
    world.tick(seconds=3.0)
    world.run(most=3)

    assert (world.last().phase, world.last().reason) == (Phase.ABORTED, "aborted by ada")
    assert kinds(world) == ["created", "started", "step", "aborted"]
    assert world.weights() == {"1": 100}
    assert world.registry.aliases["m"] == {"champion": "1"}


def test_what_is_written_for_one_model_in_a_tick_holds_up_no_other(
    empty: Path, tmp_path: Path
) -> None:
    registry = FakeRegistry(**{name: {"champion": "1"} for name in ("m", "n")})
    world = World(copied(empty, tmp_path / "two.db"), {"m": SPEC, "n": SPEC}, registry)
    world.run(most=3)
    for name in ("m", "n"):
        registry.aliases[name]["challenger"] = "2"

    def pause() -> None:
        active = world.active()
        row = next(row for row in world.rows.unsettled() if row.model == "m")
        assert active is not None
        done = command(active, Action.PAUSE, "ada", world.now_s)
        assert isinstance(done, Advanced)
        assert world.rows.save(row_of(done.rollout, row.revision), event_rows(done, world.now_s))

    world.run(until=lambda: world.weights().get("2") == 20)
    assert world.weights(model="n")["2"] == 20
    for name, version in product(("m", "n"), ("1", "2")):
        world.counts.add(name, version, requests=10_000)
    world.counts.meanwhile = pause
    world.tick(seconds=3.0)
    world.tick()

    assert world.weights()["2"] == 20
    assert world.weights(model="n")["2"] == 50
    world.store.close()


@pytest.mark.ray  # two thousand steps of rollouts, which take seconds
def test_fifty_models_at_once(empty: Path, tmp_path: Path) -> None:
    names = [f"m{number:02}" for number in range(50)]
    registry = FakeRegistry(**{name: {"champion": "1", "challenger": "2"} for name in names})
    world = World(copied(empty, tmp_path / "fifty.db"), dict.fromkeys(names, SPEC), registry)
    for _ in range(40):
        world.tick()
        for name in names:
            for version, weight in world.weights(model=name).items():
                world.counts.add(name, version, requests=weight * 10)

    assert all(registry.aliases[name] == {"champion": "2"} for name in names)
    world.store.close()
