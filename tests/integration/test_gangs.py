"""Trials of two workers, in real sweeps on a real cluster of two cores."""

import ast
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.sweeping import (
    TIMEOUT_S,
    Bench,
    Head,
    actors_of,
    exit_status,
    ray_head,
    read_until,
    wait_until,
    wait_while_running,
)
from tests.stores import new_mlflow
from tuning.space import Params
from tuning.spec import SweepSpec, check_sweep
from tuning.tracking import SCHEDULE, TRACEBACK, TRIAL_STATE
from tuning.trainers.trainer import Workers
from tuning.work import FoldsWork
from tuning.workload import make_workload

pytestmark = [pytest.mark.ray, pytest.mark.thorough]

JOINED = "tests.tuning.fakes:JoinedTrainer"
TWO = {"num_workers": 2}

PLACEMENT_GROUPS = """
import ray
ray.init(log_to_driver=False, logging_level="ERROR")
print([each["state"] for each in ray.util.placement_group_table().values()])
"""


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    # Ray's sockets lie below this folder, and their paths may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))
    with ray_head(folder) as head:
        yield head
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bench(tmp_path: Path, head: Head) -> Iterator[Bench]:
    new_mlflow(tmp_path / "home")
    (tmp_path / "calls").mkdir()
    bench = Bench(tmp_path, head.folder).on(head)
    yield bench
    # However a sweep ended, nothing of it is left.
    wait_until(lambda: not actors_of(head.pid))
    assert set(placement_groups(bench)) <= {"REMOVED"}


def placement_groups(bench: Bench) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PLACEMENT_GROUPS],
        env={**bench.environment, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    states: list[str] = ast.literal_eval(done.stdout)
    return states


def workers_of(head: Head) -> list[psutil.Process]:
    """Processes of gangs, without the actors of Tune that ask them."""
    return [each for each in actors_of(head.pid) if "Executable" in each.cmdline()[0]]


def calls(bench: Bench) -> Counter[str]:
    """How often worker 1 began a fold, by configuration."""
    return Counter(path.name.rpartition("-")[0] for path in (bench.folder / "calls").glob("*.call"))


@pytest.mark.parametrize(
    ("spec", "params"),
    [
        pytest.param(
            {
                "data": {"bundled": "digits"},
                "trainer": "torch",
                "options": {"image_shape": [1, 8, 8]},
                "resources": {"num_workers": 3, "cpu": 0.5},
            },
            # Of 718 rows, the last batch has two: a worker has none of them.
            {"learning_rate": 0.01, "batch_size": 179, "dropout": 0.3},
            id="torch",
        ),
        pytest.param(
            {"data": {"bundled": "wine"}, "trainer": "tensorflow", "resources": TWO},
            {"learning_rate": 0.01, "batch_size": 15, "dropout": 0.3, "l2": 0.01},
            id="tensorflow",
        ),
    ],
)
def test_workers_score_together_as_one_process_does(
    bench: Bench, spec: dict[str, Any], params: Params
) -> None:
    common = {"name": "s", "folds": {"n_splits": 2}, "epochs": 2, "n_trials": 1}
    spec = {**spec, **common, "space": params}

    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.gang", json.dumps(spec), json.dumps(params)],
        env={**bench.environment, "RAY_AUTH_MODE": "token"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout.splitlines()[-1])
    workload = make_workload(check_sweep(SweepSpec.load(spec), "s"))
    alone = FoldsWork(workload, Workers())
    alone.begin(0, params, None)
    expected = [dict(alone.step()["report"].metrics) for _ in together]
    assert len(together) == 4
    for ours, theirs in zip(together, expected, strict=True):
        for metric, value in theirs.items():
            # A row whose classes are about as likely may get the other one.
            tolerance = 0.002 if metric.endswith("loss") else 0.01
            assert ours[metric] == pytest.approx(value, abs=tolerance), metric


def test_a_population_of_gangs_takes_turns(bench: Bench) -> None:
    path = bench.write(
        trainer="tests.tuning.fakes:EvolvingTrainer",
        epochs=3,
        scheduler={"kind": "pbt"},
        resources=TWO,
        n_trials=2,
    )

    done = bench.run(path)

    assert done.returncode == 0, done.stderr
    for run in bench.trial_runs():
        assert run.data.tags[TRIAL_STATE] == "complete"
        history = json.loads(run.data.tags[SCHEDULE])
        assert sum(segment["epochs"] for segment in history) == 3
        assert run.data.metrics["accuracy"] == history[-1]["x"]


@pytest.mark.parametrize("kind", ["asha", "race"])
def test_gangs_are_stopped_early_as_single_processes_are(bench: Bench, kind: str) -> None:
    fields: dict[str, Any] = {
        "trainer": JOINED,
        "space": {"x": {"choice": [0.9, 0.8, 0.3, 0.2]}},
        "searcher": {"kind": "grid"},
        "max_concurrent": 1,
        "folds": {"n_splits": 4},
        "options": {"noise": 0.02},
        "scheduler": {"kind": kind},
    }

    together = bench.run(bench.write(**fields, resources=TWO))
    alone = bench.run(bench.write(**fields, name="alone"))

    assert (together.returncode, alone.returncode) == (0, 0), together.stderr + alone.stderr
    seen = reports_of(bench, "fake")
    assert seen == reports_of(bench, "alone")
    assert {state for state, _ in seen.values()} == {"complete", "pruned"}
    assert all(n_folds < 4 for state, n_folds in seen.values() if state == "pruned")


def reports_of(bench: Bench, sweep: str) -> dict[str, tuple[str, int]]:
    """What became of each configuration, and after how many folds."""
    return {
        run.data.params["x"]: (
            run.data.tags[TRIAL_STATE],
            len(bench.client.get_metric_history(run.info.run_id, "accuracy")),
        )
        for run in bench.trial_runs(sweep)
    }


def test_a_lost_worker_costs_a_try_and_an_error_costs_the_trial(bench: Bench) -> None:
    path = bench.write(
        trainer=JOINED,
        space={"x": {"choice": [0.1, 0.25, 0.5, 0.9]}},
        searcher={"kind": "grid"},
        max_concurrent=1,
        checkpoint_every_s=0,
        resources=TWO,
        options={
            "folder": str(bench.folder / "calls"),
            "hold": 0,
            "rank": 1,
            "die_below": 0.2,
            "fail_below": 0.3,
        },
    )

    with bench.started(path) as process:
        wait_while_running(process, lambda: calls(bench).total() == 1)
        (killed,) = calls(bench)
        # Worker 1, which is in its first fold.
        (note,) = (bench.folder / "calls").glob("*.call")
        psutil.Process(int(note.name.split(".")[-2])).kill()
        (bench.folder / "calls" / "go").touch()
        out, err = process.communicate(timeout=TIMEOUT_S)

    assert process.returncode == 0, out + err
    tags = {float(run.data.params["x"]): run.data.tags for run in bench.trial_runs()}
    states = {x: each[TRIAL_STATE] for x, each in tags.items()}
    assert states == {0.1: "failed", 0.25: "failed", 0.5: "complete", 0.9: "complete"}
    assert "of 2 workers died" in tags[0.1][TRACEBACK]
    assert "worker 1 of 2: " in tags[0.25][TRACEBACK]
    assert "x is too small: 0.25" in tags[0.25][TRACEBACK]
    for run in bench.trial_runs():
        if float(run.data.params["x"]) >= 0.3:
            # Of both workers one report, which is worker 0's.
            history = bench.client.get_metric_history(run.info.run_id, "size")
            assert [(point.step, point.value) for point in history] == [(0, 2.0), (1, 2.0)]
            assert run.data.metrics["accuracy"] == float(run.data.params["x"])
    # A trial whose worker dies is tried twice, one that raises once.
    expected = Counter({"0.1": 2, "0.25": 1, "0.5": 2, "0.9": 2})
    # Worker 0 may have kept what came of that fold. Then it isn't trained again, and the trial
    # that dies in every fold has got further when it loses the next worker.
    assert calls(bench) - expected <= Counter([killed, "0.1"])
    assert not expected - calls(bench)


def test_an_interrupted_gang_leaves_nothing(bench: Bench, head: Head) -> None:
    options = {"folder": str(bench.folder / "calls"), "hold": 0, "rank": 1}
    path = bench.write(trainer=JOINED, resources=TWO, options=options)

    with bench.started(path) as process:
        wait_while_running(process, lambda: calls(bench).total() == 1)
        assert len(workers_of(head)) == 2
        process.send_signal(signal.SIGINT)
        assert exit_status(process) == 130


def test_a_gang_that_does_not_fit_says_so_and_waits(bench: Bench) -> None:
    path = bench.write(trainer=JOINED, resources={"num_workers": 3})

    with bench.started(path) as process:
        line = read_until(process, lambda line: "no trial fits yet" in line)
        assert "num_workers 3 of cpu 1, gpu 0" in line
        process.send_signal(signal.SIGINT)
        assert exit_status(process) == 130
