"""Whose keys move when versions come and go: their own alone, and to or from stable alone."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from deployments.controller.decide import decide
from deployments.controller.facts import RegistryView, VersionFacts
from deployments.controller.failures import ApplicationState
from deployments.controller.shares import asked_by
from deployments.rollout.state import Phase, Rollout
from deployments.schema import ModelSpec
from deployments.traffic.table import RoutingTable
from tests.deployments.controller.observations import DEAD, PLAIN, RUNNING, STARTING, seen
from tests.deployments.rollout.scenes import a_plan, begun
from tests.deployments.traffic.keys import moves, owners
from tests.fakes import SIGNATURE
from tests.properties import examples

STABLE = "1"
ARMS = ("2", "3", "4", "5", "6", "7", "8", "9")
VERSIONS = {("m", version): VersionFacts("sklearn", SIGNATURE) for version in (STABLE, *ARMS)}
SOME = st.sets(st.sampled_from(ARMS))


def registered(**aliases: str) -> RegistryView:
    return RegistryView({"m": {"champion": STABLE, **aliases}}, VERSIONS, answered=True)


def decided(
    spec: ModelSpec = PLAIN,
    registry: RegistryView | None = None,
    away: Collection[str] = (),
    how: ApplicationState = STARTING,
    **changes: Any,
) -> RoutingTable:
    """The table of a fleet in which all versions run but some."""
    applications = {
        f"m--v{version}": how if version in away else RUNNING for version in (STABLE, *ARMS)
    }
    return decide(
        seen(spec, registry or registered(), **{"applications": applications, **changes})
    ).table


def keys(*args: Any, **changes: Any) -> list[str]:
    """The version that answers each percent of the keys."""
    return owners(decided(*args, **changes).models["m"].routes)


def without(versions: Collection[str], before: list[str]) -> list[str]:
    """Who answers once the keys of some versions, and no others, have gone to stable."""
    return [STABLE if version in versions else version for version in before]


def of_traffic(canaries: Mapping[str, int]) -> ModelSpec:
    return ModelSpec(traffic={**canaries, "champion": 100 - sum(canaries.values())})


def a_test(count: int, dropped: Collection[str] = ()) -> Rollout:
    """An A/B test of as many arms, some of which were worse than allowed."""
    rollout = begun(a_plan(strategy="ab"), versions=ARMS[:count])
    arms = tuple(replace(arm, weight=0) if arm.version in dropped else arm for arm in rollout.arms)
    return replace(rollout, begun=True, phase=Phase.PROGRESSING, arms=arms)


def ab_tested(count: int, dropped: Collection[str] = (), **changes: Any) -> list[str]:
    return keys(asked=asked_by([a_test(count, dropped)]), **changes)


SPEC = of_traffic({"challenger": 10, "2": 20, "3": 5})


def test_an_arm_that_is_dropped_leaves_its_own_keys_to_stable() -> None:
    both = ab_tested(2)

    assert [both.count(version) for version in ("2", "3", "1")] == [33, 33, 34]
    assert ab_tested(2, dropped=["2"]) == without(["2"], both)
    assert ab_tested(2, dropped=["3"]) == without(["3"], both)


@pytest.mark.parametrize("arm", ["2", "3"])
def test_an_arm_that_loses_its_replicas_gets_its_own_keys_back(arm: str) -> None:
    asked = asked_by([a_test(2)])
    before = decided(asked=asked)
    both = owners(before.models["m"].routes)

    lost = decided(asked=asked, table=before, away=[arm], how=DEAD)

    assert owners(lost.models["m"].routes) == without([arm], both)
    assert keys(asked=asked, table=lost) == both


@examples(60)
@given(count=st.integers(1, 8), dropped=SOME, lost=SOME)
def test_arms_trade_keys_with_stable_alone(count: int, dropped: set[str], lost: set[str]) -> None:
    everybody = ab_tested(count)

    found = ab_tested(count, dropped, away=lost, how=DEAD)

    assert found == without(dropped | lost, everybody)


@examples(60)
@given(
    weights=st.lists(st.integers(0, 100), min_size=1, max_size=5).filter(
        lambda weights: sum(weights) <= 100
    ),
    away=SOME,
)
def test_canaries_that_load_leave_their_own_keys_to_stable(
    weights: list[int], away: set[str]
) -> None:
    spec = of_traffic(dict(zip(ARMS, weights, strict=False)))
    everybody = keys(spec)

    found = keys(spec, away=away)

    assert found == without(away, everybody)


@examples(60)
@given(
    one=st.integers(0, 50), two=st.integers(0, 50), then=st.integers(0, 50),
    which=st.sampled_from(["2", "3"]),
)  # fmt: skip
def test_settings_that_change_one_weight_move_keys_one_way_between_it_and_stable(
    one: int, two: int, then: int, which: str
) -> None:
    canaries = {"2": one, "3": two}

    moved = moves(keys(of_traffic(canaries)), keys(of_traffic({**canaries, which: then})))

    assert moved <= {(STABLE, which) if then > canaries[which] else (which, STABLE)}


def test_an_alias_that_is_taken_away_moves_the_keys_of_its_version_alone() -> None:
    everybody = keys(SPEC, registered(challenger="4"))

    assert keys(SPEC, registered()) == without(["4"], everybody)
    assert keys(SPEC, registered(challenger=STABLE)) == without(["4"], everybody)
    moved = moves(everybody, keys(SPEC, registered(challenger="5")))
    assert moved == {("4", "5")}


def test_a_version_under_two_names_has_both_shares_beside_those_of_others() -> None:
    everybody = keys(SPEC, registered(challenger="2"))

    assert [everybody.count(version) for version in ("2", "3", STABLE)] == [30, 5, 65]
    assert keys(SPEC, registered(challenger="2"), away=["3"]) == without(["3"], everybody)
    moved = moves(everybody, keys(SPEC, registered(challenger="4")))
    assert not {version for pair in moved for version in pair} & {"3"}


def test_no_key_moves_while_the_next_champion_loads() -> None:
    before = decided(SPEC, registered(challenger="4"))

    promoted = registered(challenger="4", champion="9")
    after = keys(SPEC, promoted, away=["9"], table=before)

    assert after == owners(before.models["m"].routes)


@pytest.mark.parametrize("away", [(), ("2",), ("3",)], ids=["all-there", "first", "second"])
def test_no_key_moves_while_the_registry_has_yet_to_answer(away: tuple[str, ...]) -> None:
    asked = asked_by([a_test(2)])
    before = decided(asked=asked, table=decided(asked=asked), away=away, how=DEAD)

    # A controller that was restarted meanwhile has the table alone.
    after = keys(registry=RegistryView(), asked=asked, table=before, away=away, how=DEAD)

    assert after == owners(before.models["m"].routes)


def test_one_canary_needs_no_place_of_its_own_in_the_table() -> None:
    routes = decided(of_traffic({"2": 30})).models["m"].routes

    # An earlier release, which does not know the field, can read the table.
    assert [route.start for route in routes] == [None, None]
