from pathlib import Path

from tests.tuning.trials import reports, trial
from tuning.exploring import Segment
from tuning.ledger import Ledger, Trial, TrialState
from tuning.resuming import take_up


def failed(number: int, *, lost: bool, segments: tuple[Segment, ...] = ()) -> Trial:
    return trial(
        number,
        params={"x": number},
        state=TrialState.FAILED,
        reports=reports(0.5, of=2),
        error="it ended",
        lost=lost,
        segments=segments,
    )


def test_what_lost_its_process_runs_again_and_what_raised_does_not(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    member = failed(3, lost=True, segments=(Segment(1, {"x": 3}),))
    others = [trial(0, 0.5, 0.5), failed(1, lost=False), member]
    for each in (*others, failed(2, lost=True)):
        ledger.write_trial(each)

    said = take_up(ledger)

    assert said == ["trial 2: had lost its process, and runs again"]
    again = trial(2, params={"x": 2}, state=TrialState.RUNNING, ended_at_s=None, reports=())
    assert ledger.trials() == [*others[:2], again, member]
    assert take_up(ledger) == []


def test_a_damaged_trial_costs_that_trial_alone(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in range(3):
        ledger.write_trial(trial(number, 0.5))
    (tmp_path / "trials" / "000001.json").write_bytes(b"")

    said = take_up(ledger)

    assert said == ["trial 1: its file is damaged, so its configuration is chosen anew"]
    assert ledger.trials() == [trial(0, 0.5), trial(2, 0.5)]


def test_a_sweep_without_trials_has_nothing_to_take_up(tmp_path: Path) -> None:
    assert take_up(Ledger(tmp_path)) == []
