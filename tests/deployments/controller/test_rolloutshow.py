"""What people see of a rollout, beside what the store keeps of it."""

from msgspec.structs import replace

from deployments.controller.rolloutshow import rollout_view
from deployments.rollout.analysis import Judgement, Verdict
from deployments.rollout.state import Arm, Health, Phase, Rollout
from tests.deployments.rollout.scenes import a_plan, begun


def shown(rollout: Rollout) -> dict[str, str]:
    """Tracks by version, of versions that are hosted no longer."""
    return {side.version: side.track for side in rollout_view(rollout, None).sides}


def test_whoever_is_asked_to_approve_sees_that_the_version_is_away() -> None:
    waits = replace(
        begun(a_plan()), begun=True, phase=Phase.PAUSED, reason="waits until somebody approves"
    )

    away = rollout_view(replace(waits, health={waits.version: Health(is_down=True)}), None)

    assert rollout_view(waits, None).reason == "waits until somebody approves"
    assert away.reason == (
        "it has lost its last replica, and stable answers for it; waits until somebody approves"
    )


def test_no_time_is_left_where_none_is_counted() -> None:
    pending = begun(a_plan(progress_deadline_s=15))

    assert rollout_view(pending, None).deadline_left_s is None
    assert rollout_view(replace(pending, stalled_s=5.0), None).deadline_left_s == 10.0


def test_versions_keep_their_tracks_after_the_end() -> None:
    promoted = replace(begun(a_plan()), phase=Phase.SUCCESSFUL)
    aborted = replace(begun(a_plan()), phase=Phase.ABORTED)
    test = replace(
        begun(a_plan(strategy="ab")),
        phase=Phase.SUCCESSFUL,
        arms=(Arm("2", 33), Arm("3", 0)),
    )

    shadow = replace(begun(a_plan(strategy="shadow")), phase=Phase.SUCCESSFUL)

    assert shown(shadow) == {"1": "stable", "2": "shadow"}
    assert shown(promoted) == {"1": "previous", "2": "canary"}
    assert shown(aborted) == {"1": "stable", "2": "canary"}
    assert shown(test) == {"1": "stable", "2": "arm-1", "3": "arm-2"}


def test_the_verdict_never_contradicts_how_it_ended() -> None:
    judged = {"2": Judgement(Verdict.INCONCLUSIVE, "too few", ())}
    running = replace(begun(a_plan()), begun=True, phase=Phase.PROGRESSING, judgements=judged)
    shadow = replace(running, plan=a_plan(strategy="shadow"))

    assert rollout_view(running, None).verdict is not None
    for phase in (Phase.SUCCESSFUL, Phase.ABORTED):
        assert rollout_view(replace(running, phase=phase), None).verdict is None
    assert rollout_view(replace(shadow, phase=Phase.SUCCESSFUL), None).verdict == "inconclusive"
