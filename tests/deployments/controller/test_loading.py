"""When a model's settings are in force, version by version."""

from dataclasses import replace

import pytest

from deployments.controller.decide import decide
from deployments.controller.failures import ApplicationState, Failure, fingerprint
from deployments.controller.loading import is_in_force
from deployments.schema import ModelSpec
from deployments.userconfig import PoolSpec
from tests.deployments.controller.observations import (
    ASLEEP,
    DEAD,
    FAILED,
    RUNNING,
    SPLIT,
    STARTING,
    apps,
    failure,
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


def test_a_version_that_is_to_replace_the_stable_one_is_waited_for() -> None:
    spec = ModelSpec(traffic={"2": 100})
    table = serving(ModelSpec(), registered(champion="1"))

    def in_force(v2: ApplicationState) -> bool:
        found = apps(v1=with_mark(RUNNING), v2=replace(v2, fingerprint=fingerprint(spec)))
        now = seen(spec, registered(champion="1"), applications=found, table=table)
        return is_in_force("m", spec, now, decide(now).table)

    assert (in_force(STARTING), in_force(RUNNING)) == (False, True)


@pytest.mark.parametrize(
    ("pool", "failures", "expected"),
    [
        pytest.param(RUNNING, {}, True, id="its-pool-runs"),
        pytest.param(STARTING, {}, False, id="its-pool-starts"),
        pytest.param(FAILED, {"p--pool": failure()}, True, id="its-pool-cannot-be-loaded"),
        pytest.param(FAILED, {}, False, id="a-failure-that-is-not-on-record-yet"),
    ],
)
def test_a_pooled_model_has_no_replicas_of_its_own(
    pool: ApplicationState, failures: dict[str, Failure], expected: bool
) -> None:
    spec = ModelSpec(pool="p")
    now = seen(spec, applications={"p--pool": pool}, pools={"p": PoolSpec()}, failures=failures)

    assert is_in_force("m", spec, now, decide(now).table) is expected


def test_a_model_that_leaves_its_pool_is_waited_for() -> None:
    pooled, alone = ModelSpec(pool="p"), ModelSpec()
    pools = {"p": PoolSpec()}
    before = seen(pooled, applications={"p--pool": RUNNING}, pools=pools)
    now = seen(alone, applications={"p--pool": RUNNING}, pools=pools, table=decide(before).table)

    assert not is_in_force("m", alone, now, decide(now).table)


def test_what_nobody_has_looked_at_yet_is_not_in_force() -> None:
    before = seen(SPLIT, REGISTRY, applications=apps(v1=RUNNING, v2=RUNNING))
    table = decide(before).table

    assert not is_in_force("m", NEW, before, table)
    assert not is_in_force("m", SPLIT, None, table)


def with_mark(state: ApplicationState) -> ApplicationState:
    """The same, deployed with the new settings where nothing else is said."""
    return state if state.fingerprint else replace(state, fingerprint=AFTER)
