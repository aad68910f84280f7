"""Sweeps whose trials, or which themselves, are killed, and what the same command makes of it."""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from tests.integration.sweeping import (
    TIMEOUT_S,
    Bench,
    Head,
    actors_of,
    read_until,
    wait_until,
    wait_while_running,
)
from tests.stores import new_mlflow
from tuning.checkpoints import checkpoint_path
from tuning.crossvalidation import Checkpoint
from tuning.tracking import TRACEBACK, TRIAL_STATE

pytestmark = pytest.mark.ray


def no_process_uses(folder: Path) -> bool:
    commands = []
    for process in psutil.process_iter():
        try:
            commands.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return not any(f"{folder}/" in command for command in commands)


def calls(folder: Path) -> Counter[str]:
    """How often each configuration began a fold."""
    return Counter(path.name.rpartition("-")[0] for path in folder.glob("*.call"))


@pytest.mark.thorough
def test_a_trial_whose_process_dies_is_tried_once_more_and_by_a_resume(
    shared_bench: Bench, tmp_path: Path
) -> None:
    bench = shared_bench
    folder = tmp_path / "calls"
    folder.mkdir()
    path = bench.write(n_trials=1, options={"folder": str(folder), "die_at": [1, 2]})

    lost = bench.run(path)

    assert lost.returncode == 1
    assert list(calls(folder).values()) == [2]
    (run,) = bench.trial_runs()
    assert run.info.status == "FAILED"
    assert "died" in run.data.tags[TRACEBACK]

    resumed = bench.run(path)

    assert resumed.returncode == 0, resumed.stderr
    assert "trial 0: had lost its process, and runs again" in resumed.stdout
    (run,) = bench.trial_runs()
    assert (run.info.status, run.data.tags.get(TRACEBACK)) == ("FINISHED", None)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("trainer", "n_splits", "epochs"), [("FakeTrainer", 4, 1), ("EvolvingTrainer", 2, 2)]
)
def test_a_trial_may_lose_one_process_after_another_if_it_gets_further(
    trainer: str, n_splits: int, epochs: int, shared_bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    path = shared_bench.write(
        n_trials=1,
        trainer=f"tests.tuning.fakes:{trainer}",
        folds={"n_splits": n_splits},
        epochs=epochs,
        checkpoint_every_s=0,
        options={"folder": str(folder), "die_at": [2, 4, 6]},
    )

    done = shared_bench.run(path)

    assert done.returncode == 0, done.stderr
    # Four folds, or as many epochs, and three that had to begin anew.
    assert list(calls(folder).values()) == [7]


@pytest.mark.thorough
def test_a_net_that_is_killed_in_an_epoch_becomes_what_it_would_have_been(
    shared_bench: Bench, head: Head
) -> None:
    bench = shared_bench
    fields = {
        "data": {"bundled": "digits"},
        "trainer": "torch",
        "options": {"image_shape": [1, 8, 8]},
        "space": {"learning_rate": 0.005, "dropout": 0.3, "channels": 64},
        "epochs": 8,
        "n_trials": 1,
        "checkpoint_every_s": 0,
    }
    path = bench.write(**fields)

    with bench.started(path) as process:
        wait_while_running(process, lambda: n_kept(bench) >= 2)
        (worker,) = actors_of(head.pid)
        worker.kill()
        wait_while_running(process, lambda: n_kept(bench) >= 10)
        process.kill()
        process.wait(timeout=TIMEOUT_S)
    assert n_kept(bench) < 15
    resumed = bench.run(path)
    undisturbed = bench.run(bench.write(**fields, name="undisturbed"))

    assert (resumed.returncode, undisturbed.returncode) == (0, 0), resumed.stderr
    (killed,), (other,) = bench.trial_runs(), bench.trial_runs("undisturbed")
    for fold in (0, 1):
        epochs = bench.history(killed, f"fold_{fold}/log_loss")
        assert len(epochs) == 8
        assert epochs == bench.history(other, f"fold_{fold}/log_loss")


def n_kept(bench: Bench) -> int:
    """Reports in the checkpoint of the first trial."""
    path = checkpoint_path(bench.folder / "home" / "sweeps" / "fake", 0)
    if not path.exists():
        return 0
    _, kept = msgspec.msgpack.decode(path.read_bytes(), type=tuple[dict[str, Any], Checkpoint])
    return len(kept.reports)


def test_interrupted_sweep_resumes_where_it_was(bench: Bench, head: Head, tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    folder.mkdir()
    # Two folds a trial: after six calls, at least two trials are complete.
    path = bench.write(n_trials=6, options={"folder": str(folder), "hold": 6})

    with bench.started(path) as process:
        read_until(process, lambda line: "[2/6 done" in line)
        second = bench.run(path)
        # To the whole group, as a terminal does.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 130
    assert errors == "interrupted; the same command resumes the sweep\n"
    assert no_process_uses(bench.ray_folder)
    assert second.returncode == 2
    assert second.stderr == (
        f"{path}: name: 'fake': this sweep is running already, in process {process.pid}\n"
    )
    statuses = Counter(run.info.status for run in bench.trial_runs())
    assert statuses["FINISHED"] >= 2
    assert statuses["RUNNING"] == 0
    assert [run.info.status for run in bench.sweep_runs()] == ["KILLED"]
    finished = {
        repr(float(run.data.params["x"]))
        for run in bench.trial_runs()
        if run.info.status == "FINISHED"
    }

    (folder / "go").touch()
    resumed = bench.on(head).run(path)

    assert resumed.returncode == 0, resumed.stderr
    assert "resuming after" in resumed.stdout
    runs = bench.trial_runs()
    assert [run.data.tags["rayfleet.trial_id"] for run in runs] == list("012345")
    assert {run.data.tags[TRIAL_STATE] for run in runs} == {"complete"}
    assert [run.info.status for run in bench.sweep_runs()] == ["FINISHED"]
    for x, count in calls(folder).items():
        assert count == 2 or x not in finished
    for run in runs:
        history = bench.client.get_metric_history(run.info.run_id, "accuracy")
        assert [point.step for point in history] == [0, 1]


@pytest.mark.thorough
def test_killed_sweep_resumes_and_registers_exactly_one_version(
    bench: Bench, head: Head, tmp_path: Path
) -> None:
    new_mlflow(bench.folder / "home")
    folder = tmp_path / "calls"
    folder.mkdir()
    path = bench.write(n_trials=5, options={"folder": str(folder), "hold": 6})

    with bench.started(path) as process:
        read_until(process, lambda line: "[2/5 done" in line)
        process.kill()
        process.wait(timeout=TIMEOUT_S)
    # Ray's own processes end with the one that started them.
    wait_until(lambda: no_process_uses(bench.ray_folder))
    (folder / "go").touch()
    with bench.on(head).started(path) as process:
        read_until(process, lambda line: line.rstrip().endswith("registering"))
        process.kill()
        process.wait(timeout=TIMEOUT_S)
    last = bench.on(head).run(path)

    assert last.returncode == 0, last.stderr
    runs = bench.trial_runs()
    assert [run.data.tags["rayfleet.trial_id"] for run in runs] == list("01234")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(bench.sweep_runs()) == 1
    (version,) = bench.client.search_model_versions("name = 'fake'")
    champion = bench.client.get_model_version_by_alias("fake", "champion")
    assert champion.version == version.version
    # Two folds each, and the two trials that were killed in the act once more.
    assert sum(calls(folder).values()) <= 5 * 2 + 2 * 2
