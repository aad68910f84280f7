"""The state machine of a rollout, row by row."""

from typing import Any

import pytest
from msgspec.structs import replace

from deployments.rollout.advance import advance
from deployments.rollout.aftermath import asked
from deployments.rollout.looking import MOST_ELAPSED_S
from deployments.rollout.measurements import Measurement
from deployments.rollout.measurements import Phase as RulePhase
from deployments.rollout.seen import Answered, Seen
from deployments.rollout.signals import Counts
from deployments.rollout.state import (
    Advanced,
    Event,
    Health,
    Phase,
    Rollout,
    decode_rollout,
    encode_rollout,
)
from tests.deployments.rollout.scenes import (
    BAD,
    DOWN,
    FAILED,
    GOOD,
    LOADING,
    NO,
    NOW_S,
    SILENT,
    YES,
    a_hook,
    a_plan,
    begun,
    counted,
    later,
    of,
    run,
    seen,
    with_hooks,
)

HALF: tuple[dict[str, Any], ...] = ({"setWeight": 50}, {"pause": {}})
PLAN = a_plan(*HALF)
FEW = Counts(requests=10)


def at_half(**changes: Any) -> Rollout:
    """Half way: 50 %, waiting to be approved; everything counted from zero."""
    waiting = run(begun(PLAN), seen(), most=5).rollout
    assert (waiting.phase, waiting.weight) == (Phase.PAUSED, 50)
    return replace(waiting, **changes)


@pytest.mark.parametrize(
    ("rollout", "look", "phase", "weight", "reason"),
    [
        pytest.param(
            begun(PLAN), seen(versions=of(LOADING)), "pending", 0,
            "version 2 is not ready: its first replica is starting", id="loads",
        ),
        pytest.param(
            begun(PLAN, follows=True, challenger="2"), seen(registered=False, champion=None),
            "aborted", 0, "the model was deleted from the registry", id="model-deleted",
        ),
        pytest.param(
            begun(PLAN), seen(versions=of(FAILED)), "aborted", 0,
            "version 2 could not be loaded: RuntimeError: weights file is torn", id="cannot-load",
        ),
        pytest.param(begun(PLAN), seen(), "paused", 50, "waits until somebody approves", id="on"),
        pytest.param(begun(a_plan()), seen(), "progressing", 5, "", id="own-steps"),
        pytest.param(
            begun(with_hooks(PLAN, "confirm-rollout")), seen(told={"gate": NO}), "pending", 0,
            "webhook 'gate' answered 403", id="not-confirmed",
        ),
        pytest.param(
            begun(with_hooks(PLAN, "confirm-rollout")), seen(told={"gate": YES}), "paused", 50,
            "waits until somebody approves", id="confirmed",
        ),
        pytest.param(
            begun(with_hooks(PLAN, "pre-rollout")), seen(told={"gate": NO}), "aborted", 0,
            "webhook 'gate' answered 403", id="refused-beforehand",
        ),
        pytest.param(
            begun(with_hooks(PLAN, "pre-rollout")), seen(told={"gate": SILENT}), "pending", 0,
            "webhook 'gate' cannot be reached", id="nobody-to-ask",
        ),
        pytest.param(
            at_half(plan=with_hooks(PLAN, "rollback")), seen(told={"gate": YES}), "aborted", 0,
            "told to roll back: yes", id="told-to-roll-back",
        ),
        pytest.param(
            at_half(plan=with_hooks(PLAN, "confirm-promotion"), approved=True),
            seen(told={"gate": NO}), "progressing", 50,
            "webhook 'gate' answered 403", id="promotion-not-confirmed",
        ),
        pytest.param(
            at_half(approved=True), seen(), "promoting", 100, "all steps are passed", id="promoted"
        ),
        pytest.param(
            at_half(), counted(BAD), "aborted", 0,
            "errors 3.0% of 20000 against 0.0% of 20000: rise at least +2.6%", id="worse",
        ),
        pytest.param(
            at_half(paused_by="bob"), counted(BAD), "aborted", 0, "errors 3.0%", id="worse-paused"
        ),
        pytest.param(
            at_half(health={"2": Health(deaths=2)}), seen(versions=of(DOWN)), "aborted", 0,
            "it died 3 times: The actor died", id="keeps-dying",
        ),
        pytest.param(
            at_half(health={"2": Health(True, 29.9, 1)}), seen(versions=of(DOWN)), "aborted", 0,
            "it had no replica for 30 s: The actor died", id="stays-away",
        ),
        pytest.param(
            at_half(health={"2": Health(True, 10.0, 1)}), seen(versions=of(DOWN)), "paused", 50,
            "waits until", id="may-come-back",
        ),
        pytest.param(
            at_half(), seen(hosted=False), "aborted", 0, "no longer hosted", id="not-hosted"
        ),
        pytest.param(
            at_half(), seen(champion="9"), "aborted", 0, "champion was moved to 9", id="moved"
        ),
        pytest.param(
            at_half(), seen(champion="2"), "successful", 100, "by hand", id="promoted-by-hand"
        ),
        pytest.param(
            at_half(), seen(missing=frozenset("2")), "aborted", 0, "version 2 was deleted",
            id="deleted",
        ),
        pytest.param(
            at_half(follows=True, challenger="2"), seen(challenger="3"), "aborted", 0,
            "superseded by version 3", id="superseded",
        ),
        pytest.param(
            at_half(follows=True, challenger="2"), seen(challenger=None), "aborted", 0,
            "the alias challenger was taken away", id="taken-away",
        ),
        pytest.param(
            at_half(follows=True, challenger="3"), seen(challenger="3"), "paused", 50, "waits",
            id="by-hand-beside-another-challenger",
        ),
        pytest.param(
            at_half(follows=True), seen(challenger=None), "paused", 50, "waits", id="by-hand"
        ),
        pytest.param(
            at_half(follows=False), seen(challenger="3"), "paused", 50, "waits",
            id="does-not-follow",
        ),
        pytest.param(
            at_half(phase=Phase.PROMOTING, weight=100, reason="good"), counted(BAD), "promoting",
            100, "good", id="decided",
        ),
        pytest.param(
            at_half(phase=Phase.PROMOTING, weight=100, reason="good"), seen(champion="2"),
            "successful", 100, "good", id="alias-followed",
        ),
        pytest.param(
            at_half(phase=Phase.ABORTED, weight=0, reason="bad"), counted(GOOD, champion="9"),
            "aborted", 0, "bad", id="over",
        ),
    ],
)  # fmt: skip
def test_next_state(rollout: Rollout, look: Seen, phase: str, weight: int, reason: str) -> None:
    done = advance(rollout, later(look, rollout))

    assert (done.rollout.phase, done.rollout.weight) == (phase, weight)
    assert reason in done.rollout.reason
    if done.rollout.phase.is_final and not rollout.phase.is_final:
        assert done.events
        assert done.events[-1].reason == done.rollout.reason
        assert done.rollout.ended_at_s == rollout.clock_s + 0.5


@pytest.mark.parametrize(
    ("settings", "look", "phase", "reason"),
    [
        pytest.param({}, counted(FEW, FEW), "aborted", "no progress within 60 s: errors",
                     id="abort"),
        pytest.param({"on_deadline": "promote"}, counted(FEW, FEW), "promoting", "no progress",
                     id="promote"),
        pytest.param({"on_deadline": "hold"}, counted(FEW, FEW), "progressing", "no progress",
                     id="hold"),
        pytest.param({"on_deadline": "promote"}, seen(versions=of(LOADING)), "aborted",
                     "no progress within 60 s: version 2 is not ready", id="never-ready"),
    ],
)  # fmt: skip
def test_what_is_undecided_goes_as_on_deadline_says(
    settings: dict[str, Any], look: Seen, phase: str, reason: str
) -> None:
    plan = a_plan({"setWeight": 5}, {"analysis": {}}, progress_deadline_s=60, **settings)
    first = run(begun(plan), seen(versions=look.versions), most=2).rollout

    done = run(first, look, most=200)

    assert done.rollout.phase == phase
    assert done.rollout.reason.startswith(reason)
    assert len([each for each in done.events if each.kind == "held"]) == (phase == "progressing")


def test_pauses_do_not_count_towards_the_deadline() -> None:
    plan = a_plan({"setWeight": 5}, {"pause": {"duration_s": 300}}, progress_deadline_s=10)

    done = run(begun(plan), seen(), most=595)
    assert (done.rollout.phase, done.rollout.step) == (Phase.PROGRESSING, 1)

    assert run(done.rollout, seen(), most=10).rollout.phase is Phase.PROMOTING


def test_a_good_canary_goes_all_the_way_and_says_why() -> None:
    rollout = begun(a_plan())
    events: list[Event] = []
    canary = stable = Counts()
    for _ in range(200):
        look = later(counted(canary, stable), rollout)
        done = advance(rollout, look)
        rollout = done.rollout
        events += done.events
        canary = Counts(requests=canary.requests + 100)
        stable = Counts(requests=stable.requests + 900)
        if rollout.phase is Phase.PROMOTING:
            break

    assert [event.kind for event in events] == ["started", *["step"] * 6, "promoting"]
    passed = [event for event in events if "analysis" in event.before]
    assert [event.before.split(",")[1].strip() for event in passed] == ["5 %", "25 %", "50 %"]
    for event in passed:
        assert "rise at most" in event.reason
        found = event.numbers["2"]["errors"]
        assert found["n_canary"] > 0
        assert found["n_stable"] > 0


def test_an_analysis_goes_by_what_was_counted_at_its_own_weight() -> None:
    analysis: dict[str, Any] = {"analysis": {}}
    pause: dict[str, Any] = {"pause": {"duration_s": 6}}
    plan = a_plan({"setWeight": 30}, analysis, pause, {"setWeight": 50}, analysis)
    rollout, canary, stable = begun(plan), Counts(), Counts()
    while rollout.weight < 50:
        canary = Counts(requests=canary.requests + 300)
        stable = Counts(requests=stable.requests + 700)
        rollout = advance(rollout, later(counted(canary, stable), rollout)).rollout

    # Nobody asks any more: nothing is known of 50 %, whatever 30 % has shown.
    held = run(rollout, counted(canary, stable), most=100)
    assert held.rollout.step == 4
    assert held.events == ()
    assert held.rollout.reason.startswith("errors: nothing was counted at these weights yet")

    more = counted(
        Counts(requests=canary.requests + 2_000), Counts(requests=stable.requests + 2_000)
    )
    done = run(held.rollout, more, most=3)
    assert done.rollout.phase is Phase.PROMOTING
    assert "0.0% of 2000" in done.events[0].reason


def test_what_was_counted_before_is_no_evidence() -> None:
    first = run(begun(PLAN), counted(BAD), most=3).rollout

    assert run(first, counted(BAD), most=5).rollout.phase is Phase.PAUSED


@pytest.mark.parametrize("jump_s", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_ends_no_step(jump_s: float) -> None:
    plan = a_plan({"setWeight": 5}, {"pause": {"duration_s": 60}})
    paused = run(begun(plan), seen(), most=3).rollout

    jumped = advance(paused, seen(now_s=paused.clock_s + jump_s)).rollout

    assert jumped.step == paused.step
    assert paused.in_step_s <= jumped.in_step_s <= paused.in_step_s + MOST_ELAPSED_S
    assert run(jumped, seen(), most=130).rollout.phase is Phase.PROMOTING


def test_a_mirror_s_differences_hold_and_abort_only_while_mirrored() -> None:
    differing = {"differing": {"kind": "differing"}}
    plan = a_plan(
        {"setMirror": 100}, {"analysis": {}}, {"setMirror": 0}, {"setWeight": 5}, {"analysis": {}},
        analysis={"signals": differing | {"errors": {"kind": "errors"}}},
    )  # fmt: skip
    first = run(begun(plan), seen(), most=2).rollout
    assert (first.mirror, first.weight) == (100, 0)

    agreed = run(first, counted(Counts(mirrored=5_000, differing=0)), most=3).rollout
    assert (agreed.mirror, agreed.weight, agreed.phase) == (0, 5, Phase.PROGRESSING)

    differs = run(first, counted(Counts(mirrored=5_000, differing=1_000)), most=3).rollout
    assert differs.phase is Phase.ABORTED
    assert "differing 20.0% of 5000: at least" in differs.reason


def test_a_webhook_that_words_its_no_anew_each_time_is_one_event() -> None:
    rollout = at_half(plan=with_hooks(PLAN, "confirm-promotion"), approved=True)
    kinds: list[str] = []
    for number in range(3):
        no = Answered(False, True, f"webhook 'gate' answered 403: {number} of 3 have agreed")
        done = advance(rollout, later(seen(told={"gate": no}), rollout))
        rollout, kinds = done.rollout, [*kinds, *(event.kind for event in done.events)]

    assert kinds.count("waiting") == 1
    assert "2 of 3 have agreed" in rollout.reason


def test_whoever_may_call_for_a_rollback_is_heard_during_a_pause_by_hand() -> None:
    paused = at_half(plan=with_hooks(PLAN, "rollback"), paused_by="bob")

    assert [hook.name for hook in asked(paused)] == ["gate"]
    assert advance(paused, seen(told={"gate": YES})).rollout.phase is Phase.ABORTED


def test_a_deadline_that_promotes_asks_whoever_has_to_confirm() -> None:
    plan = a_plan({"setWeight": 5}, {"analysis": {}}, on_deadline="promote", progress_deadline_s=10)
    waiting = begun(with_hooks(plan, "confirm-promotion"))

    undecided = run(waiting, seen(), most=40).rollout
    assert undecided.reason == "waiting for webhook 'gate'"
    assert [hook.name for hook in asked(undecided)] == ["gate"]

    assert run(undecided, seen(told={"gate": YES}), most=3).rollout.phase is Phase.PROMOTING


def test_the_loss_of_the_last_replica_and_its_return_are_events() -> None:
    first = at_half()

    lost = advance(first, seen(versions=of(DOWN)))
    again = advance(lost.rollout, later(seen(versions=of(DOWN)), lost.rollout))
    back = advance(again.rollout, later(seen(), again.rollout))

    assert [event.kind for event in (*lost.events, *again.events, *back.events)] == ["lost", "back"]
    assert lost.events[0].reason.startswith("version 2 lost its last replica: stable has its")
    assert back.rollout.reason == first.reason


@pytest.mark.parametrize(
    ("phases", "phase"),
    [
        (["successful", "failed", "failed"], Phase.ABORTED),
        (["successful", "failed", "successful"], Phase.PROMOTING),
        (["successful"], Phase.PROGRESSING),
    ],
)
def test_threshold_rules_in_argo_s_words(phases: list[str], phase: Phase) -> None:
    rule = {"name": "p99", "query": "up", "interval": "30s", "count": 2, "failureLimit": 1}
    rule |= {"successCondition": "result[0] > 0"}
    plan = a_plan({"setWeight": 50}, {"analysis": {}}, analysis={"rules": [rule]})
    first = run(begun(plan), counted(Counts(), Counts()), most=2).rollout

    measured = tuple(
        Measurement(NOW_S + each, RulePhase(word), 1.0) for each, word in enumerate(phases)
    )
    done = advance(first, later(counted(GOOD, measured={"p99": measured}), first)).rollout

    assert done.phase is phase
    if phase is Phase.ABORTED:
        assert done.reason == "p99: failed (2) > failureLimit (1), last 1"


def test_where_every_signal_is_left_out_an_analysis_waits() -> None:
    late = {"kind": "slow", "quantile": 0.95, "allowed": 0.1}
    plan = a_plan({"setWeight": 50}, {"analysis": {}}, analysis={"signals": {"late": late}})

    first = run(begun(plan), counted(Counts(), Counts()), most=5).rollout

    assert (first.phase, first.weight) == (Phase.PROGRESSING, 50)
    assert first.reason == "no signal can be judged: each was left out"


def test_who_said_yes_before_the_begin_is_not_asked_again() -> None:
    hooks = (a_hook("confirm-rollout"), replace(a_hook("pre-rollout"), name="load"))
    pending = begun(replace(PLAN, hooks=hooks))
    assert [hook.name for hook in asked(pending)] == ["gate"]

    confirmed = advance(pending, seen(told={"gate": YES})).rollout
    assert [hook.name for hook in asked(confirmed)] == ["load"]

    later_no = {"gate": NO, "load": YES}
    assert advance(confirmed, seen(told=later_no)).rollout.begun


def test_what_the_store_keeps_is_everything() -> None:
    rollout = run(begun(a_plan()), counted(Counts(requests=50, errors=1), FEW), most=5).rollout

    assert decode_rollout(encode_rollout(rollout)) == rollout


def test_looking_twice_at_the_same_moment_changes_nothing() -> None:
    look = counted(GOOD)
    once = advance(at_half(), look)

    assert advance(once.rollout, look) == Advanced(once.rollout)
