import errno
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import Searcher

from tests.documents import REPOSITORY
from tests.tuning.retention import N_TRIALS
from tests.tuning.trials import reports, trial
from tuning.book import Book
from tuning.checkpoints import CheckpointFile, checkpoint_path
from tuning.crossvalidation import Checkpoint
from tuning.folds import FoldsSpec
from tuning.ledger import Ledger, TrialState
from tuning.quiet import SILENCE
from tuning.scheduler import SchedulerSpec
from tuning.spec import SweepSpec, check_sweep
from tuning.stopping import Halving, Never, Race
from tuning.suggestion import make_suggestions
from tuning.sweep import (
    HOLDING_TRIALS,
    BookKeeper,
    BookSearcher,
    Guard,
    RuledScheduler,
    seasoned_rule,
)

pytestmark = pytest.mark.ray

SPEC = SweepSpec.model_validate(
    {
        "name": "s",
        "data": {"bundled": "iris"},
        "trainer": "sklearn",
        "space": {"estimator": "logistic_regression"},
        "n_trials": 5,
        "folds": {"n_splits": 2},
        "scheduler": {"grace_period": 1, "reduction_factor": 2},
    }
)


@pytest.mark.parametrize(
    ("earlier", "mean", "stops"),
    [
        pytest.param([], 0.1, False, id="nothing-to-compare-with"),
        pytest.param([0.8, 0.9], 0.1, True, id="worse-than-before-the-resume"),
        pytest.param([0.8, 0.9], 0.95, False, id="better-than-before-the-resume"),
    ],
)
def test_resumed_rule_knows_the_earlier_trials(
    earlier: list[float], mean: float, stops: bool
) -> None:
    done = [trial(number, score, score) for number, score in enumerate(earlier)]
    split = check_sweep(SPEC, "s").split

    rule = seasoned_rule(SPEC, split, done)

    assert rule.stops(trial(9), reports(mean, of=2)[0]) is stops


def test_resumed_rule_knows_what_failed_trials_had_reported() -> None:
    failed = [
        trial(number, state=TrialState.FAILED, reports=reports(score, of=2))
        for number, score in enumerate([0.8, 0.9])
    ]

    rule = seasoned_rule(SPEC, check_sweep(SPEC, "s").split, failed)

    assert rule.stops(trial(9), reports(0.1, of=2)[0]) is True


def test_resumed_rule_races_against_the_first_of_equals() -> None:
    racing = SPEC.model_copy(
        update={"scheduler": SchedulerSpec(kind="race"), "folds": FoldsSpec(n_splits=4)}
    )
    late = trial(0, 0.6, 0.8, 0.9, 0.7, ended_at_s=9.0)
    early = trial(1, 0.9, 0.9, 0.6, 0.6, ended_at_s=5.0)

    rule = seasoned_rule(racing, check_sweep(SPEC, "s").split, [late, early])

    assert isinstance(rule, Race)
    assert rule._best == [0.9, 0.9, 0.6, 0.6]


def test_the_rule_knows_the_bounds_of_the_sweep() -> None:
    bounded = SPEC.model_copy(update={"constraints": ("accuracy <= 0.7",)})
    done = [trial(number, score, score) for number, score in enumerate([0.8, 0.9])]

    rule = seasoned_rule(bounded, check_sweep(SPEC, "s").split, done)

    assert rule.stops(trial(9), reports(0.1, of=2)[0]) is False


@pytest.mark.parametrize(
    ("statuses", "chosen"),
    [
        pytest.param(["RUNNING", "PENDING", "PENDING"], 2, id="the-newest-has-no-actor-yet"),
        pytest.param(["PENDING", "RUNNING", "TERMINATED"], 0, id="only-one-waits"),
        pytest.param(["RUNNING", "ERROR"], None, id="none-waits"),
        pytest.param([], None, id="none-at-all"),
    ],
)
def test_a_free_actor_goes_to_the_newest_trial(
    tmp_path: Path, statuses: list[str], chosen: int | None
) -> None:
    trials = [
        SimpleNamespace(status=status, config={"number": number})
        for number, status in enumerate(statuses)
    ]
    nothing: dict[str, Any] = dict.fromkeys(HOLDING_TRIALS, frozenset())
    nothing["_trial_to_actor"] = {}
    controller: Any = SimpleNamespace(get_live_trials=lambda: trials, **nothing)
    book = Book(1, Ledger(tmp_path), make_suggestions(SPEC), [])

    found: Any = RuledScheduler(Never(), book).choose_trial_to_run(controller)

    assert found is (None if chosen is None else trials[chosen])


@pytest.mark.parametrize("mode", ["max", "min"])
@pytest.mark.parametrize(("grace", "factor"), [(1, 2.0), (2, 3.0), (1, 4.0)])
def test_halving_stops_what_tunes_own_asha_stops(mode: Any, grace: int, factor: float) -> None:
    longest = 20
    theirs = ASHAScheduler(
        time_attr="progress", metric="mean", mode=mode, max_t=longest,
        grace_period=grace, reduction_factor=factor,
    )  # fmt: skip
    ours = Halving(maximize=mode == "max", grace=grace, factor=factor, longest=longest, brackets=1)
    generator = random.Random(7)
    controller: Any = None
    stopped = 0

    for number in range(60):
        shadow: Any = SimpleNamespace(trial_id=str(number))
        theirs.on_trial_add(controller, shadow)
        scores = [generator.random() for _ in range(longest)]
        for report in reports(*scores)[:-1]:
            result = {"progress": report.progress, "mean": report.mean}
            decision = theirs.on_trial_result(controller, shadow, result)
            assert ours.stops(trial(number), report) == (decision == "STOP")
            if decision == "STOP":
                stopped += 1
                break

    assert 0 < stopped < 60


@pytest.mark.parametrize("told", [True, False])
def test_a_trial_whose_process_died_is_told_why_if_ray_knows(tmp_path: Path, told: bool) -> None:
    book = Book(1, Ledger(tmp_path), make_suggestions(SPEC), [])
    BookSearcher(book, Guard(threading.Event())).suggest("a")
    file = tmp_path / "error.txt"
    file.write_text("worker 1 of 2 workers died: SIGKILL")
    keep_checkpoint(tmp_path, 0)
    lost = SimpleNamespace(config={"number": 0}, error_file=str(file) if told else None)

    BookKeeper(book, Never(), Guard(threading.Event()), tmp_path).on_trial_error(0, [], lost)

    assert book.trial(0).state is TrialState.FAILED
    expected = "worker 1 of 2 workers died: SIGKILL" if told else "the trial's process died"
    assert book.trial(0).error == expected
    assert book.trial(0).lost  # so a resume runs it again, from its checkpoint
    assert checkpoint_path(tmp_path, 0).exists()


def test_a_loss_counts_until_the_trial_gets_further_than_ever(tmp_path: Path) -> None:
    book = Book(1, Ledger(tmp_path), make_suggestions(SPEC), [])
    guard = Guard(threading.Event())
    BookSearcher(book, guard).suggest("a")
    keeper = BookKeeper(book, Never(), guard, tmp_path)
    lossy = SimpleNamespace(config={"number": 0}, run_metadata=SimpleNamespace(num_failures=0))
    counted = []

    # Its process dies after each of these; a checkpoint makes it report some of them again.
    for report in (*reports(0.5, 0.5, 0.5), *reports(0.5, 0.5, 0.5, 0.5)):
        result = {"report": report, "progress": report.progress}
        keeper.on_trial_result(0, [], lossy, result)
        counted.append(lossy.run_metadata.num_failures)
        lossy.run_metadata.num_failures += 1

    assert counted == [0, 0, 0, 1, 2, 3, 0]


def test_a_full_disk_ends_the_sweep_and_is_not_lost(tmp_path: Path) -> None:
    book = Book(3, Ledger(tmp_path), make_suggestions(SPEC), [])
    stop = threading.Event()
    guard = Guard(stop)
    searcher = BookSearcher(book, guard)
    assert searcher.suggest("a")["number"] == 0
    keep_checkpoint(tmp_path, 0)
    for number in (0, 1):
        (tmp_path / "trials" / f"{number:06d}.part").symlink_to("/dev/full")

    assert searcher.suggest("b") == Searcher.FINISHED
    keeper = BookKeeper(book, Never(), guard, tmp_path)
    ended = SimpleNamespace(config={"number": 0}, run_metadata=SimpleNamespace())
    keeper.on_trial_complete(0, [], ended)

    assert guard.error is not None
    assert guard.error.errno == errno.ENOSPC
    assert stop.is_set()
    # What was written before is whole: the next resume runs that trial.
    (left,) = Ledger(tmp_path).trials()
    assert (left.number, left.state) == (0, TrialState.RUNNING)
    assert checkpoint_path(tmp_path, 0).exists()


def keep_checkpoint(folder: Path, number: int) -> None:
    CheckpointFile(checkpoint_path(folder, number), 0.0, {}).offer(
        lambda: Checkpoint(reports(0.5, of=2))
    )


def test_the_checkpoint_of_a_trial_goes_with_its_end(tmp_path: Path) -> None:
    guard = Guard(threading.Event())
    book = Book(2, Ledger(tmp_path), make_suggestions(SPEC), [])
    for number in range(2):
        BookSearcher(book, guard).suggest(str(number))
        keep_checkpoint(tmp_path, number)
    ended = SimpleNamespace(config={"number": 0}, run_metadata=SimpleNamespace())

    BookKeeper(book, Never(), guard, tmp_path).on_trial_complete(0, [], ended)

    assert [checkpoint_path(tmp_path, number).exists() for number in range(2)] == [False, True]


def test_tune_lets_go_of_trials_that_have_ended(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.tuning.retention", tmp_path / "sweep"],
        cwd=REPOSITORY,
        env={**os.environ, **SILENCE},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    states = [trial.state for trial in Ledger(tmp_path / "sweep").trials()]
    assert states == [TrialState.COMPLETE] * N_TRIALS
    # Two that run, what waits for them, and those that have ended in the same turn.
    assert 0 < int(done.stdout.splitlines()[-1]) <= 8
