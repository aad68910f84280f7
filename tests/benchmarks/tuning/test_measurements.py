"""What the benchmarks of sweeps make of their readings."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.cpu import CpuMeter, machine_s
from benchmarks.nodes import Reading, efficiency
from benchmarks.reaching import cpu_until, make_task, run_loop
from benchmarks.trivial import TrivialTrainer
from benchmarks.tuning import Crowd
from tests.tuning.trials import reports, trial
from tuning.ledger import TrialState
from tuning.trainers.trainer import Fold, Problem

NOTHING = float("-inf")


@pytest.mark.parametrize(
    ("target", "cpu_s"),
    [
        pytest.param(0.9, 4.0, id="when-it-was-first-as-good"),
        pytest.param(0.95, 9.0, id="later"),
        pytest.param(0.96, 12.0, id="never-so-all-of-it"),
    ],
)
def test_seconds_count_until_the_score_was_there(target: float, cpu_s: float) -> None:
    path = [(1.0, NOTHING), (4.0, 0.9), (9.0, 0.95), (12.0, 0.95)]

    assert cpu_until(path, target) == cpu_s


def test_a_loop_ends_at_its_target() -> None:
    path = run_loop(make_task("breast-cancer", 6, 0, target=0.5), learns=True)

    assert len(path) == 1
    assert path[0][0] > 0.0
    assert path[0][1] >= 0.5


def test_efficiency_is_taken_apart() -> None:
    one = Reading(1, took_s=22.0, first_s=2.0, trial_s=1.0, busy=1.0, others=0.0)
    two = Reading(2, took_s=14.5, first_s=2.0, trial_s=1.25, busy=1.0, others=0.0)

    assert list(efficiency([one, two]).values()) == pytest.approx([22 / 29, 0.8, 0.8, 1.0])


@pytest.mark.ray
def test_cpu_of_processes_below_counts_also_when_they_are_gone() -> None:
    meter, machine_before_s = CpuMeter(), machine_s()
    burn = "import time\nwhile time.process_time() < 0.4: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        spent_s = meter.read_s()
        child.communicate(b"\n")

    assert spent_s >= 0.35
    assert meter.read_s() >= spent_s
    assert machine_s() - machine_before_s >= 0.3


def folds() -> Fold:
    return Fold(np.zeros((1, 1)), np.zeros(1), np.zeros((1, 1)), np.zeros(1))


def waiting(until: Path, at_most_s: float) -> TrivialTrainer:
    options: dict[str, Any] = {"until": str(until), "at_most_s": at_most_s}
    return TrivialTrainer(Problem(("x",), (), False, 2, 1, 0, 1, False), options)


def test_a_trial_of_a_crowd_reports_and_then_waits_for_the_others(tmp_path: Path) -> None:
    everybody = tmp_path / "everybody"
    patient, hasty = waiting(everybody, 60.0), waiting(everybody, 0.0)

    for each in (patient, hasty):
        assert list(each.train({"x": 0.5}, folds())) == [{"accuracy": 0.5}]
    with pytest.raises(TimeoutError, match="did not appear within 0 s"):
        list(hasty.train({"x": 0.5}, folds()))
    everybody.touch()
    assert list(patient.train({"x": 0.5}, folds())) == [{"accuracy": 0.5}]


def test_a_crowd_is_let_go_when_all_of_it_runs(tmp_path: Path) -> None:
    everybody = tmp_path / "everybody"
    watch = Crowd(2, everybody)
    running = [
        trial(number, state=TrialState.RUNNING, reports=reports(0.5, of=2), ended_at_s=None)
        for number in range(2)
    ]

    for each in running:
        watch.on_start(each)
    watch.on_report(running[0])
    assert not everybody.exists()
    watch.on_report(running[1])

    assert everybody.exists()
    assert watch.most == 2
    assert watch.all_after_s is not None
    # The interpreter alone takes more than a mebibyte, and less than the machine has.
    assert 2**20 < watch.most_bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
