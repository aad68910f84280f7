from collections.abc import Sequence
from io import StringIO
from pathlib import Path

import pytest

from tests.stores import new_mlflow
from tests.tuning.test_registry import home_at
from tests.tuning.trials import trial
from tuning.console import SweepConsole
from tuning.fitted import local_fit
from tuning.ledger import Ledger, Manifest, Outcome, Trial
from tuning.progress import Progress
from tuning.registration import Registration
from tuning.spec import SweepSpec, check_sweep
from tuning.tracking import Tracker
from tuning.workload import make_workload

pytestmark = pytest.mark.ray  # imports Ray and MLflow's stores, though it starts no cluster

SPEC = SweepSpec.load(
    {
        "name": "s",
        "data": {"bundled": "iris"},
        "folds": {"n_splits": 2},
        "trainer": "tests.tuning.fakes:FakeTrainer",
        "space": {"x": {"uniform": [0.0, 1.0]}},
        "scheduler": {"kind": "fifo"},
        "n_trials": 2,
    }
)


def registered(folder: Path, trials: Sequence[Trial]) -> tuple[Outcome, Trial]:
    """Register the winner, as a process does that finds these trials."""
    task, home, console = check_sweep(SPEC, "s"), home_at(folder), SweepConsole(file=StringIO())
    ledger = Ledger(folder / "s")
    manifest = Manifest("id-of-s", SPEC.tied(), task.table.sha256)
    ledger.write_manifest(manifest)
    for each in trials:
        ledger.write_trial(each)
    tracker = Tracker(home, SPEC, manifest)
    tracker.open(trials)

    with Progress(SPEC, console) as progress:
        registration = Registration(
            task, ledger, manifest, home, console, "s.yaml", False, tracker, progress
        )
        made = registration.register(list(trials), local_fit(make_workload(task)))
    tracker.close()
    return made


def test_a_version_stays_that_of_its_own_trial(tmp_path: Path) -> None:
    new_mlflow(tmp_path)
    first = trial(0, 0.5, 0.5, params={"x": 0.5})
    # The process died before it had noted the outcome, and a trial was run again since.
    better = trial(1, 0.9, 0.9, params={"x": 0.9})

    made, _ = registered(tmp_path, [first])
    outcome, winner = registered(tmp_path, [first, better])

    assert outcome == made
    assert (outcome.version, outcome.trial, winner) == ("1", 0, first)
