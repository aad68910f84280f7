"""What people ask of rollouts, from the request to what the routing table does."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import ConflictError, FleetError, MalformedRequestError, NotFoundError
from tests.deployments.controller.offices import STEPS, Office, open_office
from tests.deployments.controller.rolloutworld import copied, migrated


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return migrated(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def office(empty: Path, tmp_path: Path) -> Iterator[Office]:
    with open_office(copied(empty, tmp_path / "store.db")) as office:
        yield office


def test_a_rollout_is_started_approved_and_promoted(office: Office) -> None:
    created = office.start(version="2", rollout=STEPS)
    assert (created.phase, created.steps) == ("pending", ["setWeight 20", "pause until approved"])
    assert office.woken == 1

    office.world.run(most=4)
    office.world.counts.add("m", "2", requests=200, errors=1)
    office.world.tick(seconds=2.5)
    shown = office.current()
    assert (shown.phase, shown.weight, shown.step) == ("paused", 20, 1)
    assert [(side.version, side.track, side.weight) for side in shown.sides] == [
        ("1", "stable", 80), ("2", "canary", 20),
    ]  # fmt: skip
    assert (shown.sides[1].requests, shown.sides[1].errors) == (200, 1)
    assert [finding.signal for finding in shown.findings] == ["errors"]

    office.command("approve", "looks good")
    office.world.run(most=3)
    ended = office.current()
    assert (ended.phase, ended.previous) == ("successful", "1")
    assert ended.keep_previous_left_s == pytest.approx(5, abs=2)
    events = asyncio.run(office.desk.events("m", ended.id))
    assert [event.kind for event in events] == [
        "created", "started", "step", "paused", "approved", "step", "promoting", "promoted",
    ]  # fmt: skip
    assert (events[4].actor, events[4].reason) == ("ada", "approved by ada: looks good")
    assert office.world.registry.aliases["m"] == {"champion": "2"}


def test_a_rollback_to_the_warm_previous_version_takes_one_tick(office: Office) -> None:
    office.promoted("2")
    assert office.world.weights() == {"1": 0, "2": 100}

    rollback = office.rollback()
    office.world.tick()

    assert office.world.weights() == {"2": 0, "1": 100}
    office.world.run(most=3)
    ended = office.current()
    assert (ended.id, ended.strategy, ended.phase) == (rollback.id, "rollback", "successful")
    assert ended.reason == "rolled back by ada: it is bad"
    assert office.world.registry.aliases["m"] == {"champion": "1"}


def test_a_rollback_of_what_is_on_its_way_is_its_abort(office: Office) -> None:
    office.start(version="2", rollout=STEPS)
    office.world.run(most=4)

    ended = office.rollback()
    office.world.tick()

    assert (ended.phase, ended.reason) == ("aborted", "aborted by ada: rolled back: it is bad")
    assert office.world.weights() == {"1": 100}


def test_a_rollback_to_what_is_not_registered_ends_nothing(office: Office) -> None:
    office.start(version="2", rollout=STEPS)
    office.world.run(most=4)

    with pytest.raises(NotFoundError, match="99"):
        office.rollback("99")

    assert office.current().phase == "paused"


def test_a_rollback_to_any_version_loads_it_first(office: Office) -> None:
    office.world.cluster().slow.add("m--v7")
    office.rollback("7")
    office.world.run(most=5)
    assert office.world.weights() == {"7": 0, "1": 100}

    office.world.cluster().slow.clear()
    office.world.run(most=4)
    assert office.world.weights() == {"1": 0, "7": 100}


def test_a_rule_on_a_signal_is_about_one_version(office: Office) -> None:
    rule = {"name": "few", "signal": "errors", "successCondition": "result[0] < 0.1"}
    analysis = {"signals": {"errors": {"kind": "errors"}}, "rules": [rule]}

    with pytest.raises(
        MalformedRequestError, match=r"rollout.analysis.rules\[0\].signal: 'errors'"
    ):
        office.start(versions=["2", "3"], rollout={"strategy": "ab", "analysis": analysis})


def test_arms_of_an_ab_test(office: Office) -> None:
    office.start(versions=["2", "3"])
    office.world.run(most=4)

    shown = office.current()
    assert [(side.track, side.weight) for side in shown.sides] == [
        ("stable", 34), ("arm-1", 33), ("arm-2", 33),
    ]  # fmt: skip
    assert shown.weight == 66

    office.command("abort")
    office.world.run(most=3)
    assert office.world.weights() == {"1": 100}
    assert office.world.registry.aliases["m"] == {"champion": "1"}


@pytest.mark.parametrize(
    ("model", "request_", "error", "words"),
    [
        ("nobody", {"version": "2"}, NotFoundError, "not hosted"),
        ("m", {}, NotFoundError, "alias challenger: name a version"),
        ("m", {"version": "1"}, ConflictError, "version 1 is the champion already"),
        ("m", {"version": "77"}, NotFoundError, "no version '77' in the registry"),
        ("m", {"version": "2", "rollout": "careful"}, NotFoundError, "no such template"),
        ("m", {"version": "2", "rollout": {"stepz": 1}}, MalformedRequestError, "did you mean"),
        (
            "m",
            {"version": "2", "rollout": {"analysis": {"rules": [
                {"name": "p99", "query": "up", "successCondition": "result[0] <"}]}}},
            MalformedRequestError,
            r"rollout.analysis.rules\[0\].successCondition: condition 'result\[0\] <'",
        ),
        ("m", {"version": "2", "rollout": {"duration_s": 5}}, MalformedRequestError,
         "^rollout.duration_s: 5: is for 'ab'"),
        ("m", {"version": "2", "rollout": {"analysis": {"signals": {"w": {"kind": "mistakes"}}}}},
         MalformedRequestError, "^model 'm': feedback: null: should be set"),
        ("m", {"version": "2", "versions": ["3"]}, MalformedRequestError, "give one of them"),
        ("m", {"versions": ["3", "3"]}, MalformedRequestError, "stands twice"),
        ("m", {"versions": ["3"], "rollout": {}}, MalformedRequestError, "not 'canary'"),
        ("split", {"version": "2"}, ConflictError, "fixed weights {champion: 90, challenger: 10}"),
        ("orphan", {"version": "2"}, ConflictError, "no version with the alias champion"),
    ],
)  # fmt: skip
def test_what_cannot_be_started(
    office: Office, model: str, request_: dict[str, Any], error: type[FleetError], words: str
) -> None:
    with pytest.raises(error, match=words):
        office.start(model, **request_)


def test_one_rollout_a_model(office: Office) -> None:
    office.start(version="2")

    with pytest.raises(ConflictError, match="active rollout, to version 2"):
        office.start(version="3")


def test_what_is_refused_without_a_rollout(office: Office) -> None:
    with pytest.raises(NotFoundError, match="no active rollout"):
        office.command("pause")
    with pytest.raises(NotFoundError, match="never had a rollout"):
        office.current()
    with pytest.raises(NotFoundError, match="name the version to roll back to"):
        office.rollback()
    with pytest.raises(ConflictError, match="is the champion already"):
        office.rollback("1")
    with pytest.raises(NotFoundError, match="has no rollout 'r1'"):
        asyncio.run(office.desk.events("m", "r1"))


def test_all_and_history_show_the_active_one_first(office: Office) -> None:
    office.promoted("2")
    office.start(version="3", rollout=STEPS)

    (shown,) = asyncio.run(office.desk.all())
    assert (shown.version, shown.phase) == ("3", "pending")
    history = asyncio.run(office.desk.history("m", 10))
    assert [each.version for each in history] == ["3", "2"]
