from typing import Any

import pytest

from tuning.standing import Standing, spell, standing_lines


def standing(**fields: Any) -> Standing:
    given: dict[str, Any] = {
        "name": "risks",
        "phase": "running",
        "n_trials": 10,
        "counts": {"complete": 3, "failed": 1, "running": 2},
        "metric": "accuracy",
        "elapsed_s": 12.0,
        "trial_s": 5.0,
    }
    return Standing(**(given | fields))


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        pytest.param({}, 15.0, id="six-left-two-at-a-time"),
        pytest.param({"counts": {"running": 2}, "trial_s": 0.0}, None, id="none-has-ended"),
        pytest.param({"counts": {"complete": 3}}, None, id="none-runs"),
        pytest.param({"counts": {"complete": 10}}, 0.0, id="done"),
        pytest.param({"counts": {"complete": 9, "running": 4}}, 5.0, id="fewer-left-than-run"),
    ],
)
def test_time_left(fields: dict[str, Any], left: float | None) -> None:
    assert standing(**fields).remaining_s == left


def test_lines_without_a_best() -> None:
    assert standing_lines(standing(gpu=0.5)) == [
        "risks  ███████████░░░░░░░░░░░░░░░░░ 4/10  running",
        "2 running, 3 complete, 1 failed  12 s elapsed, about 15 s left  using 2 CPU and 1 GPU",
    ]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7300.0, "2 h 01 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert spell(seconds) == words
