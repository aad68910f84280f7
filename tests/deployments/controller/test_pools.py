"""What the controller decides about models in pools."""

from dataclasses import replace
from typing import Any

import pytest

from deployments.controller.decide import Decision, decide
from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import ApplicationState, Failure
from deployments.controller.hosted import HostedModels, Origin
from deployments.controller.moving import is_moving
from deployments.controller.pools import (
    matched_specs,
    pool_fingerprint,
    pooled_models,
    versions_in,
)
from deployments.schema import ModelSpec
from deployments.traffic.table import EMPTY, Endpoint, TransportKind
from deployments.userconfig import PoolSpec
from tests.deployments.controller.observations import (
    ASLEEP,
    FAILED,
    NOW_S,
    RUNNING,
    STARTING,
    deployed,
    registered,
    seen,
    states,
    weights,
)
from tests.fakes import SIGNATURE

POOL = PoolSpec(models=["m*"], num_replicas=2)
IN_POOL = ModelSpec(pool="p")
SPLIT_IN_POOL = ModelSpec(pool="p", traffic={"champion": 90, "challenger": 10})
DOOR = Endpoint("r1", "node", "/tmp/r1", "127.0.0.1", 1, "00")


def pooled(spec: ModelSpec | None = IN_POOL, **changes: Any) -> Decision:
    """A decision about a model in a pool that runs with two replicas."""
    return decide(
        seen(
            spec,
            **{
                "pools": {"p": POOL},
                "applications": {"p--pool": ApplicationState("RUNNING", 2)},
                **changes,
            },
        )
    )


@pytest.mark.parametrize(
    ("state", "route"),
    [
        pytest.param(RUNNING, "READY", id="as-soon-as-its-pool-runs"),
        pytest.param(ASLEEP, "READY", id="scaled-to-zero-wakes"),
        pytest.param(STARTING, "LOADING", id="its-pool-is-starting"),
        pytest.param(FAILED, "UNAVAILABLE", id="its-pool-failed"),
        pytest.param(None, "LOADING", id="its-pool-is-not-there"),
    ],
)
def test_a_pooled_version_is_as_ready_as_its_pool(
    state: ApplicationState | None, route: str
) -> None:
    decision = pooled(applications={"p--pool": state} if state else {})

    assert states(decision) == {"1": route}
    assert deployed(decision) == ([] if state else ["p--pool"])


def test_only_the_pool_is_deployed_whatever_versions_there_are() -> None:
    decision = pooled(
        SPLIT_IN_POOL, registry=registered(champion="1", challenger="2"), applications={}
    )

    assert deployed(decision) == ["p--pool"]


def test_its_route_says_where_it_is() -> None:
    decision = pooled(endpoints={"p--pool": (DOOR,)})

    (route,) = decision.table.models["m"].routes
    assert (route.application, route.pool, route.host) == ("m--v1", "p--pool", "p--pool")
    assert (route.transport, route.replicas, route.endpoints) == (TransportKind.DIRECT, 2, ())
    assert decision.table.pools == {"p--pool": (DOOR,)}


def test_pooled_versions_split_like_any_other() -> None:
    decision = pooled(
        SPLIT_IN_POOL,
        registry=registered(champion="1", challenger="2"),
        proven=frozenset({"m--v2"}),
    )

    assert weights(decision) == {"2": 10, "1": 90}
    assert versions_in(decision.table, "p--pool") == {"m--v1", "m--v2"}


def test_a_retired_version_is_in_the_pool_no_longer() -> None:
    before = pooled(SPLIT_IN_POOL, registry=registered(champion="1", challenger="2")).table

    after = pooled(
        SPLIT_IN_POOL,
        registry=registered(champion="2"),
        table=before,
        proven=frozenset({"m--v2"}),
    )

    assert versions_in(after.table, "p--pool") == {"m--v2"}
    assert after.delete == ()


BOTH = registered(champion="1", challenger="2")
MOVED = registered(champion="2")
REFUSED = Failure("", "RuntimeError: torn", 1, NOW_S)


@pytest.mark.parametrize(
    ("before", "now", "failures", "expected", "tried"),
    [
        pytest.param(None, BOTH, {}, {"2": 0, "1": 100}, ["m--v2"], id="canary"),
        pytest.param(BOTH, MOVED, {}, {"2": 0, "1": 100}, ["m--v2"], id="next-champion"),
        pytest.param(None, BOTH, {"m--v2": REFUSED}, {"2": 0, "1": 100}, [], id="cannot-be-loaded"),
        pytest.param(
            None,
            BOTH,
            {"m--v2": replace(REFUSED, failed_at_s=NOW_S - 21)},
            {"2": 0, "1": 100},
            ["m--v2"],
            id="is-tried-again",
        ),
        pytest.param(None, MOVED, {}, {"2": 100}, [], id="a-first-version-is-loaded-on-demand"),
    ],
)
def test_a_version_gets_another_s_traffic_only_once_it_was_loaded(
    before: RegistryView | None,
    now: RegistryView,
    failures: dict[str, Failure],
    expected: dict[str, int],
    tried: list[str],
) -> None:
    table = pooled(SPLIT_IN_POOL, registry=before).table if before is not None else EMPTY

    decision = pooled(SPLIT_IN_POOL, registry=now, table=table, failures=failures)

    assert weights(decision) == expected
    assert [proof.name for proof in decision.prove] == tried
    if failures:
        (canary, _) = decision.table.models["m"].routes
        assert (canary.state, canary.reason) == ("UNAVAILABLE", REFUSED.reason)


def test_what_was_ready_stays_so_though_nobody_remembers_the_proof() -> None:
    table = pooled(SPLIT_IN_POOL, registry=BOTH, proven=frozenset({"m--v2"})).table

    decision = pooled(SPLIT_IN_POOL, registry=BOTH, table=table)

    assert weights(decision) == {"2": 10, "1": 90}
    assert decision.prove == ()


def test_a_first_champion_waits_for_no_proof_since_canaries_had_no_traffic() -> None:
    only_canary = registered(challenger="2")
    table = pooled(SPLIT_IN_POOL, registry=only_canary, proven=frozenset({"m--v2"})).table

    decision = pooled(SPLIT_IN_POOL, registry=registered(champion="1"), table=table)

    assert weights(decision) == {"1": 100}


def test_a_pool_without_a_model_stays() -> None:
    observation = seen(None, pools={"p": POOL}, applications={"p--pool": RUNNING})
    observation = replace(observation, table=decide(observation).table)

    decision = decide(observation)

    assert (decision.delete, decision.deploy) == ((), ())
    assert not is_moving(observation, decision)


def test_a_pool_that_the_config_drops_is_deleted_once_nobody_can_ask_it() -> None:
    table = pooled().table
    gone: dict[str, Any] = {"pools": {}, "table": table}

    early = pooled(None, retired_at_s={"p--pool": NOW_S - 29}, **gone)
    due = pooled(None, retired_at_s={"p--pool": NOW_S - 31}, **gone)

    assert (early.delete, due.delete) == ((), ("p--pool",))


def test_a_changed_pool_is_deployed_again() -> None:
    mark = pool_fingerprint(POOL)
    running = {"p--pool": ApplicationState("RUNNING", 2, fingerprint=mark)}

    same = pooled(applications=running)
    patterns = pooled(applications=running, pools={"p": POOL.model_copy(update={"models": []})})
    memory = pooled(applications=running, pools={"p": POOL.model_copy(update={"memory_mib": 9})})

    assert [deployed(each) for each in (same, patterns, memory)] == [[], [], ["p--pool"]]


def test_a_pool_that_failed_is_deleted_and_tried_again_after_a_wait() -> None:
    decision = pooled(applications={"p--pool": FAILED})

    assert decision.delete == ("p--pool",)
    assert decision.failures == {
        "p--pool": Failure(pool_fingerprint(POOL), FAILED.message, 1, NOW_S)
    }
    later = pooled(applications={}, failures=decision.failures, now_s=NOW_S + 21)
    assert deployed(later) == ["p--pool"]


@pytest.mark.parametrize(
    ("before", "spec", "wanted"),
    [
        pytest.param(IN_POOL, ModelSpec(), "m--v1", id="out-of-the-pool"),
        pytest.param(ModelSpec(), IN_POOL, "p--pool", id="into-the-pool"),
    ],
)
def test_a_model_that_moves_is_answered_where_it_was_until_the_other_place_can(
    before: ModelSpec, spec: ModelSpec, wanted: str
) -> None:
    (left,) = {"m--v1", "p--pool"} - {wanted}
    table = pooled(before, applications={left: RUNNING}).table
    assert weights(pooled(before, applications={left: RUNNING})) == {"1": 100}

    moving = pooled(spec, applications={left: RUNNING}, table=table)
    starting = pooled(spec, applications={left: RUNNING, wanted: STARTING}, table=table)
    moved = pooled(spec, applications={left: RUNNING, wanted: RUNNING}, table=table)

    hosts = [each.table.models["m"].routes[0].host for each in (moving, starting, moved)]
    assert hosts == [left, left, wanted]
    assert deployed(moving) == [wanted]
    assert {weights(each)["1"] for each in (moving, starting, moved)} == {100}


def test_a_pool_s_models_without_a_champion_do_not_hold_up_a_strict_start() -> None:
    without = RegistryView(
        {"m": {"champion": "1"}, "m2": {}},
        {("m", "1"): VersionFacts("sklearn", SIGNATURE)},
        answered=True,
    )
    specs = {"m": IN_POOL, "m2": IN_POOL}

    decision = pooled(specs=specs, registry=without, strict_startup=True)

    assert decision.table.settled


def test_the_table_in_force_says_what_is_in_pools_while_the_registry_is_away() -> None:
    table = pooled().table

    assert pooled_models(table) == ["m"]
    later = pooled(registry=RegistryView(), table=table)
    assert later.table == table


def test_the_first_pool_that_fits_takes_a_model_that_can_be_served() -> None:
    pools = {
        "first": PoolSpec(models=["a-*"], settings=ModelSpec(max_batch_size=7)),
        "second": PoolSpec(models=["*"]),
    }

    specs = matched_specs(pools, ["a-1", "b", "not/served"])

    assert {name: spec.pool for name, spec in specs.items()} == {"a-1": "first", "b": "second"}
    assert specs["a-1"].max_batch_size == 7


class NoStore:
    """A fleet store that nobody asks."""


def test_what_config_or_api_name_is_not_the_pattern_s() -> None:
    hosted = HostedModels(NoStore())  # type: ignore[arg-type]
    hosted._added = {"m2": ModelSpec()}
    hosted.configure({"m1": ModelSpec()}, {"p": POOL})

    hosted.match(["m1", "m2", "m3", "other"])

    assert {name: spec.pool for name, spec in hosted.specs.items()} == {
        "m1": None,
        "m2": None,
        "m3": "p",
    }
    assert (hosted.origin("m2"), hosted.origin("m3")) == (Origin.API, Origin.CONFIG)
    hosted.configure({}, {})
    assert set(hosted.specs) == {"m2"}
