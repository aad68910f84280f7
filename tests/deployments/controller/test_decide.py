"""One table for each rule in the docstring of `decide`, then what holds for any observation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from deployments.controller.decide import decide
from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import ApplicationState
from deployments.controller.moving import is_moving
from deployments.schema import ModelSpec
from deployments.traffic.table import RoutingTable, Track
from tests.deployments.controller.observations import (
    ASLEEP,
    DEAD,
    DELETING,
    FAILED,
    NOW_S,
    PLAIN,
    RUNNING,
    SPLIT,
    STARTING,
    apps,
    deployed,
    failure,
    registered,
    seen,
    serving,
    states,
    weights,
)
from tests.fakes import SIGNATURE


@pytest.mark.parametrize(
    ("state", "route", "deploys", "deletes"),
    [
        pytest.param(None, "LOADING", True, False, id="absent-is-deployed"),
        pytest.param(STARTING, "LOADING", False, False, id="starting-is-awaited"),
        pytest.param(RUNNING, "READY", False, False, id="running"),
        pytest.param(ASLEEP, "READY", False, False, id="scaled-to-zero-is-ready"),
        pytest.param(
            ApplicationState("DEPLOYING", 1), "READY", False, False, id="one-of-several-replicas"
        ),
        pytest.param(
            ApplicationState("UNHEALTHY", 1), "READY", False, False, id="unhealthy-but-answering"
        ),
        pytest.param(
            ApplicationState("DEPLOY_FAILED", 1), "READY", False, False, id="failed-but-answering"
        ),
        pytest.param(FAILED, "UNAVAILABLE", False, True, id="failed-is-deleted"),
        pytest.param(DELETING, "LOADING", False, False, id="leaving-must-be-gone-first"),
        pytest.param(DEAD, "LOADING", False, False, id="died-before-it-was-ready"),
        pytest.param(ApplicationState("NOT_STARTED", 0), "LOADING", False, False, id="not-started"),
    ],
)
def test_state_of_a_wanted_version(
    state: ApplicationState | None, route: str, deploys: bool, deletes: bool
) -> None:
    decision = decide(seen(applications=apps(v1=state) if state is not None else {}))

    assert states(decision) == {"1": route}
    assert weights(decision) == {"1": 100 if route == "READY" else 0}
    assert deployed(decision) == (["m--v1"] if deploys else [])
    assert decision.delete == (("m--v1",) if deletes else ())


@pytest.mark.parametrize(
    ("aliases", "applications", "expected"),
    [
        pytest.param({"champion": "1"}, apps(v1=RUNNING), {"1": 100}, id="no-challenger"),
        pytest.param(
            {"champion": "1", "challenger": "2"},
            apps(v1=RUNNING),
            {"2": 0, "1": 100},
            id="challenger-is-not-there-yet",
        ),
        pytest.param(
            {"champion": "1", "challenger": "2"},
            apps(v1=RUNNING, v2=STARTING),
            {"2": 0, "1": 100},
            id="challenger-is-loading",
        ),
        pytest.param(
            {"champion": "1", "challenger": "2"},
            apps(v1=RUNNING, v2=RUNNING),
            {"2": 10, "1": 90},
            id="challenger-is-ready",
        ),
        pytest.param(
            {"champion": "1", "challenger": "2"},
            apps(v1=RUNNING, v2=FAILED),
            {"2": 0, "1": 100},
            id="challenger-failed",
        ),
        pytest.param(
            {"champion": "1", "challenger": "2"},
            apps(v1=STARTING, v2=RUNNING),
            {"2": 0, "1": 0},
            id="canary-inherits-nothing-while-stable-loads",
        ),
        pytest.param(
            {"champion": "1", "challenger": "2"},
            apps(v1=FAILED, v2=RUNNING),
            {"2": 0, "1": 0},
            id="canary-inherits-nothing-when-stable-failed",
        ),
        pytest.param(
            {"challenger": "2"}, apps(v2=RUNNING), {"2": 0}, id="canary-is-not-stable-by-default"
        ),
        pytest.param(
            {"champion": "1", "challenger": "1"}, apps(v1=RUNNING), {"1": 100}, id="one-is-both"
        ),
        pytest.param(
            {"champion": "1", "challenger": "9"}, apps(v1=RUNNING), {"1": 100}, id="no-such-version"
        ),
        pytest.param({}, {}, {}, id="no-alias-at-all"),
    ],
)
def test_weights_of_champion_and_challenger(
    aliases: Mapping[str, str],
    applications: Mapping[str, ApplicationState],
    expected: Mapping[str, int],
) -> None:
    decision = decide(seen(SPLIT, registered(**aliases), applications=applications))

    assert weights(decision) == expected
    stable = decision.table.models["m"].stable
    assert (stable.version if stable else None) == aliases.get("champion")


@pytest.mark.parametrize(
    ("traffic", "expected"),
    [
        pytest.param({"3": 100}, {"3": 100}, id="only-a-number"),
        pytest.param({"champion": 70, "2": 30}, {"2": 30, "1": 70}, id="champion-and-a-number"),
        pytest.param({"2": 40, "3": 60}, {"3": 60, "2": 40}, id="the-first-number-is-stable"),
        pytest.param({"champion": 60, "1": 40}, {"1": 100}, id="number-of-the-champion"),
        pytest.param(
            {"champion": 50, "2": 30, "3": 20}, {"2": 30, "3": 20, "1": 50}, id="two-canaries"
        ),
        pytest.param({"champion": 100, "2": 0}, {"2": 0, "1": 100}, id="hosted-without-traffic"),
    ],
)
def test_versions_can_be_named_by_number(
    traffic: dict[str, int], expected: Mapping[str, int]
) -> None:
    running = apps(v1=RUNNING, v2=RUNNING, v3=RUNNING)

    decision = decide(seen(ModelSpec(traffic=traffic), applications=running))

    assert list(weights(decision).items()) == list(expected.items())
    tracks = [route.track for route in decision.table.models["m"].routes]
    assert tracks == [Track.CANARY] * (len(expected) - 1) + [Track.STABLE]


def test_a_model_that_left_the_config_leaves_the_table_first_and_serve_later() -> None:
    running = apps(v1=RUNNING)

    left = decide(seen(None, applications=running, table=serving()))
    gone = decide(
        seen(None, applications=running, table=left.table, retired_at_s={"m--v1": NOW_S - 30})
    )

    assert (left.table.models, left.delete) == ({}, ())
    assert gone.delete == ("m--v1",)


def test_applications_that_are_not_versions_are_nobody_s_business() -> None:
    others = {"fleet": FAILED, "llm": FAILED, "m--vlatest": FAILED}

    decision = decide(seen(None, applications=others, retired_at_s=dict.fromkeys(others, 0.0)))

    assert (decision.delete, decision.failures) == ((), {})


@pytest.mark.parametrize(
    ("strict", "changes", "expected"),
    [
        pytest.param(False, {}, False, id="loading"),
        pytest.param(False, {"applications": apps(v1=RUNNING)}, True, id="ready"),
        pytest.param(False, {"applications": apps(v1=ASLEEP)}, True, id="scaled-to-zero"),
        pytest.param(False, {"applications": apps(v1=FAILED)}, True, id="failed-is-excused"),
        pytest.param(True, {"applications": apps(v1=FAILED)}, False, id="strict-excuses-nothing"),
        pytest.param(False, {"failures": {"m--v1": failure()}}, True, id="failed-before"),
        pytest.param(False, {"registry": registered()}, True, id="no-champion-nothing-to-wait-for"),
        pytest.param(True, {"registry": registered()}, False, id="strict-wants-a-champion"),
        pytest.param(False, {"registry": RegistryView()}, False, id="registry-never-answered"),
        pytest.param(
            False, {"specs": {}, "registry": RegistryView()}, False, id="nothing-asked-nor-known"
        ),
        pytest.param(False, {"specs": {}}, True, id="an-empty-fleet"),
        pytest.param(
            False,
            {"table": RoutingTable(3, {}, settled=True), "applications": apps(v1=STARTING)},
            True,
            id="once-settled-always-settled",
        ),
    ],
)
def test_settled(strict: bool, changes: dict[str, Any], expected: bool) -> None:
    decision = decide(replace(seen(strict_startup=strict), **changes))

    assert decision.table.settled is expected


def test_a_failed_canary_does_not_excuse_a_loading_champion() -> None:
    registry = registered(champion="1", challenger="2")
    now = apps(v1=STARTING, v2=FAILED)

    assert not decide(seen(SPLIT, registry, applications=now)).table.settled


def test_one_broken_model_does_not_hold_up_the_rest() -> None:
    facts = VersionFacts("sklearn", SIGNATURE)
    registry = RegistryView(
        {"a": {"champion": "1"}, "b": {"champion": "1"}},
        {("a", "1"): facts, ("b", "1"): facts},
        answered=True,
    )
    now = {"a--v1": FAILED, "b--v1": RUNNING}

    decision = decide(
        replace(seen(registry=registry, applications=now), specs={"a": PLAIN, "b": PLAIN})
    )

    assert decision.table.settled
    assert [m.ready for m in decision.table.models.values()] == [False, True]


def test_the_revision_rises_when_something_changed_and_only_then() -> None:
    first = decide(seen(applications=apps(v1=STARTING)))
    same = decide(seen(applications=apps(v1=STARTING), table=first.table, now_s=NOW_S + 1))
    ready = decide(seen(applications=apps(v1=RUNNING), table=first.table))
    scaled = decide(seen(applications=apps(v1=replace(RUNNING, running_replicas=2)),
                         table=ready.table))  # fmt: skip

    revisions = [step.table.revision for step in (first, same, ready, scaled)]
    assert revisions == [1, 1, 2, 3]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"applications": apps(v1=RUNNING), "table": serving()}, False, id="steady"),
        pytest.param({"applications": apps(v1=RUNNING)}, True, id="the-table-changed"),
        pytest.param({}, True, id="something-to-deploy"),
        pytest.param({"applications": apps(v1=STARTING)}, True, id="loading"),
        pytest.param(
            {"applications": apps(v1=replace(RUNNING, status="DEPLOYING")), "table": serving()},
            True,
            id="being-redeployed",
        ),
        pytest.param(
            {"applications": apps(v1=RUNNING, v2=RUNNING), "table": serving()},
            True,
            id="a-leftover-to-delete",
        ),
        pytest.param(
            {
                "applications": apps(v1=RUNNING),
                "table": serving(),
                "registry": replace(registered(champion="1"), complete=False),
            },
            True,
            id="a-version-is-being-read",
        ),
    ],
)
def test_is_moving(changes: dict[str, Any], expected: bool) -> None:
    now = seen(**changes)

    assert is_moving(now, decide(now)) is expected


def test_a_version_that_waits_to_be_tried_again_moves_nothing() -> None:
    failed = decide(seen(applications=apps(v1=FAILED)))
    later = seen(failures=failed.failures, table=failed.table, now_s=NOW_S + 1)

    assert not is_moving(later, decide(later))
