"""What rollouts ask of the routing table, and what it makes of it."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from deployments.controller.decide import decide
from deployments.controller.shares import NOTHING_ASKED, Asked, asked_by, versions_of
from deployments.rollout.state import Phase, Rollout
from deployments.traffic.table import Route
from tests.deployments.controller.observations import (
    DEAD,
    PLAIN,
    RUNNING,
    STARTING,
    apps,
    registered,
    seen,
    serving,
)
from tests.deployments.rollout.scenes import a_plan, begun

CANARY = replace(begun(a_plan()), begun=True, phase=Phase.PROGRESSING, weight=20)
AB = replace(begun(a_plan(strategy="ab"), versions=("2", "3")), begun=True, phase=Phase.PROGRESSING)
SHADOW = replace(begun(a_plan(strategy="shadow")), begun=True, phase=Phase.PROGRESSING, mirror=40)
PROMOTED = replace(CANARY, phase=Phase.SUCCESSFUL, weight=100)
EVERYTHING = apps(v1=RUNNING, v2=RUNNING, v3=RUNNING, v4=RUNNING)


def told(route: Route) -> str:
    mirrored = f" mirrors {route.mirror}" if route.mirror else ""
    return f"v{route.version} {route.track} {route.weight}{mirrored}"


def routes(rollouts: Sequence[Rollout], champion: str = "1", **changes: Any) -> list[str]:
    """Each version of a running fleet with its role, weight and mirror."""
    registry = registered(champion=champion)
    now = seen(
        PLAIN, registry, **{"applications": EVERYTHING, "asked": asked_by(rollouts), **changes}
    )
    table = decide(now).table
    return [told(route) for route in table.models["m"].routes]


@pytest.mark.parametrize(
    ("rollouts", "expected"),
    [
        pytest.param([], ["v1 stable 100"], id="none"),
        pytest.param([begun(a_plan())], ["v2 canary 0", "v1 stable 100"], id="pending"),
        pytest.param([CANARY], ["v2 canary 20", "v1 stable 80"], id="canary"),
        pytest.param(
            [replace(CANARY, mirror=100)], ["v2 canary 20 mirrors 100", "v1 stable 80"],
            id="canary-that-mirrors",
        ),
        pytest.param(
            [replace(CANARY, weight=0, mirror=100)],
            ["v2 shadow 0 mirrors 100", "v1 stable 100"], id="mirrored-first",
        ),
        pytest.param([SHADOW], ["v2 shadow 0 mirrors 40", "v1 stable 100"], id="shadow"),
        pytest.param([AB], ["v2 arm-1 33", "v3 arm-2 33", "v1 stable 34"], id="arms"),
        pytest.param(
            [replace(CANARY, phase=Phase.PROMOTING, weight=100)],
            ["v1 previous 0", "v2 stable 100"], id="promoting",
        ),
        pytest.param([replace(CANARY, phase=Phase.ABORTED)], ["v1 stable 100"], id="aborted"),
    ],
)  # fmt: skip
def test_roles_and_weights(rollouts: list[Rollout], expected: list[str]) -> None:
    assert routes(rollouts) == expected


def test_what_was_stable_stays_warm_also_under_the_next_rollout() -> None:
    back = replace(CANARY, id="r2", version="3", stable="2")

    assert routes([PROMOTED], champion="2") == ["v1 previous 0", "v2 stable 100"]
    assert routes([PROMOTED, back], champion="2") == [
        "v1 previous 0", "v3 canary 20", "v2 stable 80",
    ]  # fmt: skip
    # One version has one role, and what it is asked to do now comes first.
    again = replace(CANARY, id="r2", version="1", stable="2")
    assert routes([PROMOTED, again], champion="2") == ["v1 canary 20", "v2 stable 80"]


@pytest.mark.parametrize(
    ("rollout", "state", "expected"),
    [
        pytest.param(CANARY, STARTING, ["v2 canary 0", "v1 stable 100"], id="not-there-yet"),
        pytest.param(
            replace(CANARY, phase=Phase.PROMOTING, weight=100), STARTING,
            ["v2 canary 0", "v1 stable 100"], id="promoted-elsewhere",
        ),
    ],
)  # fmt: skip
def test_a_version_that_is_not_ready_gets_nothing(
    rollout: Rollout, state: Any, expected: list[str]
) -> None:
    applications = {**EVERYTHING, "m--v2": state}

    assert routes([rollout], applications=applications, table=serving()) == expected


def test_a_canary_without_a_replica_gets_nothing_until_it_is_back() -> None:
    both = decide(seen(applications=EVERYTHING, asked=asked_by([CANARY]))).table
    dead = {**EVERYTHING, "m--v2": DEAD}

    assert routes([CANARY], applications=dead, table=both) == ["v2 canary 0", "v1 stable 100"]
    assert routes([CANARY], table=both) == ["v2 canary 20", "v1 stable 80"]


def test_what_is_asked_is_put_together_by_model() -> None:
    assert asked_by([replace(CANARY, phase=Phase.ABORTED)]) == {}
    assert asked_by([PROMOTED]) == {"m": Asked(kept=("1",))}
    assert Asked() == NOTHING_ASKED
    assert versions_of([AB]) == {("m", "1"), ("m", "2"), ("m", "3")}
