"""A sweep's gauges follow its trials."""

import threading
from dataclasses import replace

from tests.fakes import FakeClock
from tuning.gauges import HELP, LABELS, PLANNED, PROGRESS, TRIALS, SweepGauges, repeated
from tuning.ledger import Trial, TrialState


class Board:
    """Holds what the gauges were last put to."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def make(self, name: str) -> "Board.Gauge":
        return Board.Gauge(self, name)

    class Gauge:
        def __init__(self, board: "Board", name: str) -> None:
            self.board, self.name = board, name

        def set(self, value: int | float | None, tags: dict[str, str]) -> None:
            assert value is not None
            assert tuple(tags) == LABELS[self.name]
            self.board.values[self.name, *tags.values()] = value


def trial(number: int, state: TrialState = TrialState.RUNNING) -> Trial:
    return Trial(number, {}, {}, started_at_s=0.0, state=state)


def counts(board: Board) -> dict[str, float]:
    return {key[2]: value for key, value in board.values.items() if key[0] == TRIALS}


def test_trials_are_counted_by_state_those_of_earlier_processes_included() -> None:
    board = Board()
    earlier = [trial(0, TrialState.COMPLETE), trial(1, TrialState.FAILED)]
    gauges = SweepGauges("wine", 10, earlier, board.make)

    gauges.on_start(trial(2))
    gauges.on_start(trial(3))
    gauges.on_end(replace(trial(3), state=TrialState.PRUNED))

    assert counts(board) == {"running": 1, "complete": 1, "pruned": 1, "failed": 1}
    assert board.values[PLANNED, "wine"] == 10


def test_whatever_a_trial_does_is_progress() -> None:
    board, clock = Board(), FakeClock(100.0)
    gauges = SweepGauges("wine", 10, (), board.make, clock)
    moments = [board.values[PROGRESS, "wine"]]

    for tell in (gauges.on_start, gauges.on_report, gauges.on_end):
        clock.advance(5)
        tell(trial(0))
        moments.append(board.values[PROGRESS, "wine"])

    assert moments == [100, 105, 110, 115]


def test_every_gauge_has_help_and_labels() -> None:
    assert HELP.keys() == LABELS.keys() == {TRIALS, PLANNED, PROGRESS}


def test_what_ray_has_forgotten_is_told_again_and_is_no_progress() -> None:
    board, clock = Board(), FakeClock(100.0)
    gauges = SweepGauges("wine", 10, [trial(0, TrialState.COMPLETE)], board.make, clock)
    told = dict(board.values)
    board.values.clear()
    clock.advance(60)
    heard = threading.Event()

    def again() -> None:
        gauges.again()
        heard.set()

    with repeated(again, every_s=0.001):
        assert heard.wait(10)

    assert board.values == told
