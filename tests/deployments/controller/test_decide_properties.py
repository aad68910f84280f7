from dataclasses import replace

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.controller.decide import Observation, decide
from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import ApplicationState, Failure, fingerprint
from deployments.schema import ModelSpec, parse_application_name
from deployments.traffic.table import EMPTY, RouteState, RoutingTable, Track
from deployments.userconfig import PoolSpec
from tests.deployments.controller.observations import DEADLINE_S, NOW_S, PLAIN
from tests.fakes import SIGNATURE

VERSIONS = ("1", "2", "3")
ALIASES = st.dictionaries(
    st.sampled_from(["champion", "challenger"]), st.sampled_from(VERSIONS), max_size=2
)
TRAFFIC = st.sampled_from(
    [
        {"champion": 100},
        {"champion": 90, "challenger": 10},
        {"challenger": 100},
        {"champion": 20, "2": 30, "3": 50},
        {"1": 0, "challenger": 100},
    ]
)
SPECS = st.builds(ModelSpec, traffic=TRAFFIC, num_replicas=st.sampled_from([None, 2])) | st.builds(
    ModelSpec, traffic=TRAFFIC, pool=st.just("p")
)
STATES = st.builds(
    ApplicationState,
    status=st.sampled_from(
        ["DEPLOYING", "RUNNING", "UNHEALTHY", "DEPLOY_FAILED", "DELETING", "NOT_STARTED"]
    ),
    running_replicas=st.integers(0, 2),
    message=st.just("boom"),
    fingerprint=st.sampled_from([None, fingerprint(PLAIN), "another"]),
)
MODELS = ("a", "b")
VERSION_NAMES = [f"{model}--v{version}" for model in MODELS for version in VERSIONS]
NAMES = [*VERSION_NAMES, "p--pool", "p--pool"]


@st.composite
def observations(draw: st.DrawFn, table: RoutingTable = EMPTY) -> Observation:
    facts = VersionFacts("sklearn", SIGNATURE)
    registry = RegistryView(
        {model: draw(ALIASES) for model in MODELS},
        {(model, version): facts for model in MODELS for version in VERSIONS},
        answered=True,
    )
    times = st.floats(NOW_S - 700, NOW_S)
    return Observation(
        specs=draw(st.dictionaries(st.sampled_from(MODELS), SPECS)),
        registry=draw(st.sampled_from([registry, registry, registry, RegistryView()])),
        applications=draw(st.dictionaries(st.sampled_from(NAMES), STATES)),
        failures=draw(
            st.dictionaries(
                st.sampled_from(NAMES),
                st.builds(
                    Failure,
                    st.just(fingerprint(PLAIN)),
                    st.just("boom"),
                    st.integers(1, 9),
                    times,
                ),
                max_size=2,
            )
        ),
        table=table,
        retired_at_s=draw(st.dictionaries(st.sampled_from(NAMES), times)),
        deadline_s=DEADLINE_S,
        strict_startup=draw(st.booleans()),
        now_s=NOW_S,
        pools=draw(st.sampled_from([{"p": PoolSpec()}, {"p": PoolSpec()}, {}])),
        proven=frozenset(draw(st.lists(st.sampled_from(VERSION_NAMES)))),
    )


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_what_holds_for_any_two_ticks(data: st.DataObject) -> None:
    """The second tick starts from the first one's table, with everything else drawn anew."""
    table = decide(data.draw(observations())).table
    now = data.draw(observations(table))

    decision = decide(now)

    routed = set()
    for model, routes in decision.table.models.items():
        assert sum(route.weight for route in routes.routes) in (0, 100)
        assert [route.track for route in routes.routes[:-1]] == [Track.CANARY] * (
            len(routes.routes) - 1
        )
        for route in routes.routes:
            assert 0 <= route.weight <= 100
            assert route.weight == 0 or route.state is RouteState.READY
            assert parse_application_name(route.application) == (model, route.version)
            assert route.host == (route.pool or route.application)
            assert route.pool in {None, "p--pool"}
            routed.add(route.host)
        if routes.ready:
            assert routes.stable is not None
            assert routes.stable.state is RouteState.READY
    for name in decision.delete:
        # Nothing that may still be sent requests is deleted; what failed has no replica to send to.
        failed = now.applications[name].status == "DEPLOY_FAILED"
        assert name not in routed or (failed and not now.applications[name].running_replicas)
    assert not set(decision.delete) & {item.application for item in decision.deploy}
    assert not {proof.name for proof in decision.prove} & now.proven
    changed = decision.table != msgspec.structs.replace(now.table, revision=decision.table.revision)
    assert decision.table.revision == now.table.revision + changed


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_deciding_twice_is_deciding_once(data: st.DataObject) -> None:
    now = data.draw(observations(decide(data.draw(observations())).table))

    once = decide(now)
    twice = decide(replace(now, table=once.table, failures=once.failures))

    assert twice == once
