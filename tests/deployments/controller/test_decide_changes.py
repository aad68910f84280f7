from dataclasses import replace
from typing import Any

import pytest

from deployments.controller.decide import Decision, decide
from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import ApplicationState, fingerprint
from deployments.schema import ModelSpec
from deployments.traffic.table import Endpoint
from tests.deployments.controller.observations import (
    DEAD,
    DEADLINE_S,
    FAILED,
    NOW_S,
    PLAIN,
    RUNNING,
    SPLIT,
    STARTING,
    apps,
    deployed,
    registered,
    seen,
    serving,
    states,
    weights,
)
from tests.fakes import SIGNATURE


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


class TestTransport:
    """The doors of replicas are published to gateways that are to use them."""

    door = Endpoint("a", "node-1", "/tmp/a", "127.0.0.1", 1, "00")

    @pytest.mark.parametrize(
        ("transport", "expected"), [("handle", ()), ("direct", (door,))], ids=["handle", "direct"]
    )
    def test_doors_are_for_direct_alone(self, transport: Any, expected: Any) -> None:
        spec = ModelSpec(transport=transport)

        decision = decide(
            seen(spec, applications=apps(v1=RUNNING), endpoints={"m--v1": (self.door,)})
        )

        (route,) = decision.table.models["m"].routes
        assert (str(route.transport), route.endpoints) == (transport, expected)

    def test_changing_it_deploys_nothing(self) -> None:
        running = apps(v1=replace(RUNNING, fingerprint=fingerprint(PLAIN)))

        decision = decide(
            seen(ModelSpec(transport="direct"), applications=running, table=serving())
        )

        assert (decision.deploy, decision.delete) == ((), ())

    def test_only_the_stable_version_runs_in_the_gateways(self) -> None:
        spec = ModelSpec(traffic={"champion": 90, "challenger": 10}, transport="inline")
        registry = registered(champion="1", challenger="2")
        running = apps(v1=RUNNING, v2=RUNNING)

        before = decide(seen(spec, registry, applications=running))
        promoted = registered(champion="2", challenger="1")
        after = decide(seen(spec, promoted, applications=running, table=before.table))

        assert (kinds(before), kinds(after)) == (
            {"1": "inline", "2": "direct"},
            {"2": "inline", "1": "direct"},
        )

    def test_a_restarted_controller_goes_on_with_what_auto_had_picked(self) -> None:
        spec = ModelSpec(transport="auto")
        facts = VersionFacts("sklearn", SIGNATURE, size_bytes=10_000)
        registry = RegistryView({"m": {"champion": "1"}}, {("m", "1"): facts}, answered=True)
        running = apps(v1=RUNNING)
        table = decide(seen(spec, registry, applications=running)).table

        decision = decide(seen(spec, RegistryView(), applications=running, table=table))

        assert kinds(decision) == {"1": "inline"}
        assert decision.table == table


def kinds(decision: Decision) -> dict[str, str]:
    return {route.version: str(route.transport) for route in decision.table.models["m"].routes}
