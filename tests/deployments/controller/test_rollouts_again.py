"""Versions that are tried once more, and aliases that move while a rollout is on its way."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.controller import rollouts
from deployments.rollout.advance import advance
from deployments.rollout.seen import Seen
from deployments.rollout.state import Advanced, Phase, Rollout
from deployments.schema import ModelSpec
from tests.deployments.controller.offices import STEPS, Office, open_office
from tests.deployments.controller.rolloutworld import copied, migrated

TORN = "RuntimeError: weights file is torn"
FOLLOWING = {"m": ModelSpec.load({"rollout": STEPS})}
AB = {"strategy": "ab", "analysis": {"signals": {"errors": {"kind": "errors"}}}}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def office(empty: Path, tmp_path: Path) -> Iterator[Office]:
    """Its model's challenger is tried by itself."""
    with open_office(copied(empty, tmp_path / "store.db"), FOLLOWING) as office:
        yield office


def test_a_version_that_could_not_be_loaded_is_loaded_again_when_somebody_asks(
    office: Office,
) -> None:
    world = office.world
    world.cluster().broken["m--v2"] = TORN
    office.start(version="2", rollout=STEPS)
    world.run(until=lambda: world.last().phase is Phase.ABORTED)
    world.run(until=lambda: "m--v2" not in world.cluster().applications)
    del world.cluster().broken["m--v2"]

    office.start(version="2", rollout=STEPS)
    world.run(most=6)

    assert office.current().phase == "paused"
    assert world.weights() == {"2": 20, "1": 80}
    assert world.cluster().failures == {}


def test_one_that_still_cannot_be_loaded_is_aborted_for_the_new_failure(office: Office) -> None:
    world = office.world
    world.cluster().broken["m--v2"] = "an old reason"
    office.start(version="2", rollout=STEPS)
    world.run(until=lambda: world.last().phase is Phase.ABORTED)
    world.cluster().broken["m--v2"] = TORN

    # At once: Serve may still show the old failure, which says nothing of this attempt.
    office.start(version="2", rollout=STEPS)
    world.run(until=lambda: world.last().phase is Phase.ABORTED, most=20)

    assert world.last().reason == f"version 2 could not be loaded: {TORN}"


def test_what_the_registry_said_before_a_rollout_began_does_not_decide_about_it(
    office: Office,
) -> None:
    world = office.world
    world.view = replace(world.registry.view(), asked_at_s=world.monotonic_s)
    world.registry.aliases["m"]["champion"] = "2"
    office.start(version="3", rollout=STEPS)  # sees that 2 is the champion
    world.run(most=4)
    assert world.last().stable == "2"
    assert world.last().phase is not Phase.ABORTED

    world.view = None
    world.run(most=6)
    assert office.current().phase == "paused"


def test_the_alias_of_a_challenger_that_came_back_is_left_alone(office: Office) -> None:
    world = office.world
    world.registry.aliases["m"]["challenger"] = "2"
    world.run(until=lambda: world.weights().get("2") == 20)
    world.registry.aliases["m"]["challenger"] = "3"
    world.registry.is_away = True  # for writes: what is left to do for 2 comes later
    world.tick()
    assert world.rows.history("m")[-1].phase == "aborted"

    world.registry.aliases["m"]["challenger"] = "2"
    world.registry.is_away = False
    world.run(most=10)

    assert world.registry.aliases["m"] == {"champion": "1", "challenger": "2"}
    assert office.current().version == "2"


def test_a_new_challenger_waits_until_the_good_version_is_back(office: Office) -> None:
    world = office.world
    office.promoted("2")
    world.run(until=lambda: "m--v1" not in world.cluster().applications)
    world.cluster().slow.add("m--v1")
    office.rollback("1")
    world.registry.aliases["m"]["challenger"] = "3"
    world.run(most=6)
    assert (office.current().strategy, office.current().phase) == ("rollback", "pending")

    world.cluster().slow.clear()
    world.run(until=lambda: world.weights().get("3") == 20)

    assert world.registry.aliases["m"] == {"champion": "1", "challenger": "3"}
    assert world.last().stable == "1"


def test_after_an_ab_test_only_the_arm_that_failed_is_not_tried_again(office: Office) -> None:
    world = office.world
    office.start(versions=["2", "3"], rollout=AB)
    world.run(most=4)
    for version, errors in (("1", 0), ("2", 0), ("3", 5_000)):
        world.counts.add("m", version, requests=20_000, errors=errors)
    world.run(until=lambda: world.last().phase.is_final)
    world.run(most=3)

    world.registry.aliases["m"]["challenger"] = "3"
    world.run(most=6)
    assert len(world.rows.history("m")) == 1

    world.registry.aliases["m"]["challenger"] = "2"
    world.run(most=6)
    assert (office.current().strategy, office.current().version) == ("canary", "2")


def test_one_that_no_alias_names_is_aborted_when_its_version_is_deleted(office: Office) -> None:
    world = office.world
    office.start(version="2", rollout=STEPS)
    world.run(until=lambda: world.weights().get("2") == 20)

    world.registry.remove("m", "2")
    world.run(most=6)

    assert (world.last().phase, world.last().reason) == (Phase.ABORTED, "version 2 was deleted")
    assert world.weights() == {"1": 100}


def test_one_rollout_that_is_broken_stops_no_other(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = office.world
    world.specs["n"] = FOLLOWING["m"]
    world.registry.aliases["n"] = {"champion": "1"}
    world.registry.versions |= {("n", version) for version in "12"}
    world.run(most=4)
    for model in ("m", "n"):
        world.registry.aliases[model]["challenger"] = "2"

    def broken(rollout: Rollout, seen: Seen) -> Advanced:
        if rollout.model == "m":
            raise KeyError("no such arm")
        return advance(rollout, seen)

    monkeypatch.setattr(rollouts, "advance", broken)
    world.run(most=8)

    assert world.weights(model="n") == {"2": 20, "1": 80}
    assert {each.model: each.reason for each in world.cluster().rollouts.rollouts}["m"] == (
        "cannot go on: 'no such arm'"
    )
