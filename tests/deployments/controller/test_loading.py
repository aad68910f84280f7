"""When a model's settings are in force, version by version."""

from dataclasses import replace

import pytest

from deployments.controller.decide import decide
from deployments.controller.failures import ApplicationState, fingerprint
from deployments.controller.loading import is_in_force
from deployments.schema import ModelSpec
from tests.deployments.controller.observations import (
    ASLEEP,
    DEAD,
    RUNNING,
    SPLIT,
    STARTING,
    apps,
    registered,
    seen,
    serving,
)

REGISTRY = registered(champion="1", challenger="2")
NEW = ModelSpec(num_replicas=2, traffic=SPLIT.traffic)
BEFORE = fingerprint(SPLIT)
AFTER = fingerprint(NEW)


@pytest.mark.parametrize(
    ("stable", "canary", "expected"),
    [
        pytest.param(RUNNING, RUNNING, True, id="both-run"),
        pytest.param(ASLEEP, RUNNING, True, id="scaled-to-zero"),
        pytest.param(STARTING, RUNNING, False, id="stable-is-redeployed"),
        pytest.param(RUNNING, STARTING, False, id="canary-is-redeployed"),
        pytest.param(DEAD, RUNNING, False, id="stable-died"),
        pytest.param(replace(RUNNING, fingerprint=BEFORE), RUNNING, False, id="stable-as-before"),
        pytest.param(RUNNING, replace(RUNNING, fingerprint=BEFORE), False, id="canary-as-before"),
    ],
)
def test_versions_that_answered_before(
    stable: ApplicationState, canary: ApplicationState, expected: bool
) -> None:
    found = apps(v1=with_mark(stable), v2=with_mark(canary))
    now = seen(NEW, REGISTRY, applications=found, table=serving(SPLIT, REGISTRY))

    assert is_in_force("m", NEW, now, decide(now).table) is expected


def test_a_canary_that_loads_for_the_first_time_holds_up_nobody() -> None:
    found = apps(v1=with_mark(RUNNING), v2=with_mark(STARTING))
    now = seen(NEW, REGISTRY, applications=found)

    assert is_in_force("m", NEW, now, decide(now).table)


def test_what_nobody_has_looked_at_yet_is_not_in_force() -> None:
    before = seen(SPLIT, REGISTRY, applications=apps(v1=RUNNING, v2=RUNNING))
    table = decide(before).table

    assert not is_in_force("m", NEW, before, table)
    assert not is_in_force("m", SPLIT, None, table)


def with_mark(state: ApplicationState) -> ApplicationState:
    """The same, deployed with the new settings where nothing else is said."""
    return state if state.fingerprint else replace(state, fingerprint=AFTER)
