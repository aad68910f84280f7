import io

import pytest

from tests.tuning.reporting.sweeps import make_facts
from tests.tuning.trials import reports, trial
from tuning.console import SweepConsole
from tuning.ledger import TrialState
from tuning.progress import Progress

SPEC = make_facts([]).spec


def test_a_line_for_each_end_without_a_terminal() -> None:
    shown = io.StringIO()
    clock = iter([10.0, 10.5, 12.0]).__next__

    with Progress(SPEC, SweepConsole(file=shown, width=20), clock=clock) as progress:
        progress.say("running")
        progress.on_start(trial(0, state=TrialState.RUNNING, reports=(), ended_at_s=None))
        progress.on_end(trial(0, 0.5, 0.75, params={"x": 0.123456}))

    score = "accuracy 0.6250 ± 0.1250"
    assert shown.getvalue().splitlines() == [
        "   0.5 s  running",
        f"   2.0 s  trial   0 complete {score}  x=0.1235  [1/6 done, best {score} (trial 0)]",
    ]


def test_what_a_terminal_shows_is_summed_up() -> None:
    progress = Progress(
        SPEC, SweepConsole(file=io.StringIO()), clock=iter([1.0, 2.0, 3.0, 31.0]).__next__
    )
    progress.on_end(trial(0, 0.5, 0.5, params={"x": 1.0}, started_at_s=5.0, ended_at_s=9.0))
    progress.on_end(trial(1, 0.9, 0.8, params={"x": 2.0}, started_at_s=5.0, ended_at_s=11.0))
    progress.on_start(trial(2, state=TrialState.RUNNING, reports=reports(0.1, of=4),
                            ended_at_s=None))  # fmt: skip

    standing = progress.standing()

    assert standing.counts == {"complete": 2, "running": 1}
    assert (standing.best_trial, standing.best_params) == (1, {"x": 2.0})
    assert standing.best == pytest.approx(0.85)
    assert (standing.elapsed_s, standing.trial_s) == (30.0, 5.0)
    assert standing.remaining_s == 20.0
    assert standing.cpu == 2.0


def test_a_terminal_shows_it_live() -> None:
    shown = io.StringIO()

    with Progress(SPEC, SweepConsole(file=shown, force_terminal=True, width=120)) as progress:
        progress.say("2 trials to run")
        progress.on_end(trial(0, 0.5, 0.75))

    assert "1/6  2 trials to run" in shown.getvalue()
    assert "best accuracy 0.6250" in shown.getvalue()
