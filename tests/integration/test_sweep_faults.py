"""One sweep that loses, one after the other, all that it stands on."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest

from deployments.processes import tree
from tests.integration.sweeping import (
    TIMEOUT_S,
    Bench,
    Head,
    actors_of,
    kill_all,
    ray_head,
    ray_node,
    wait_while_running,
)
from tests.soak.dependencies import Database, MlflowServer, ObjectStore
from tuning.ledger import Ledger, TrialState
from tuning.spec import read_sweep
from tuning.suggestion import make_suggestions
from tuning.tracking import TRIAL_STATE

pytestmark = [pytest.mark.ray, pytest.mark.thorough]

N_TRIALS = 10
N_FOLDS = 2
SIDE_BY_SIDE = 3
FIRST_GATE = 6
SECOND_GATE = 15

Surroundings = tuple[Bench, MlflowServer, Head, int]
"""The sweep's files, MLflow, a cluster, and the process of its second node."""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Sockets lie below this folder, and their paths may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))
    yield folder
    rmtree(folder, ignore_errors=True)


@pytest.fixture
def surroundings(folder: Path, tmp_path: Path) -> Iterator[Surroundings]:
    """MLflow on PostgreSQL and S3, and a cluster of two nodes, the second one's process last."""
    (folder / "s3" / "models").mkdir(parents=True)
    (folder / "ray").mkdir()
    with ExitStack() as stack:
        store = stack.enter_context(ObjectStore(folder / "s3"))
        database = stack.enter_context(Database(folder / "pg"))
        server = MlflowServer(folder, database.url, "s3://models", store.environment)
        stack.enter_context(server)
        head = stack.enter_context(ray_head(folder / "ray"))
        node = stack.enter_context(ray_node(head))
        bench = replace(Bench(tmp_path, folder / "ray").on(head), tracking_uri=server.url)
        yield bench, server, head, node.pid


def test_a_sweep_survives_the_loss_of_everything_it_stands_on(
    surroundings: Surroundings, folder: Path, tmp_path: Path
) -> None:
    lose_everything(surroundings, folder, tmp_path)


def lose_everything(
    surroundings: Surroundings, folder: Path, tmp_path: Path, mlflow_away_s: float = 0.0
) -> None:
    """Run a sweep that loses MLflow for at least so long, a node, a worker and its driver."""
    bench, server, head, node_pid = surroundings
    calls = tmp_path / "calls"
    calls.mkdir()
    path = bench.write(
        n_trials=N_TRIALS,
        max_concurrent=SIDE_BY_SIDE,
        searcher={"kind": "random"},
        options={"folder": str(calls), "gates": [FIRST_GATE, SECOND_GATE]},
        checkpoint_every_s=0,
    )

    with bench.started(path) as process:
        # All that run wait at the gate.
        wait_while_running(process, lambda: calls_of(calls).total() == FIRST_GATE + SIDE_BY_SIDE)
        assert actors_of(node_pid), [each.cmdline() for each in tree(node_pid)]
        server.kill()
        back_at_s = time.monotonic() + mlflow_away_s
        kill_all(node_pid)
        actors_of(head.pid)[0].kill()
        (calls / f"go-{FIRST_GATE}").touch()
        # MLflow is away, a node and a worker are gone, and trials go on.
        wait_while_running(
            process,
            lambda: calls_of(calls).total() >= SECOND_GATE + 2 and time.monotonic() >= back_at_s,
        )
        server.start()
        # What MLflow missed is written once it is back.
        wait_while_running(
            process, lambda: len(ended(tmp_path)) >= 4 and shown(bench) == ended(tmp_path)
        )
        before, calls_before = ended(tmp_path), calls_of(calls)
        process.kill()
        process.wait(timeout=TIMEOUT_S)

    (calls / f"go-{SECOND_GATE}").touch()
    last = bench.run(path)

    assert last.returncode == 0, last.stderr
    draws = undisturbed_draws(path)
    assert_runs_are_those_of_an_undisturbed_sweep(bench, draws)
    for number in before:
        assert calls_of(calls)[draws[number]] == calls_before[draws[number]]
    # Nor were finished folds repeated: what was lost are the folds in progress.
    assert calls_of(calls).total() <= N_TRIALS * N_FOLDS + 2 + SIDE_BY_SIDE
    assert list((folder / "s3" / "models").rglob("MLmodel"))


def undisturbed_draws(path: Path) -> list[float]:
    """What each trial's x is, whatever happens: `random` follows from seed and number."""
    suggestions = make_suggestions(read_sweep(path))
    return [float(str(suggestions.draw(number)[0]["x"])) for number in range(N_TRIALS)]


def assert_runs_are_those_of_an_undisturbed_sweep(bench: Bench, draws: list[float]) -> None:
    (parent,) = bench.sweep_runs()
    runs = bench.trial_runs()
    assert parent.info.status == "FINISHED"
    assert [run.data.tags["rayfleet.trial_id"] for run in runs] == list(map(str, range(N_TRIALS)))
    assert {run.data.tags[TRIAL_STATE] for run in runs} == {"complete"}
    assert [float(run.data.params["x"]) for run in runs] == draws
    for run, x in zip(runs, draws, strict=True):
        history = bench.client.get_metric_history(run.info.run_id, "accuracy")
        assert [(point.step, point.value) for point in history] == [(0, x), (1, x)]
    (version,) = bench.client.search_model_versions("name = 'fake'")
    assert version.tags["rayfleet.trial_id"] == str(draws.index(max(draws)))


def ended(folder: Path) -> set[int]:
    """Trials that the ledger knows to be complete."""
    trials = Ledger(folder / "home" / "sweeps" / "fake").trials()
    return {each.number for each in trials if each.state is TrialState.COMPLETE}


def shown(bench: Bench) -> set[int]:
    """Trials that MLflow shows as finished."""
    finished = [run for run in bench.trial_runs() if run.info.status == "FINISHED"]
    return {int(run.data.tags["rayfleet.trial_id"]) for run in finished}


def calls_of(folder: Path) -> Counter[float]:
    """How often each x began a fold."""
    return Counter(float(path.name.rpartition("-")[0]) for path in folder.glob("*.call"))
