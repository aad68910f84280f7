"""One table for each rule in the docstring of `decide`, then what holds for any observation."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.controller.decide import (
    Decision,
    Observation,
    RegistryView,
    VersionFacts,
    decide,
    is_moving,
)
from deployments.controller.failures import (
    BACKOFF_S,
    MAX_BACKOFF_S,
    ApplicationState,
    Failure,
    fingerprint,
)
from deployments.schema import ModelSpec, parse_application_name
from deployments.traffic.table import EMPTY, RouteState, RoutingTable, Track
from tests.fakes import SIGNATURE

NOW_S = 10_000.0
DEADLINE_S = 30.0
SPLIT = ModelSpec(traffic={"champion": 90, "challenger": 10})
PLAIN = ModelSpec()

RUNNING = ApplicationState("RUNNING", 1)
STARTING = ApplicationState("DEPLOYING", 0)
ASLEEP = ApplicationState("RUNNING", 0)
DEAD = ApplicationState("UNHEALTHY", 0, "a replica died")
FAILED = ApplicationState("DEPLOY_FAILED", 0, "RuntimeError: no such file")
DELETING = ApplicationState("DELETING", 1)


def registered(**aliases: str) -> RegistryView:
    """A registry with versions 1 to 4 of model `m`."""
    facts = VersionFacts("sklearn", SIGNATURE)
    return RegistryView({"m": aliases}, {("m", v): facts for v in "1234"}, answered=True)


def seen(
    spec: ModelSpec | None = PLAIN, registry: RegistryView | None = None, **changes: Any
) -> Observation:
    """A fleet with one model `m` whose champion is version 1, nothing deployed yet."""
    return replace(
        Observation(
            specs={"m": spec} if spec is not None else {},
            registry=registry or registered(champion="1"),
            applications={},
            failures={},
            table=EMPTY,
            retired_at_s={},
            deadline_s=DEADLINE_S,
            strict_startup=False,
            now_s=NOW_S,
        ),
        **changes,
    )


def apps(**states: ApplicationState) -> dict[str, ApplicationState]:
    """Applications of model `m` by version: `v1=RUNNING`."""
    return {f"m--{version}": state for version, state in states.items()}


def weights(decision: Decision) -> dict[str, int]:
    return {route.version: route.weight for route in decision.table.models["m"].routes}


def states(decision: Decision) -> dict[str, str]:
    return {route.version: str(route.state) for route in decision.table.models["m"].routes}


def deployed(decision: Decision) -> list[str]:
    return [item.application for item in decision.deploy]


def serving(spec: ModelSpec = PLAIN, registry: RegistryView | None = None) -> RoutingTable:
    """The table once every version that the registry names is running."""
    everything = apps(v1=RUNNING, v2=RUNNING, v3=RUNNING)
    return decide(seen(spec, registry, applications=everything)).table


def failure(attempts: int = 1, spec: ModelSpec = PLAIN, at_s: float = NOW_S) -> Failure:
    return Failure(fingerprint(spec), FAILED.message, attempts, at_s)


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


class TestPromotion:
    """The alias champion moves from version 1 to version 2."""

    table = serving()
    moved = registered(champion="2")

    def test_the_old_version_answers_until_the_new_one_is_ready(self) -> None:
        for new in (None, STARTING, FAILED):
            now = apps(v1=RUNNING) | (apps(v2=new) if new is not None else {})

            decision = decide(seen(PLAIN, self.moved, applications=now, table=self.table))

            assert weights(decision) == {"2": 0, "1": 100}
            assert "m--v1" not in decision.delete

    def test_the_new_version_takes_over_in_one_step(self) -> None:
        both = apps(v1=RUNNING, v2=RUNNING)

        decision = decide(seen(PLAIN, self.moved, applications=both, table=self.table))

        assert weights(decision) == {"2": 100}
        assert decision.delete == ()

    @pytest.mark.parametrize(
        ("retired_at_s", "deleted"),
        [
            pytest.param(None, False, id="a-gateway-has-not-acknowledged"),
            pytest.param(NOW_S - DEADLINE_S + 0.1, False, id="a-request-may-still-run"),
            pytest.param(NOW_S - DEADLINE_S, True, id="deadline-has-passed"),
        ],
    )
    def test_the_old_application_outlives_every_request(
        self, retired_at_s: float | None, deleted: bool
    ) -> None:
        both = apps(v1=RUNNING, v2=RUNNING)
        retired = {} if retired_at_s is None else {"m--v1": retired_at_s}

        decision = decide(
            seen(PLAIN, self.moved, applications=both, table=self.table, retired_at_s=retired)
        )

        assert decision.delete == (("m--v1",) if deleted else ())

    def test_a_model_s_own_longer_deadline_counts(self) -> None:
        spec = ModelSpec(request_deadline_s=100.0)
        both = apps(v1=RUNNING, v2=RUNNING)
        retired = {"m--v1": NOW_S - DEADLINE_S}

        decision = decide(seen(spec, self.moved, applications=both, retired_at_s=retired))

        assert decision.delete == ()

    def test_a_canary_keeps_its_share_meanwhile(self) -> None:
        before = registered(champion="1", challenger="3")
        moved = registered(champion="2", challenger="3")
        now = apps(v1=RUNNING, v3=RUNNING)

        decision = decide(seen(SPLIT, moved, applications=now, table=serving(SPLIT, before)))

        assert weights(decision) == {"3": 10, "2": 0, "1": 90}

    def test_a_ready_challenger_becomes_champion_without_a_gap(self) -> None:
        before = registered(champion="1", challenger="2")
        moved = registered(champion="2")
        both = apps(v1=RUNNING, v2=RUNNING)

        decision = decide(seen(SPLIT, moved, applications=both, table=serving(SPLIT, before)))

        assert weights(decision) == {"2": 100}

    def test_swapping_the_aliases_swaps_the_tracks(self) -> None:
        before = registered(champion="1", challenger="2")
        swapped = registered(champion="2", challenger="1")
        both = apps(v1=RUNNING, v2=RUNNING)

        decision = decide(seen(SPLIT, swapped, applications=both, table=serving(SPLIT, before)))

        assert weights(decision) == {"1": 10, "2": 90}

    @pytest.mark.parametrize(
        "registry",
        [
            pytest.param(registered(), id="alias-removed"),
            pytest.param(RegistryView(answered=True), id="model-removed-from-the-registry"),
        ],
    )
    def test_without_a_champion_the_last_one_stays(self, registry: RegistryView) -> None:
        decision = decide(seen(PLAIN, registry, applications=apps(v1=RUNNING), table=self.table))

        assert weights(decision) == {"1": 100}
        assert (decision.deploy, decision.delete) == ((), ())


class TestFailure:
    def test_it_is_recorded_with_the_replica_s_own_words_and_the_application_deleted(self) -> None:
        decision = decide(seen(applications=apps(v1=FAILED)))

        (route,) = decision.table.models["m"].routes
        assert (route.state, route.reason) == (RouteState.UNAVAILABLE, FAILED.message)
        assert decision.failures == {"m--v1": failure()}
        assert (deployed(decision), decision.delete) == ([], ("m--v1",))

    def test_it_is_counted_once_however_often_serve_reports_it(self) -> None:
        first = decide(seen(applications=apps(v1=FAILED)))

        again = decide(
            seen(applications=apps(v1=FAILED), failures=first.failures, now_s=NOW_S + 0.5)
        )

        assert again.failures == first.failures
        assert again.delete == ("m--v1",)

    @pytest.mark.parametrize(
        ("attempts", "wait_s"),
        [
            pytest.param(1, BACKOFF_S, id="first"),
            pytest.param(2, 2 * BACKOFF_S, id="doubles"),
            pytest.param(3, 4 * BACKOFF_S, id="doubles-again"),
            pytest.param(6, MAX_BACKOFF_S, id="reaches-the-longest"),
            pytest.param(100_000, MAX_BACKOFF_S, id="after-years"),
        ],
    )
    def test_it_is_tried_again_after_a_wait_that_doubles(
        self, attempts: int, wait_s: float
    ) -> None:
        failures = {"m--v1": failure(attempts)}

        early = decide(seen(failures=failures, now_s=NOW_S + wait_s - 0.1))
        due = decide(seen(failures=failures, now_s=NOW_S + wait_s))

        assert (deployed(early), deployed(due)) == ([], ["m--v1"])
        assert states(early) == {"1": "UNAVAILABLE"}

    def test_the_next_attempt_counts_on(self) -> None:
        failures = {"m--v1": failure(2)}
        later_s = NOW_S + 2 * BACKOFF_S + 1

        decision = decide(seen(applications=apps(v1=FAILED), failures=failures, now_s=later_s))

        assert decision.failures == {"m--v1": failure(3, at_s=later_s)}

    @pytest.mark.parametrize(
        ("state", "kept"),
        [
            pytest.param(replace(RUNNING, fingerprint=fingerprint(PLAIN)), False, id="running"),
            pytest.param(RUNNING, False, id="nobody-remembers-with-which-settings"),
            pytest.param(replace(RUNNING, fingerprint="old"), True, id="with-other-settings"),
            pytest.param(ASLEEP, True, id="scaled-to-zero"),
            pytest.param(STARTING, True, id="starting"),
        ],
    )
    def test_it_is_forgotten_once_the_version_has_loaded(
        self, state: ApplicationState, kept: bool
    ) -> None:
        failures = {"m--v1": failure(3)}

        decision = decide(seen(applications=apps(v1=state), failures=failures))

        assert decision.failures == (failures if kept else {})

    def test_new_settings_are_tried_at_once(self) -> None:
        mended = ModelSpec(runtime="pyfunc")

        decision = decide(seen(mended, failures={"m--v1": failure(5)}))

        assert deployed(decision) == ["m--v1"]

    def test_settings_that_changed_while_it_failed_are_not_blamed(self) -> None:
        mended = ModelSpec(runtime="pyfunc")
        failed = replace(FAILED, fingerprint=fingerprint(PLAIN))

        decision = decide(seen(mended, applications=apps(v1=failed)))

        assert decision.failures == {"m--v1": failure()}
        assert (deployed(decision), decision.delete) == (["m--v1"], ())

    def test_a_failed_leftover_of_another_model_is_deleted_too(self) -> None:
        decision = decide(seen(None, applications={"gone--v1": FAILED}))

        assert (decision.delete, decision.failures) == (("gone--v1",), {})


class TestSettings:
    @pytest.mark.parametrize(
        "spec",
        [
            pytest.param(ModelSpec(traffic={"champion": 90, "challenger": 10}), id="traffic"),
            pytest.param(ModelSpec(max_batch_size=7), id="batch-size"),
            pytest.param(ModelSpec(request_deadline_s=1.0), id="deadline"),
            pytest.param(ModelSpec(max_queued_requests=5), id="queue"),
        ],
    )
    def test_what_the_gateways_do_needs_no_deployment(self, spec: ModelSpec) -> None:
        running = apps(v1=replace(RUNNING, fingerprint=fingerprint(PLAIN)))

        assert decide(seen(spec, applications=running)).deploy == ()

    @pytest.mark.parametrize(
        "changes",
        [
            pytest.param({"num_replicas": 2}, id="replicas"),
            pytest.param({"runtime": "pyfunc"}, id="runtime"),
            pytest.param({"ray_actor_options": {"num_cpus": 1}}, id="resources"),
            pytest.param({"autoscaling_config": {"max_replicas": 3}}, id="autoscaling"),
        ],
    )
    def test_what_a_replica_is_given_needs_one(self, changes: dict[str, Any]) -> None:
        spec = ModelSpec.model_validate(changes)
        old = replace(RUNNING, fingerprint=fingerprint(PLAIN))
        new = replace(STARTING, fingerprint=fingerprint(spec))

        first = decide(seen(spec, applications=apps(v1=old), table=serving()))
        second = decide(seen(spec, applications=apps(v1=new), table=first.table))

        assert deployed(first) == ["m--v1"]
        assert first.deploy[0].fingerprint == fingerprint(spec)
        assert deployed(second) == []
        # It answered before, so requests wait for the new replicas.
        assert weights(second) == {"1": 100}

    def test_an_application_whose_settings_nobody_remembers_is_left_alone(self) -> None:
        assert decide(seen(ModelSpec(num_replicas=2), applications=apps(v1=RUNNING))).deploy == ()


class TestOutage:
    """What a restarted controller does before it knows everything."""

    silent = RegistryView()

    def test_the_table_stays_while_the_registry_never_answered(self) -> None:
        table = serving()

        decision = decide(seen(PLAIN, self.silent, applications=apps(v1=RUNNING), table=table))

        assert decision.table == table
        assert (decision.deploy, decision.delete) == ((), ())

    def test_nothing_is_deleted_for_want_of_knowledge(self) -> None:
        running = apps(v1=RUNNING, v2=FAILED)
        long_ago = dict.fromkeys(running, 0.0)

        decision = decide(seen(PLAIN, self.silent, applications=running, retired_at_s=long_ago))

        assert (decision.deploy, decision.delete) == ((), ())

    @pytest.mark.parametrize("state", [DEAD, STARTING], ids=["replicas-died", "redeploying"])
    def test_a_version_that_was_ready_stays_so(self, state: ApplicationState) -> None:
        decision = decide(seen(applications=apps(v1=state), table=serving()))

        assert (weights(decision), states(decision)) == ({"1": 100}, {"1": "READY"})
        assert decision.table.models["m"].routes[0].replicas == 0

    def test_an_application_that_somebody_deleted_comes_back(self) -> None:
        decision = decide(seen(table=serving()))

        assert (weights(decision), deployed(decision)) == ({"1": 0}, ["m--v1"])


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
            {"applications": apps(v1=RUNNING, v2=RUNNING), "table": serving()},
            True,
            id="a-leftover-to-delete",
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


VERSIONS = ("1", "2", "3")
ALIASES = st.dictionaries(
    st.sampled_from(["champion", "challenger"]), st.sampled_from(VERSIONS), max_size=2
)
SPECS = st.builds(
    ModelSpec,
    traffic=st.sampled_from(
        [
            {"champion": 100},
            {"champion": 90, "challenger": 10},
            {"challenger": 100},
            {"champion": 20, "2": 30, "3": 50},
            {"1": 0, "challenger": 100},
        ]
    ),
    num_replicas=st.sampled_from([None, 2]),
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
NAMES = [f"{model}--v{version}" for model in MODELS for version in VERSIONS]


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
            routed.add(route.application)
        if routes.ready:
            assert routes.stable is not None
            assert routes.stable.state is RouteState.READY
    for name in decision.delete:
        # Nothing that may still be sent requests is deleted; what failed has no replica to send to.
        failed = now.applications[name].status == "DEPLOY_FAILED"
        assert name not in routed or (failed and not now.applications[name].running_replicas)
    assert not set(decision.delete) & {item.application for item in decision.deploy}
    changed = decision.table != msgspec.structs.replace(now.table, revision=decision.table.revision)
    assert decision.table.revision == now.table.revision + changed


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_deciding_twice_is_deciding_once(data: st.DataObject) -> None:
    now = data.draw(observations(decide(data.draw(observations())).table))

    once = decide(now)
    twice = decide(replace(now, table=once.table, failures=once.failures))

    assert twice == once
