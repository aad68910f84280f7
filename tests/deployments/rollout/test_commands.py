"""What people may ask of a rollout, and what is refused."""

import pytest
from msgspec.structs import replace

from deployments.rollout.aftermath import Task, asked, due, is_settled, kept_by, with_done
from deployments.rollout.commands import Action, command
from deployments.rollout.state import Phase, Rollout
from tests.deployments.rollout.scenes import NOW_S, a_hook, a_plan, begun, run, seen, with_hooks

PLAN = a_plan({"setWeight": 50}, {"pause": {}}, {"setWeight": 60})
PENDING = begun(PLAN)
WAITING = run(PENDING, seen(), most=3).rollout
USER_PAUSED = replace(WAITING, phase=Phase.PAUSED, paused_by="bob", approved=True)
PROMOTING = replace(WAITING, phase=Phase.PROMOTING, weight=100)
OVER = replace(WAITING, phase=Phase.ABORTED, reason="bad")
AB = run(begun(a_plan(strategy="ab"), versions=("2", "3")), seen(), most=3).rollout


@pytest.mark.parametrize(
    ("rollout", "action", "phase"),
    [
        (PENDING, Action.PAUSE, Phase.PAUSED),
        (PENDING, Action.ABORT, Phase.ABORTED),
        (WAITING, Action.APPROVE, Phase.PAUSED),
        (WAITING, Action.PROMOTE, Phase.PROMOTING),
        (WAITING, Action.ABORT, Phase.ABORTED),
        (USER_PAUSED, Action.RESUME, Phase.PROGRESSING),
        (USER_PAUSED, Action.PROMOTE, Phase.PROMOTING),
        (replace(PENDING, phase=Phase.PAUSED, paused_by="bob"), Action.RESUME, Phase.PENDING),
        (AB, Action.ABORT, Phase.ABORTED),
    ],
)
def test_what_is_asked_is_done_and_written_down(
    rollout: Rollout, action: Action, phase: Phase
) -> None:
    done = command(rollout, action, "ada", NOW_S, "as agreed")

    assert not isinstance(done, str)
    assert done.rollout.phase is phase
    (event,) = done.events
    assert (event.actor, event.before) == ("ada", str(rollout))
    assert event.reason.endswith("by ada: as agreed")
    if phase is Phase.ABORTED:
        assert done.rollout.judged
        assert done.rollout.weight == 0


def test_an_approval_leaves_a_pause_by_hand_and_its_reason() -> None:
    paused = command(WAITING, Action.PAUSE, "bob", NOW_S, "lunch")
    assert not isinstance(paused, str)

    approved = command(paused.rollout, Action.APPROVE, "ada", NOW_S)

    assert not isinstance(approved, str)
    assert approved.rollout.phase is Phase.PAUSED
    assert approved.rollout.reason == "approved by ada; still paused by bob: lunch"
    resumed = command(approved.rollout, Action.RESUME, "bob", NOW_S)
    assert not isinstance(resumed, str)
    assert run(resumed.rollout, seen(), most=3).rollout.phase is Phase.PROMOTING


@pytest.mark.parametrize(
    ("rollout", "action", "words"),
    [
        (USER_PAUSED, Action.PAUSE, "paused already, by bob"),
        (WAITING, Action.RESUME, "nobody has paused it; it waits to be approved"),
        (PENDING, Action.RESUME, "nobody has paused it"),
        (PENDING, Action.APPROVE, "waits for no approval"),
        (USER_PAUSED, Action.APPROVE, "waits for no approval"),
        (PENDING, Action.PROMOTE, "its rollout has not begun yet: asked for"),
        (AB, Action.PROMOTE, "an A/B test promotes nothing"),
        *[(PROMOTING, action, "being promoted already") for action in Action],
        *[(OVER, action, "its rollout is over: aborted, bad") for action in Action],
    ],
)
def test_what_cannot_be_is_refused(rollout: Rollout, action: Action, words: str) -> None:
    refusal = command(rollout, action, "ada", NOW_S)

    assert isinstance(refusal, str)
    assert words in refusal


def test_a_paused_rollout_goes_on_where_it_was() -> None:
    paused = command(PENDING, Action.PAUSE, "ada", NOW_S)
    assert not isinstance(paused, str)
    still = run(paused.rollout, seen(), most=5).rollout
    assert (still.phase, still.begun) == (Phase.PAUSED, False)

    resumed = command(still, Action.RESUME, "ada", NOW_S)
    assert not isinstance(resumed, str)
    waiting = run(resumed.rollout, seen(), most=5).rollout
    assert waiting.waits_for_approval

    approved = command(waiting, Action.APPROVE, "ada", NOW_S)
    assert not isinstance(approved, str)
    assert run(approved.rollout, seen(), most=5).rollout.phase is Phase.PROMOTING


def test_the_aftermath_is_due_until_it_was_done() -> None:
    plan = replace(with_hooks(PLAN, "post-rollout"), keep_previous_s=60.0)
    over = replace(WAITING, plan=plan, phase=Phase.SUCCESSFUL, judged=True, clock_s=NOW_S)
    assert [effect.key for effect in due(over)] == ["clear", "tag", "tell:gate"]
    assert kept_by(over) == "1"

    for effect in due(over):
        assert not is_settled(over)
        over = with_done(over, effect.key)

    assert due(over) == ()
    assert not is_settled(over)
    assert is_settled(run(over, seen(), most=1).rollout) is False
    assert is_settled(replace(over, kept_s=60.0))
    assert kept_by(replace(over, phase=Phase.ABORTED)) is None
    assert [effect.task for effect in due(PROMOTING)] == [Task.PROMOTE]
    assert due(WAITING) == ()


@pytest.mark.parametrize(
    ("kind", "rollout", "is_asked"),
    [
        ("confirm-rollout", PENDING, True),
        ("confirm-rollout", WAITING, False),
        ("rollback", PENDING, True),
        ("rollback", WAITING, True),
        ("rollback", OVER, False),
        ("confirm-promotion", WAITING, False),
        ("confirm-promotion", replace(WAITING, step=3), True),
        ("rollout", WAITING, False),
        ("event", WAITING, False),
    ],
)
def test_webhooks_are_asked_when_their_answer_decides(
    kind: str, rollout: Rollout, is_asked: bool
) -> None:
    plan = with_hooks(PLAN, kind)

    assert asked(replace(rollout, plan=plan)) == ((a_hook(kind),) if is_asked else ())
