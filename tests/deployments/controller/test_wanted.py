"""Which versions traffic and mirrors come to, and in which roles."""

from collections.abc import Mapping
from typing import Any

import pytest

from deployments.controller.decide import decide
from deployments.controller.facts import RegistryView
from deployments.schema import ModelSpec
from deployments.traffic.table import Route
from tests.deployments.controller.observations import (
    FAILED,
    PLAIN,
    RUNNING,
    STARTING,
    apps,
    deployed,
    registered,
    seen,
    serving,
)

BOTH = registered(champion="1", challenger="2")
MIRRORED = ModelSpec(mirror={"challenger": 40})
EVERYTHING = apps(v1=RUNNING, v2=RUNNING, v3=RUNNING)


def told(route: Route) -> str:
    mirrored = f" mirrors {route.mirror}" if route.mirror else ""
    return f"v{route.version} {route.track} {route.weight}{mirrored}"


def routes(spec: ModelSpec, registry: RegistryView = BOTH, **changes: Any) -> list[str]:
    """Each version of a running fleet with its role, weight and mirror."""
    now = seen(spec, registry, **{"applications": EVERYTHING, **changes})
    return [told(route) for route in decide(now).table.models["m"].routes]


@pytest.mark.parametrize(
    ("spec", "aliases", "expected"),
    [
        pytest.param(
            MIRRORED,
            {"champion": "1", "challenger": "2"},
            ["v2 shadow 0 mirrors 40", "v1 stable 100"],
            id="an-alias",
        ),
        pytest.param(
            ModelSpec(mirror={"2": 100}),
            {"champion": "1"},
            ["v2 shadow 0 mirrors 100", "v1 stable 100"],
            id="a-version",
        ),
        pytest.param(
            ModelSpec(traffic={"champion": 90, "3": 10}, mirror={"2": 5}),
            {"champion": "1"},
            ["v2 shadow 0 mirrors 5", "v3 canary 10", "v1 stable 90"],
            id="beside-a-canary",
        ),
        pytest.param(
            ModelSpec(mirror={"challenger": 10, "2": 30}),
            {"champion": "1", "challenger": "2"},
            ["v2 shadow 0 mirrors 30", "v1 stable 100"],
            id="under-two-names",
        ),
        pytest.param(
            MIRRORED,
            {"champion": "1", "challenger": "1"},
            ["v1 stable 100"],
            id="the-alias-is-stable-s",
        ),
        pytest.param(
            ModelSpec(traffic={"champion": 90, "2": 10}, mirror={"challenger": 50}),
            {"champion": "1", "challenger": "2"},
            ["v2 canary 10", "v1 stable 90"],
            id="the-alias-is-a-canary-s",
        ),
        pytest.param(MIRRORED, {"champion": "1"}, ["v1 stable 100"], id="nobody-has-the-alias"),
        pytest.param(
            MIRRORED, {"challenger": "2"}, ["v2 shadow 0 mirrors 40"], id="there-is-no-stable"
        ),
        pytest.param(
            ModelSpec(mirror={"2": 0}),
            {"champion": "1"},
            ["v2 shadow 0", "v1 stable 100"],
            id="hosted-and-not-mirrored-to",
        ),
    ],
)
def test_mirrors_become_shadows(
    spec: ModelSpec, aliases: Mapping[str, str], expected: list[str]
) -> None:
    assert routes(spec, registered(**aliases)) == expected


def test_a_shadow_is_deployed_like_any_version() -> None:
    decision = decide(seen(MIRRORED, BOTH))

    assert sorted(deployed(decision)) == ["m--v1", "m--v2"]


@pytest.mark.parametrize("shadow", [STARTING, FAILED], ids=["loads", "failed"])
def test_a_shadow_that_is_not_there_holds_up_nobody(shadow: Any) -> None:
    decision = decide(seen(MIRRORED, BOTH, applications=apps(v1=RUNNING, v2=shadow)))

    assert decision.table.settled
    assert decision.table.models["m"].ready


def test_a_shadow_that_is_promoted_mirrors_no_longer() -> None:
    promoted = registered(champion="2", challenger="2")

    assert routes(MIRRORED, promoted, table=serving(MIRRORED, BOTH)) == ["v2 stable 100"]


def test_the_next_stable_version_is_no_shadow_while_it_loads() -> None:
    promoted = registered(champion="2", challenger="2")
    loading = apps(v1=RUNNING, v2=STARTING)

    found = routes(MIRRORED, promoted, applications=loading, table=serving(registry=BOTH))

    assert found == ["v2 canary 0", "v1 stable 100"]


def test_shadows_stay_while_the_registry_has_yet_to_answer() -> None:
    found = routes(MIRRORED, RegistryView(), table=serving(MIRRORED, BOTH))

    assert found == ["v2 shadow 0 mirrors 40", "v1 stable 100"]


def test_how_answers_are_compared_reaches_the_gateways_without_a_deployment() -> None:
    strict = ModelSpec(mirror={"challenger": 40}, mirror_tolerance=0.0, mirror_samples=3)
    before = serving(MIRRORED, BOTH)

    decision = decide(seen(strict, BOTH, applications=EVERYTHING, table=before))

    mirroring = decision.table.models["m"].mirroring
    assert (mirroring.tolerance, mirroring.samples) == (0.0, 3)
    assert (deployed(decision), decision.table.revision) == ([], before.revision + 1)
    assert serving(PLAIN).models["m"].mirroring.tolerance == PLAIN.mirror_tolerance
