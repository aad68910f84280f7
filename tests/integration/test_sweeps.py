import json
import secrets
import subprocess
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.collecting import Span, collecting
from tests.integration.hosting import eventually
from tests.integration.sweeping import (
    TIMEOUT_S,
    Bench,
)
from tests.stores import new_mlflow
from tuning.ledger import Ledger, Manifest, TrialState
from tuning.reporting.facts import read_ending
from tuning.spec import check_sweep, read_sweep
from tuning.suggestion import make_suggestions
from tuning.tracking import PARAMS, REFUSED, SCHEDULE, TRACEBACK, TRIAL_STATE

pytestmark = pytest.mark.ray


def test_sweep_registers_its_winner_once(shared_bench: Bench) -> None:
    bench = shared_bench
    path = bench.write(
        name="irises",
        model="iris",
        trainer="sklearn",
        space={"estimator": "logistic_regression", "C": {"loguniform": [0.1, 10.0]}},
        n_trials=3,
        max_concurrent=1,
    )
    first = bench.run(path)

    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert "iris version 1 @champion" in first.stdout
    (parent,) = bench.sweep_runs("irises")
    runs = bench.trial_runs("irises")
    assert (parent.info.status, len(runs)) == ("FINISHED", 3)
    (best,) = [run for run in runs if run.data.tags["rayfleet.trial_id"] == "0"]
    history = bench.client.get_metric_history(best.info.run_id, "accuracy")
    assert [point.step for point in history] == [0, 1]
    assert {"accuracy_mean", "accuracy_std"} <= set(best.data.metrics)

    version = bench.client.get_model_version_by_alias("iris", "champion")
    tags = version.tags
    assert tags["rayfleet.sweep_run_id"] == parent.info.run_id
    assert tags["rayfleet.trial_run_id"] in {run.info.run_id for run in runs}
    assert json.loads(tags["rayfleet.classes"]) == ["setosa", "versicolor", "virginica"]
    assert len(json.loads(tags["rayfleet.fold_scores"])) == 2
    assert float(tags["rayfleet.holdout_score"]) >= 0.9

    # The same command shows the result, and changes nothing.
    again = bench.run(path)

    assert again.returncode == 0
    assert "has finished before" in again.stdout
    assert "iris version 1 @champion" in again.stdout
    assert len(bench.client.search_model_versions("name = 'iris'")) == 1
    assert len(bench.sweep_runs("irises")) == 1

    # A changed spec is no resume; a restart is a new version, as the challenger.
    changed = bench.run(path, "--seed", "1")

    assert changed.returncode == 2
    assert changed.stderr == (
        f"{path}: seed: 1, but the sweep 'irises' began with 0: undo the change, "
        "give the sweep another name, or say --restart\n"
    )

    restarted = bench.run(path, "--seed", "1", "--restart")

    assert restarted.returncode == 0, restarted.stderr
    assert "iris version 2 @challenger" in restarted.stdout
    assert len(bench.sweep_runs("irises")) == 2


@pytest.mark.thorough
def test_a_sweep_s_spans_reach_a_collector(shared_bench: Bench, tmp_path: Path) -> None:
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)
    variables = {"TRACEPARENT": f"00-{trace}-{caller}-01"}
    with collecting(tmp_path) as collected:
        path = shared_bench.write(n_trials=2, traces={"endpoint": collected.endpoint})

        finished = shared_bench.run(path, variables=variables)
        assert finished.returncode == 0, finished.stderr
        eventually("spans", lambda: len(collected.of(trace)) == 1 + 2 + 2 * 2)

    by_name: dict[str, list[Span]] = {"sweep": [], "trial": [], "fold": []}
    for span in collected.of(trace):
        by_name[span.name].append(span)
    (sweep,) = by_name["sweep"]
    assert sweep.parent_id == caller
    assert sweep.attributes["rayfleet.sweep"] == "fake"
    runs = {run.info.run_id: run for run in shared_bench.trial_runs()}
    assert {span.attributes["mlflow.run_id"] for span in by_name["trial"]} == runs.keys()
    assert {span.attributes["rayfleet.state"] for span in by_name["trial"]} == {"complete"}
    assert {span.parent_id for span in by_name["trial"]} == {sweep.span_id}
    below = Counter((span.parent_id, span.attributes["rayfleet.fold"]) for span in by_name["fold"])
    assert below == {(span.span_id, fold): 1 for span in by_name["trial"] for fold in (0, 1)}
    for span in (*by_name["trial"], *by_name["fold"]):
        assert sweep.began_ns <= span.began_ns <= span.ended_ns <= sweep.ended_ns


@pytest.mark.thorough
def test_a_full_disk_is_one_line_and_nothing_is_lost(shared_bench: Bench) -> None:
    bench = shared_bench
    path = bench.write(n_trials=2, max_concurrent=1)
    folder = bench.folder / "home" / "sweeps" / "fake"
    ledger = Ledger(folder)

    def stopped_by(file: Path) -> None:
        unfinished = file.with_suffix(".part")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        unfinished.symlink_to("/dev/full")
        stopped = bench.run(path)
        line = f"{file}: No space left on device; the same command goes on\n"
        assert (stopped.returncode, stopped.stderr) == (1, line)
        unfinished.unlink()

    stopped_by(folder / "sweep.json")
    task = check_sweep(read_sweep(path), "fake")
    ledger.write_manifest(Manifest("begun", task.spec.tied(), task.table.sha256))
    stopped_by(folder / "trials" / "000001.json")

    assert [trial.state for trial in ledger.trials()] == [TrialState.COMPLETE]
    # Once there is room, it does.
    assert bench.run(path).returncode == 0
    assert [run.info.status for run in bench.trial_runs()] == ["FINISHED"] * 2


@pytest.mark.thorough
def test_failing_trials_are_recorded_and_actors_are_reused(shared_bench: Bench) -> None:
    bench = shared_bench
    path = bench.write(n_trials=20, options={"fail_below": 0.3, "nan_above": 0.9})

    done = bench.run(path)

    assert done.returncode == 0, done.stderr
    runs = bench.trial_runs()
    failed = [run for run in runs if run.info.status == "FAILED"]
    assert len(runs) == 20
    assert {float(run.data.params["x"]) >= 0.9 for run in failed} == {False, True}
    assert len(failed) < 20
    assert {run.info.status for run in runs} == {"FAILED", "FINISHED"}
    for run in failed:
        is_nan = float(run.data.params["x"]) >= 0.9
        reason = "metric 'accuracy' is nan" if is_nan else "x is too small"
        assert f"ValueError: {reason}" in run.data.tags[TRACEBACK]
        artifacts = bench.client.list_artifacts(run.info.run_id)
        assert [artifact.path for artifact in artifacts] == ["traceback.txt"]
    pids = {run.data.metrics["pid"] for run in runs if "pid" in run.data.metrics}
    assert len(pids) <= 2 + len(failed)
    # Nothing of Tune's own.
    assert {key for run in runs for key in run.data.metrics} == {
        *("accuracy", "accuracy_mean", "accuracy_std"),
        *("pid", "pid_mean", "pid_std"),
    }


def test_sweep_in_which_all_trials_fail_registers_nothing(shared_bench: Bench) -> None:
    bench = shared_bench
    path = bench.write(options={"fail_below": 2.0}, max_concurrent=1)

    done = bench.run(path)

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "none of 4 trials completed, nothing was registered" in done.stderr
    assert "--restart runs anew" in done.stderr
    assert bench.client.search_registered_models() == []
    assert [run.info.status for run in bench.trial_runs()] == ["FAILED"] * 4
    (parent,) = bench.sweep_runs()
    assert parent.info.status == "FAILED"
    assert parent.data.tags["rayfleet.refused"] in done.stderr
    assert "report.html" in [each.path for each in bench.client.list_artifacts(parent.info.run_id)]
    (report,) = bench.folder.glob("home/sweeps/*/report.html")
    assert "None of 4 trials completed." in report.read_text()


@pytest.mark.thorough
def test_a_winner_that_cannot_be_refitted_is_one_line(shared_bench: Bench) -> None:
    bench = shared_bench
    path = bench.write(n_trials=2, options={"refit_raises": True}, max_concurrent=1)

    done = bench.run(path)

    assert done.returncode == 1
    (parent,) = bench.sweep_runs()
    winner = max(bench.trial_runs(), key=lambda run: run.data.metrics["accuracy_mean"])
    assert done.stderr == (
        f"fake: trial {winner.data.tags['rayfleet.trial_id']} won, but its refit on all training "
        "rows could not be registered: ValueError: refit: no; the traceback is in MLflow, "
        f"under run {parent.info.run_id}\n"
    )
    assert parent.info.status == "FAILED"
    artifacts = {each.path for each in bench.client.list_artifacts(parent.info.run_id)}
    assert artifacts == {"sweep.json", "traceback.txt"}
    assert bench.client.search_registered_models() == []


@pytest.mark.thorough
def test_a_budget_ends_a_sweep_and_a_bound_decides_who_wins(shared_bench: Bench) -> None:
    path = shared_bench.write(
        space={"x": {"choice": [0.1, 0.2, 0.6, 0.9]}},
        searcher={"kind": "grid"},
        max_concurrent=1,
        budget={"target": 0.5},
        constraints=["accuracy <= 0.7"],
        seed=14,
    )
    suggestions = make_suggestions(read_sweep(path))
    order = [suggestions.draw(number)[0]["x"] for number in range(4)]
    assert order.index(0.9) < order.index(0.6) < 3

    done = shared_bench.run(path)

    assert done.returncode == 0, done.stderr
    tried = [float(run.data.params["x"]) for run in shared_bench.trial_runs()]
    # The one that breaks the bound is good enough, and does not count.
    assert tried == order[: order.index(0.6) + 1]
    (version,) = shared_bench.client.search_model_versions("name = 'fake'")
    assert version.tags["rayfleet.trial_id"] == str(order.index(0.6))


@pytest.mark.thorough
def test_the_command_of_a_report_does_it_again_and_leaves_the_sweep_alone(
    shared_bench: Bench, tmp_path: Path
) -> None:
    bench, homes = shared_bench, tmp_path / "homes"
    homes.mkdir()
    first = bench.run(bench.write(searcher={"kind": "random"}), "--trials", "3", "--seed", "5")
    ledger = Ledger(tmp_path / "home" / "sweeps" / "fake")
    ending = read_ending(ledger.folder)
    assert ending is not None
    before = ledger.trials()

    again = subprocess.run(
        ["bash", "-c", ending.command],
        # Nor does it write to where the sweep wrote.
        env={
            **bench.environment,
            "TMPDIR": str(homes),
            "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",
        },
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )

    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    (home,) = homes.glob("tmp.*")
    repeated = Ledger(home / "sweeps" / "fake").trials()
    assert [each.params for each in repeated] == [each.params for each in before]
    assert len(before) == 3
    assert ledger.trials() == before


def test_a_population_copies_its_best(shared_bench: Bench) -> None:
    path = shared_bench.write(
        name="evolving",
        trainer="torch",
        epochs=6,
        space={"learning_rate": {"loguniform": [0.0001, 0.1]}, "hidden": 8},
        metric="log_loss",
        mode="min",
        scheduler={"kind": "pbt", "quantile": 0.5},
        n_trials=4,
    )

    done = shared_bench.run(path)

    assert done.returncode == 0, done.stderr
    runs = shared_bench.trial_runs("evolving")
    assert [run.data.tags["rayfleet.trial_id"] for run in runs] == list("0123")
    assert {run.info.status for run in runs} == {"FINISHED"}
    schedules = [json.loads(run.data.tags[SCHEDULE]) for run in runs]
    assert {sum(part["epochs"] for part in schedule) for schedule in schedules} == {6}
    assert any(len(schedule) > 1 for schedule in schedules)
    params = [json.loads(run.data.tags[PARAMS]) for run in runs]
    for schedule, each in zip(schedules, params, strict=True):
        assert schedule[-1] == {"epochs": schedule[-1]["epochs"], **each}
    assert [run.data.params["learning_rate"] for run in runs] == [
        str(each["learning_rate"]) for each in params
    ]
    assert len(shared_bench.client.search_model_versions("name = 'evolving'")) == 1


@pytest.mark.thorough
def test_a_winner_no_better_than_the_champion_is_refused(shared_bench: Bench) -> None:
    bench = shared_bench
    champion = bench.run(bench.write(name="first", model="fake", space={"x": 0.9}, n_trials=1))
    worse = {"model": "fake", "space": {"x": 0.8}, "n_trials": 1, "require_better": {}}
    path = bench.write(name="second", **worse)

    refused = bench.run(path)
    (told,) = bench.sweep_runs("second")
    forced = bench.run(path, "--force")

    assert champion.returncode == 0, champion.stderr
    assert refused.returncode == 1
    assert refused.stderr == (
        "second: trial 0 won, but nothing was registered: not better than the champion, version "
        "1: accuracy 0.8 against 0.9 on the same 2 folds, p = 1, alpha 0.05; --force registers "
        "it nevertheless\n"
    )
    assert forced.returncode == 0, forced.stderr
    assert "fake version 2 @challenger" in forced.stdout
    (parent,) = bench.sweep_runs("second")
    assert parent.info.status == "FINISHED"
    assert "not better than the champion" in told.data.tags[REFUSED]
    assert REFUSED not in parent.data.tags
    report = bench.folder / "home" / "sweeps" / "second" / "report.html"
    artifacts = {each.path for each in bench.client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "sweep.json", "training_rows.npy"} <= artifacts
    assert f"report: {report}" in forced.stdout
    assert "fake version 2 @challenger" in report.read_text()


@pytest.mark.thorough
def test_one_trial_at_a_time_equal_sweeps_are_equal(shared_bench: Bench) -> None:
    bench = shared_bench
    sweep = {
        "trainer": "sklearn",
        "space": {"estimator": "extra_trees", "n_estimators": {"int": [1, 9]}},
        "folds": {"n_splits": 3},
        "scheduler": {"kind": "asha", "reduction_factor": 2},
        "searcher": {"n_startup_trials": 2},
        "n_trials": 5,
        "max_concurrent": 1,
    }

    done = [bench.run(bench.write(name=name, **sweep)) for name in ("one", "two")]
    one, two = ([(each.data.params, each.data.tags[TRIAL_STATE], bench.history(each, "log_loss"))
                 for each in bench.trial_runs(name)] for name in ("one", "two"))  # fmt: skip
    again = bench.tuning("reproduce", bench.trial_runs("one")[0].info.run_id)

    assert [each.returncode for each in done] == [0, 0], done
    assert one == two
    assert {state for _, state, _ in one} == {"complete", "pruned"}
    # On the cluster or in a process of one's own: the same numbers.
    assert again.returncode == 0, again.stdout + again.stderr
    assert "the same accuracy as before" in again.stdout


@pytest.mark.thorough
def test_a_sweep_that_finds_no_ray_ties_no_later_one(bench: Bench) -> None:
    new_mlflow(bench.folder / "home")

    refused = replace(bench, ray_address="plugin://anywhere").run(bench.write())

    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].endswith("no Ray there: Module: plugin does not exist.")
    assert bench.sweep_runs() == []
    # Or a changed spec would be refused, as no resume of something that never was.
    assert not (bench.folder / "home" / "sweeps" / "fake" / "sweep.json").exists()


def test_a_sweep_that_cannot_begin_leaves_nothing(bench: Bench) -> None:
    path = bench.write(resources={"gpu": 100})

    refused = bench.run(path)

    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{path}: resources: cpu 1, gpu 100: no trial fits, allowed:")
    assert list((bench.folder / "home").iterdir()) == []
