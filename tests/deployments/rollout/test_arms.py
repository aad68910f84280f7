"""A/B tests: an arm that fails loses its requests, and the others go on."""

import pytest
from msgspec.structs import replace

from deployments.rollout.advance import advance
from deployments.rollout.endings import MOST_DEATHS, NOT_READY_S
from deployments.rollout.looking import outcome
from deployments.rollout.seen import VersionSeen
from deployments.rollout.signals import Counts
from deployments.rollout.state import Health, Phase, Rollout
from tests.deployments.rollout.scenes import DOWN, FAILED, READY, a_plan, begun, later, run, seen

PLAN = a_plan(strategy="ab", analysis={"signals": {"mistakes": {"kind": "mistakes"}}})


def under_way() -> Rollout:
    return run(begun(PLAN, versions=("2", "3")), seen(), most=2).rollout


def test_an_ab_test_drops_what_is_worse_and_reports() -> None:
    first = under_way()
    assert [arm.weight for arm in first.arms] == [33, 33]

    def labels(n: int, mistakes: int) -> Counts:
        return Counts(labels=n, mistakes=mistakes)

    counts = {"1": labels(5_000, 500), "2": labels(5_000, 1_000), "3": labels(5_000, 300)}
    done = run(first, seen(counts=counts), most=5)

    assert (done.rollout.phase, done.rollout.weight) == (Phase.SUCCESSFUL, 0)
    assert {arm.version: arm.weight for arm in done.rollout.arms} == {"2": 0, "3": 33}
    dropped, reported = done.events
    assert (dropped.kind, reported.kind) == ("dropped", "reported")
    assert dropped.reason.startswith("version 2 is worse than allowed: mistakes 20.0% of 5000")
    assert reported.reason.startswith("version 3: mistakes 6.0% of 5000")
    assert reported.reason.endswith("; dropped: version 2")
    assert outcome(done.rollout, "2")[0] == "failed"
    assert outcome(done.rollout, "3")[0] == "successful"
    assert outcome(done.rollout, "3")[1].startswith("mistakes 6.0% of 5000")
    report = done.events[-1].numbers
    assert report["2"]["mistakes"]["verdict"] == "failed"
    assert report["2"]["mistakes"]["low"] > 0.02
    assert report["3"]["mistakes"]["verdict"] == "successful"
    assert report["3"]["mistakes"]["high"] < 0


@pytest.mark.parametrize(
    ("health", "fares", "reason"),
    [
        pytest.param(
            Health(deaths=MOST_DEATHS), DOWN, "it died 3 times: The actor died", id="dies"
        ),
        pytest.param(
            Health(True, NOT_READY_S - 0.1, 1), DOWN, "it had no replica for 30 s", id="away"
        ),
        pytest.param(Health(), FAILED, "could not be loaded: RuntimeError", id="cannot-load"),
    ],
)
def test_an_arm_that_is_not_well_is_dropped_and_the_others_go_on(
    health: Health, fares: VersionSeen, reason: str
) -> None:
    before = under_way()
    ill = replace(before, health={"2": health})
    look = seen(versions={"1": READY, "2": fares, "3": READY})

    after = advance(ill, later(look, ill))

    assert [event.kind for event in after.events][-1] == "dropped"
    assert after.events[-1].reason.startswith("version 2 is dropped: ")
    assert reason in after.events[-1].reason
    assert {arm.version: arm.weight for arm in after.rollout.arms} == {"2": 0, "3": 33}
    assert after.rollout.phase is Phase.PROGRESSING


def test_an_arm_that_cannot_be_loaded_ends_a_test_that_has_yet_to_begin() -> None:
    look = seen(versions={"1": READY, "2": READY, "3": FAILED})

    ended = run(begun(PLAN, versions=("2", "3")), look, most=2).rollout

    assert ended.phase is Phase.ABORTED
    assert ended.reason == "version 3 could not be loaded: RuntimeError: weights file is torn"


def test_deaths_of_one_arm_are_not_those_of_another() -> None:
    rollout = under_way()
    for away in ("2", "3"):
        versions = {"1": READY, "2": READY, "3": READY} | {away: DOWN}
        rollout = advance(rollout, later(seen(versions=versions), rollout)).rollout

    assert {version: rollout.health_of(version).deaths for version in "23"} == {"2": 1, "3": 1}
    assert [rollout.health_of(version).is_down for version in "23"] == [False, True]
