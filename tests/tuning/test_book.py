from pathlib import Path

from tests.tuning.trials import reports
from tuning.book import Book
from tuning.budget import Account, BudgetSpec
from tuning.ledger import Ledger, Trial, TrialState
from tuning.spec import SweepSpec
from tuning.suggestion import make_suggestions

SPEC = SweepSpec.model_validate(
    {
        "name": "s",
        "data": {"bundled": "iris"},
        "trainer": "sklearn",
        "space": {
            "estimator": {
                "choice": {"a": {"x": {"uniform": [0.0, 1.0]}}, "b": {"n": {"int": [1, 1000]}}}
            }
        },
        "n_trials": 6,
        "folds": {"n_splits": 2},
        "searcher": {"n_startup_trials": 3},
    }
)


class Listener:
    """Remembers what it heard."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, str]] = []

    def on_start(self, trial: Trial) -> None:
        self.heard.append(("start", trial.number, trial.state))

    def on_report(self, trial: Trial) -> None:
        self.heard.append(("report", trial.number, trial.state))

    def on_end(self, trial: Trial) -> None:
        self.heard.append(("end", trial.number, trial.state))


def open_book(folder: Path, listener: Listener | None = None) -> Book:
    observers = [listener] if listener is not None else []
    return Book(SPEC.n_trials, Ledger(folder), make_suggestions(SPEC), observers, clock=lambda: 7.0)


def complete(book: Book, number: int, score: float = 0.5) -> None:
    for report in reports(score, score):
        book.report(number, report)
    book.end(number)


def test_book_hands_out_as_many_trials_as_the_sweep_has(tmp_path: Path) -> None:
    book = open_book(tmp_path)

    handed_out = [book.next() for _ in range(7)]

    assert [trial.number for trial in handed_out if trial is not None] == [0, 1, 2, 3, 4, 5]
    assert handed_out[6] is None


def test_a_trial_that_waited_for_room_begins_when_it_has_a_process(tmp_path: Path) -> None:
    times = iter([10.0, 60.0, 90.0, 100.0])
    book = Book(1, Ledger(tmp_path), make_suggestions(SPEC), [], clock=lambda: next(times))
    book.next()

    book.begin(0)
    book.report(0, reports(0.5, of=2)[0])
    book.begin(0)  # its process died and it has another
    book.end(0, "lost")

    (trial,) = Ledger(tmp_path).trials()
    assert (trial.started_at_s, trial.ended_at_s) == (60.0, 90.0)


def test_a_number_without_a_trial_is_handed_out_before_new_ones(tmp_path: Path) -> None:
    before = open_book(tmp_path)
    for _ in range(4):
        before.next()
    for number in (0, 2, 3):
        complete(before, number)
    (tmp_path / "trials" / "000001.json").unlink()  # it was damaged

    book = open_book(tmp_path)
    numbers = [trial.number for trial in iter(book.next, None) if trial is not None]

    assert numbers == [1, 4, 5]
    assert [trial.number for trial in book.trials] == [0, 1, 2, 3, 4, 5]
    assert book.n_to_run == 3


def test_end_is_judged_by_the_last_report(tmp_path: Path) -> None:
    book = open_book(tmp_path)
    for _ in range(4):
        book.next()

    complete(book, 0)
    book.report(1, reports(0.2, of=2)[0])
    book.end(1)
    book.end(2, "Traceback: boom")

    states = [trial.state for trial in Ledger(tmp_path).trials()]
    assert states == [
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAILED,
        TrialState.RUNNING,
    ]


def test_resumed_book_starts_with_what_was_left_and_repeats_nothing(tmp_path: Path) -> None:
    before = open_book(tmp_path)
    first = [before.next() for _ in range(3)]
    complete(before, 0)
    before.end(2, "boom")

    after = open_book(tmp_path)
    second = [after.next() for _ in range(5)]

    assert [trial.number for trial in second if trial is not None] == [1, 3, 4, 5]
    assert first[1] is not None
    assert second[0] is not None
    assert second[0].params == first[1].params


def test_resumed_search_goes_on_as_if_never_interrupted(tmp_path: Path) -> None:
    whole = open_book(tmp_path / "whole")
    for number in range(6):
        whole.next()
        complete(whole, number, score=0.1 * number)

    for number in range(6):
        # Every trial in a process of its own.
        book = open_book(tmp_path / "pieces")
        book.next()
        complete(book, number, score=0.1 * number)

    pieces = Ledger(tmp_path / "pieces").trials()
    assert [trial.params for trial in pieces] == [trial.params for trial in whole.trials]
    assert len({str(trial.params) for trial in pieces}) == 6


def test_observers_hear_everything_in_order(tmp_path: Path) -> None:
    listener = Listener()
    book = open_book(tmp_path, listener)

    book.next()
    complete(book, 0)
    book.end(0)

    assert listener.heard == [
        ("start", 0, "running"),
        ("report", 0, "running"),
        ("report", 0, "running"),
        ("end", 0, "complete"),
    ]


def test_trial_that_ray_restarted_forgets_its_first_life(tmp_path: Path) -> None:
    book = open_book(tmp_path)
    book.next()
    lost, kept = reports(0.1, of=2)[0], reports(0.9, 0.7)

    book.report(0, lost)
    for report in kept:
        book.report(0, report)
    book.end(0)

    assert book.trials[0].reports == kept


def test_a_spent_budget_begins_no_new_trial_but_ends_what_was_left(tmp_path: Path) -> None:
    before = open_book(tmp_path)
    before.next()
    before.next()
    complete(before, 0, score=0.9)
    budget = BudgetSpec(target=0.8)
    account = Account(budget, metric="accuracy", mode="max", cpu=1.0)
    ledger = Ledger(tmp_path)

    book = Book(6, ledger, make_suggestions(SPEC), [], clock=lambda: 7.0, account=account)

    assert [trial.number if trial else None for trial in (book.next(), book.next())] == [1, None]
    assert book.enough == "accuracy reached 0.9, the target is 0.8"


def test_trials_know_how_many_had_ended_before_them(tmp_path: Path) -> None:
    book = open_book(tmp_path)

    book.next()
    book.next()
    complete(book, 1)
    book.next()

    assert [trial.known for trial in book.trials] == [0, 0, 1]
