from collections import Counter
from dataclasses import replace
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from deployments.controller.decide import Observation, decide
from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import ApplicationState, Failure, fingerprint
from deployments.schema import ModelSpec, parse_application_name
from deployments.traffic.table import EMPTY, RouteState, Track
from deployments.userconfig import PoolSpec
from tests.deployments.controller.observations import DEADLINE_S, NOW_S, PLAIN
from tests.deployments.traffic.keys import owners
from tests.fakes import SIGNATURE
from tests.properties import examples

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
MIRRORS = st.dictionaries(
    st.sampled_from(["champion", "challenger", *VERSIONS]), st.integers(0, 100), max_size=3
)


def hosting(traffic: dict[str, int], mirror: dict[str, int], **settings: Any) -> ModelSpec:
    """Settings in which nothing is both in traffic and mirrored."""
    apart = {key: percent for key, percent in mirror.items() if key not in traffic}
    return ModelSpec(traffic=traffic, mirror=apart, **settings)


SPECS = st.builds(hosting, TRAFFIC, MIRRORS, num_replicas=st.sampled_from([None, 2])) | st.builds(
    hosting, TRAFFIC, MIRRORS, pool=st.just("p")
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


FACTS = VersionFacts("sklearn", SIGNATURE)
REGISTRIES = st.builds(
    RegistryView,
    st.fixed_dictionaries(dict.fromkeys(MODELS, ALIASES)),
    st.just({(model, version): FACTS for model in MODELS for version in VERSIONS}),
    answered=st.just(True),
)
TIMES = st.floats(NOW_S - 700, NOW_S)
FAILURES = st.builds(
    Failure, st.just(fingerprint(PLAIN)), st.just("boom"), st.integers(1, 9), TIMES
)
OBSERVATIONS = st.builds(
    Observation,
    specs=st.dictionaries(st.sampled_from(MODELS), SPECS),
    registry=st.one_of(REGISTRIES, REGISTRIES, REGISTRIES, st.just(RegistryView())),
    applications=st.dictionaries(st.sampled_from(NAMES), STATES),
    failures=st.dictionaries(st.sampled_from(NAMES), FAILURES, max_size=2),
    table=st.just(EMPTY),
    retired_at_s=st.dictionaries(st.sampled_from(NAMES), TIMES),
    deadline_s=st.just(DEADLINE_S),
    strict_startup=st.booleans(),
    now_s=st.just(NOW_S),
    pools=st.sampled_from([{"p": PoolSpec()}, {"p": PoolSpec()}, {}]),
    proven=st.frozensets(st.sampled_from(VERSION_NAMES)),
)


@examples(80)
@given(first=OBSERVATIONS, then=OBSERVATIONS)
def test_what_holds_for_any_two_ticks(first: Observation, then: Observation) -> None:
    """The second tick starts from the first one's table, with everything else drawn anew."""
    now = replace(then, table=decide(first).table)

    decision = decide(now)

    routed = set()
    for model, routes in decision.table.models.items():
        assert sum(route.weight for route in routes.routes) in (0, 100)
        assert Track.STABLE not in [route.track for route in routes.routes[:-1]]
        for route in routes.routes:
            assert 0 <= route.weight <= 100
            assert route.weight == 0 or route.state is RouteState.READY
            assert parse_application_name(route.application) == (model, route.version)
            assert route.host == (route.pool or route.application)
            assert route.pool in {None, "p--pool"}
            assert 0 <= route.mirror <= 100
            assert route.mirror == 0 or route.track is Track.SHADOW
            assert route.weight == 0 or route.track is not Track.SHADOW
            routed.add(route.host)
        answered = Counter(owners(routes.routes))
        assert answered == Counter({route.version: route.weight for route in routes.routes})
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


@examples(50)
@given(first=OBSERVATIONS, then=OBSERVATIONS)
def test_deciding_twice_is_deciding_once(first: Observation, then: Observation) -> None:
    now = replace(then, table=decide(first).table)

    once = decide(now)
    twice = decide(replace(now, table=once.table, failures=once.failures))

    assert twice == once
