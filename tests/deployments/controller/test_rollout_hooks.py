"""Rollouts that tell and ask others, over real connections."""

import json
from pathlib import Path
from typing import Any

import pytest

from deployments.controller.rolloutrows import event_rows, rollout_of, row_of
from deployments.rollout.commands import Action, command
from deployments.rollout.signals import Counts
from deployments.rollout.state import Advanced, Phase
from deployments.schema import ModelSpec
from tests.deployments.controller.rolloutworld import FakeRegistry, World, copied, migrated
from tests.receivers import receiver

pytestmark = pytest.mark.ray  # starts servers


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(tmp_path_factory.mktemp("stores"))


def world_of(empty: Path, tmp_path: Path, **rollout: Any) -> World:
    spec = ModelSpec.load({"rollout": {"steps": [{"setWeight": 50}, {"analysis": {}}], **rollout}})
    registry = FakeRegistry(m={"champion": "1"})
    world = World(copied(empty, tmp_path / "store.db"), {"m": spec}, registry)
    world.run(most=3)
    registry.aliases["m"]["challenger"] = "2"
    return world


def served(world: World, ticks: int) -> None:
    for _ in range(ticks):
        world.tick()
        for version, weight in world.weights().items():
            world.counts.add("m", version, requests=weight * 20)


def test_gates_hold_until_they_say_yes_and_all_are_told(empty: Path, tmp_path: Path) -> None:
    said = {"confirm-rollout": 403, "confirm-promotion": 403}

    def answer(index: int) -> tuple[int, dict[str, str], bytes]:
        return said.get(json.loads(server.received[index].body)["type"], 200), {}, b""

    with receiver(answer) as server:
        kinds = ("confirm-rollout", "pre-rollout", "rollout", "confirm-promotion", "post-rollout",
                 "event")  # fmt: skip
        hooks = [{"name": kind, "type": kind, "url": server.url} for kind in kinds]
        world = world_of(empty, tmp_path, webhooks=hooks)
        served(world, 8)
        assert world.last().reason == "webhook 'confirm-rollout' answered 403"
        assert world.weights() == {"2": 0, "1": 100}

        by_hand(world, Action.PAUSE)
        served(world, 2)
        by_hand(world, Action.RESUME)
        del said["confirm-rollout"]
        served(world, 12)
        assert world.last().reason == "webhook 'confirm-promotion' answered 403"
        assert world.weights() == {"2": 50, "1": 50}

        del said["confirm-promotion"]
        served(world, 6)

    assert world.registry.aliases["m"] == {"champion": "2"}
    told = [json.loads(each.body) for each in server.received]
    assert {each["type"] for each in told} == set(kinds)
    events = [each["metadata"]["eventMessage"] for each in told if each["type"] == "event"]
    assert events[0].startswith("created: challenger was moved to version 2")
    assert [event for event in events if "ada" in event] == [
        "paused: paused by ada", "resumed: resumed by ada",
    ]  # fmt: skip
    assert events[-1].startswith("promoted: ")
    assert len(events) == len(world.rows.events(world.last().id))
    world.store.close()


def by_hand(world: World, action: Action) -> None:
    """What the desk does when somebody asks."""
    (row,) = world.rows.unsettled()
    rollout = rollout_of(row)
    assert rollout is not None
    done = command(rollout, action, "ada", world.now_s)
    assert isinstance(done, Advanced)
    assert world.rows.save(row_of(done.rollout, row.revision), event_rows(done, world.now_s))


@pytest.mark.parametrize(
    ("kind", "status", "words"),
    [
        ("pre-rollout", 412, "webhook 'check' answered 412"),
        ("rollout", 412, "webhook 'check' answered 412"),
        ("rollback", 200, "told to roll back: webhook 'check' answered 200"),
    ],
)
def test_a_webhook_that_aborts(
    empty: Path, tmp_path: Path, kind: str, status: int, words: str
) -> None:
    with receiver(lambda _: (status, {}, b"")) as server:
        hook = {"name": "check", "type": kind, "url": server.url}
        world = world_of(empty, tmp_path, webhooks=[hook])
        served(world, 10)

    assert (world.last().phase, world.last().reason) == (Phase.ABORTED, words)
    assert world.weights() == {"1": 100}
    world.store.close()


@pytest.mark.parametrize(("value", "phase"), [("0.05", "successful"), ("0.5", "aborted")])
def test_rules_ask_prometheus(empty: Path, tmp_path: Path, value: str, phase: str) -> None:
    found = {"resultType": "vector", "result": [{"metric": {}, "value": [0, value]}]}
    body = json.dumps({"status": "success", "data": found}).encode()
    with receiver(lambda _: (200, {}, body)) as server:
        rule = {"name": "p99", "query": "p99", "address": server.url, "interval": "1s", "count": 3,
                "successCondition": "result[0] < 0.1", "failureLimit": 1}  # fmt: skip
        world = world_of(empty, tmp_path, analysis={"rules": [rule]})
        served(world, 25)

    assert world.last().phase == phase
    if phase == "aborted":
        assert world.last().reason == "p99: failed (2) > failureLimit (1), last 0.5"
    world.store.close()


@pytest.mark.parametrize(("errors", "phase"), [(0, "successful"), (60, "aborted")])
def test_rules_on_a_signal_see_what_was_counted_meanwhile(
    empty: Path, tmp_path: Path, errors: int, phase: str
) -> None:
    rule = {"name": "few", "signal": "errors", "interval": "1s", "count": 3,
            "successCondition": "result[0] < 0.05 && result[1] < 0.05"}  # fmt: skip
    signals = {"errors": {"kind": "errors", "allowed": 0.5}}
    world = world_of(empty, tmp_path, analysis={"rules": [rule], "signals": signals})
    world.counts.by_version["m", "2"] = Counts(requests=10_000, errors=9_000)  # long ago
    for _ in range(30):
        served(world, 1)
        if world.weights().get("2") == 50:
            world.counts.add("m", "2", errors=errors)

    assert world.last().phase == phase
    if phase == "aborted":
        assert world.last().reason == "few: failed (1) > failureLimit (0), last 0.06, 0"
    world.store.close()


def test_a_prometheus_without_a_number_leaves_a_rollout_that_can_be_read(
    empty: Path, tmp_path: Path
) -> None:
    found = {"resultType": "vector", "result": [{"metric": {}, "value": [0, "NaN"]}]}
    body = json.dumps({"status": "success", "data": found}).encode()
    with receiver(lambda _: (200, {}, body)) as server:
        rule = {"name": "p99", "query": "p99", "address": server.url, "interval": "1s",
                "successCondition": "result[0] < 0.1", "failureLimit": 100}  # fmt: skip
        world = world_of(empty, tmp_path, analysis={"rules": [rule]})
        served(world, 10)

        assert world.last().measurements["p99"][0].value == [None]
        world.crash()
        served(world, 5)
        assert world.active() is not None
    world.store.close()


def test_a_rule_on_a_signal_waits_for_something_to_be_counted(empty: Path, tmp_path: Path) -> None:
    rule = {"name": "few", "signal": "errors", "interval": "1s", "count": 3,
            "failureCondition": "result[0] > 0.05"}  # fmt: skip
    signals = {"errors": {"kind": "errors", "allowed": 0.5}}
    world = world_of(empty, tmp_path, analysis={"rules": [rule], "signals": signals})

    world.run(most=40)  # and nobody asks

    assert world.last().phase is Phase.PROGRESSING
    assert world.last().measurements == {}
    world.store.close()
