"""What a rollout looks like in a terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from deployments.rolloutscreen import NO_BREAK, duration, line, overview, screen
from tests.deployments.controller.desks import make_finding, make_rollout, make_side


def shown(renderable: Any, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text.replace(NO_BREAK, " ")


def test_a_rollout_shows_steps_both_sides_and_its_judge() -> None:
    rollout = make_rollout(step_left_s=61.0)

    text = shown(screen(rollout.model_dump()))

    assert "churn canary to 2 from 1  progressing  weight 5 %" in text
    assert "✓ setWeight 5   ▶ analysis   · setWeight 50" in text
    assert "this step ends in 61 s" in text
    assert "without progress, decided in 9 min 0 s" in text
    assert "19 (0.50%)" in text
    assert "2 (1.00%)" in text
    assert "rise between -1.0% and +4.1%, allowed +1.0%" in text
    assert "mirrored" not in text


def test_mirrored_answers_and_labels_are_shown_where_there_are_any() -> None:
    sides = [make_side("1", "stable", 100), make_side("2", "shadow", 0, mirrored=70, differing=7)]

    text = shown(screen(make_rollout(sides=sides, mirror=50).model_dump()))

    assert "mirror 50 %" in text
    assert "differing" in text
    assert "mistakes" not in text


def test_nothing_is_cut_where_a_terminal_has_80_columns() -> None:
    counts = {"requests": 123_456, "errors": 1_234, "mirrored": 9_876, "labels": 8_765}
    sides = [make_side("11", "stable", 90, **counts), make_side("12", "canary", 10, **counts)]
    rollout = make_rollout(sides=sides).model_dump()

    texts = [shown(screen(rollout), 80), shown(overview([rollout]), 80)]

    assert all("…" not in text for text in texts)
    assert "11 stable" in texts[0]
    assert "1,234 (1.00%)" in texts[0]
    assert "canary 1 → 2" in texts[1]


def test_those_that_go_on_stand_above_those_that_have_ended() -> None:
    ended, active = (
        make_rollout(model=model, phase=phase).model_dump()
        for model, phase in (("a", "successful"), ("b", "paused"))
    )

    text = shown(overview([ended, active]))

    assert text.index("paused") < text.index("successful")


def test_of_many_each_shows_both_sides_errors_the_time_left_and_why() -> None:
    sides = [
        make_side("1", "stable", 95, requests=0),
        make_side("2", "canary", 5, requests=1_000, errors=17),
    ]
    rollouts = [
        make_rollout(model="a", step_left_s=61.0),
        make_rollout(model="b", deadline_left_s=None, sides=sides, reason="errors 1.7%"),
        make_rollout(model="c", phase="aborted", deadline_left_s=None, sides=[], reason=""),
    ]

    rows = shown(overview([each.model_dump() for each in rollouts]), 80).splitlines()

    first, second, third = (
        next(number for number, row in enumerate(rows) if row.startswith(f" {model} "))
        for model in "abc"
    )
    assert rows[first].split()[-3:] == ["1.0%", "61", "s"]
    assert rows[first + 1].split() == ["1:", "0.5%"]
    assert rows[second].split()[-2:] == ["2:", "1.7%"]
    assert rows[third].split()[-2:] == ["5", "%"]
    assert rows[-2:] == ["a: too little data", "b: errors 1.7%"]


def test_an_ended_rollout_has_no_present_step() -> None:
    rollout = make_rollout(phase="aborted", step=1, deadline_left_s=None, reason="errors rose")

    text = shown(screen(rollout.model_dump()))

    assert "aborted\n  errors rose" in text
    assert "▶" not in text
    assert "decided in" not in text


def test_dry_runs_say_so() -> None:
    findings = [make_finding(dry_run=True, verdict="failed")]

    assert "errors (dry run)" in shown(screen(make_rollout(findings=findings).model_dump()))


def test_one_line_where_nothing_can_be_redrawn() -> None:
    assert line(make_rollout().model_dump()) == (
        "churn canary to 2 from 1  progressing  weight 5 %  step 2 of 3  too little data"
    )


def test_whatever_a_reason_says_it_moves_no_cursor() -> None:
    reason = "\x1b[2Jboo [/opt/weights.bin]\nnext \u202eback"
    findings = [make_finding(reason=reason)]
    rollout = make_rollout(reason=reason, findings=findings).model_dump()

    texts = [line(rollout), shown(screen(rollout)), shown(overview([rollout]))]

    for text in texts:
        assert r"\x1b[2Jboo [/opt/weights.bin]\nnext \u202eback" in text
        assert "\x1b" not in text


def test_one_that_passed_all_its_steps_is_at_none_of_them() -> None:
    rollout = make_rollout(phase="successful", step=3).model_dump()

    assert "step 3 of 3" in line(rollout)
    assert "·" not in shown(screen(rollout))
    assert "▶" not in shown(screen(rollout))


def test_arms_stand_in_for_the_version() -> None:
    rollout = make_rollout(strategy="ab", arms=["2", "3"]).model_dump()

    assert line(rollout).startswith("churn ab to 2 3 from 1")
    assert "2 3" in shown(overview([rollout]))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1.0, "0 s"), (59.6, "60 s"), (120.0, "2 min 0 s"), (7_260.0, "2 h 1 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
