"""What the strategies other than canary do with a version that is ready, or is not."""

import pytest

from deployments.rollout.advance import advance
from deployments.rollout.looking import outcome
from deployments.rollout.seen import Checked, VersionSeen
from deployments.rollout.signals import Counts
from deployments.rollout.state import (
    Phase,
)
from tests.deployments.rollout.scenes import (
    GOOD,
    a_plan,
    begun,
    counted,
    later,
    of,
    run,
    seen,
)


def test_blue_green_waits_for_all_replicas_and_switches_at_once() -> None:
    plan = a_plan(strategy="blueGreen")
    half = VersionSeen(ready=True, replicas=1, wanted=2)
    waiting = run(begun(plan), seen(versions=of(half)), most=3).rollout
    assert (waiting.phase, waiting.reason) == (Phase.PENDING, "version 2 has 1 of 2 replicas")

    checked = run(waiting, seen(), most=3).rollout
    assert (checked.weight, checked.mirror) == (0, 100)

    switched = run(checked, counted(GOOD), most=3).rollout
    assert (switched.phase, switched.weight, switched.mirror) == (Phase.PROMOTING, 100, 0)


CHECKED = a_plan(
    {"check": {"requests": "/kept.jsonl", "allowed": 0.1}}, strategy="blueGreen",
    progress_deadline_s=60,
)  # fmt: skip


@pytest.mark.parametrize(
    ("checked", "phase", "reason"),
    [
        pytest.param(None, Phase.PROGRESSING, "is being checked", id="not-yet"),
        pytest.param(
            Checked(0, 0, "/kept.jsonl: no such file"), Phase.PROGRESSING,
            "cannot be checked: /kept.jsonl: no such file", id="nothing-to-ask",
        ),
        pytest.param(
            Checked(10, 0), Phase.PROMOTING, "all steps are passed", id="all-well",
        ),
        pytest.param(Checked(10, 1, "line 3: no"), Phase.PROMOTING, "all steps", id="as-allowed"),
        pytest.param(
            Checked(10, 2, "line 3: differs"), Phase.ABORTED,
            "8 of 10 kept requests are answered well, allowed 10.0% bad: line 3: differs",
            id="too-bad",
        ),
    ],
)  # fmt: skip
def test_a_check_comes_before_any_request(
    checked: Checked | None, phase: Phase, reason: str
) -> None:
    waiting = run(begun(CHECKED), seen(), most=3).rollout
    assert (waiting.phase, waiting.weight, str(waiting.current)) == (
        Phase.PROGRESSING, 0, "check /kept.jsonl",
    )  # fmt: skip

    after = advance(waiting, later(seen(checked=checked), waiting, 1.0)).rollout

    assert after.phase is phase
    assert reason in after.reason
    assert after.judged == (phase is not Phase.PROGRESSING)


def test_a_shadow_that_fails_an_analysis_ends_with_its_report() -> None:
    plan = a_plan({"setMirror": 50}, {"analysis": {}}, strategy="shadow")
    bad = Counts(requests=20_000, mirrored=20_000, differing=10_000)

    mirroring = run(begun(plan), seen(), most=3).rollout
    ended = run(mirroring, seen(counts={"1": GOOD, "2": bad}), most=20)

    assert ended.rollout.phase is Phase.SUCCESSFUL
    assert ended.events[-1].kind == "reported"
    assert outcome(ended.rollout, "2")[0] == "failed"


def test_a_check_that_cannot_be_made_ends_at_the_deadline() -> None:
    unasked = seen(checked=Checked(0, 0, "/kept.jsonl: no such file"))

    ended = run(begun(CHECKED), unasked, most=200).rollout

    assert ended.phase is Phase.ABORTED
    assert ended.reason == ("no progress within 60 s: cannot be checked: /kept.jsonl: no such file")


def test_rolling_follows_the_replicas_by_a_surge_at_a_time() -> None:
    rollout = begun(a_plan(strategy="rolling", max_surge=30))
    weights = []
    for replicas in (1, 1, 2, 2, 4, 4, 4, 4):
        look = seen(versions=of(VersionSeen(ready=True, replicas=replicas, wanted=4)))
        rollout = advance(rollout, later(look, rollout, 5.0)).rollout
        weights.append(rollout.weight)

    assert weights == [25, 25, 50, 50, 80, 100, 100, 100]
    assert rollout.phase is Phase.PROMOTING


def test_rolling_follows_replicas_that_are_lost_at_once_and_within_the_same_deadline() -> None:
    rollout = begun(a_plan(strategy="rolling", max_surge=50, progress_deadline_s=60))
    weights = []
    for replicas in (2, 3, 1, 1):
        look = seen(versions=of(VersionSeen(ready=True, replicas=replicas, wanted=4)))
        rollout = advance(rollout, later(look, rollout, 0.5 if replicas == 1 else 5.0)).rollout
        weights.append(rollout.weight)
    assert weights == [50, 75, 25, 25]
    assert rollout.reason == "1 of 4 replicas are ready"

    one = seen(versions=of(VersionSeen(ready=True, replicas=1, wanted=4)))
    assert run(rollout, one, most=200).rollout.reason == (
        "no progress within 60 s: 1 of 4 replicas are ready"
    )


def test_a_shadow_reports_and_promotes_nothing() -> None:
    plan = a_plan(strategy="shadow", duration_s=60.0)
    first = run(begun(plan), seen(), most=2).rollout
    assert (first.mirror, first.weight) == (100, 0)

    done = run(first, counted(Counts(mirrored=5_000, differing=1_000)), most=200)

    assert (done.rollout.phase, done.rollout.mirror) == (Phase.SUCCESSFUL, 0)
    assert "differing 20.0%" in done.rollout.reason
