"""Every searcher and every scheduler in a sweep on a real cluster."""

import json
from typing import Any

import pytest

from tests.integration.sweeping import Bench
from tuning.goals import pareto_set
from tuning.ledger import Ledger, TrialState
from tuning.spec import read_sweep
from tuning.tracking import PARAMS, TRIAL_ID, TRIAL_STATE

pytestmark = [pytest.mark.ray, pytest.mark.thorough]

N_TRIALS = 12
RANGES: dict[str, dict[str, list[float]]] = {
    "C": {"loguniform": [0.01, 100.0]},
    "gamma": {"loguniform": [0.0001, 10.0]},
}
TWO = [{"metric": "log_loss", "mode": "min"}]


@pytest.mark.parametrize(
    ("searcher", "more"),
    [
        pytest.param({"kind": "gp", "n_startup_trials": 4}, {}, id="gp"),
        pytest.param({"kind": "cmaes", "population_size": 4}, {}, id="cmaes"),
        pytest.param({"kind": "qmc"}, {}, id="qmc"),
        pytest.param({"kind": "grid", "grid_points": 4}, {}, id="grid"),
        pytest.param({"kind": "random"}, {}, id="random"),
        pytest.param({"kind": "nsga2", "population_size": 4}, {"objectives": TWO}, id="nsga2"),
        pytest.param({"kind": "tpe", "n_startup_trials": 4}, {"objectives": TWO}, id="tpe"),
    ],
)
def test_a_searcher_s_trials_are_recorded_and_the_best_wins(
    shared_bench: Bench, searcher: dict[str, Any], more: dict[str, Any]
) -> None:
    bench = shared_bench
    estimator = "logistic_regression" if more else "svm"
    ranges = {"C": RANGES["C"]} if more else RANGES
    path = bench.write(
        name="searched",
        trainer="sklearn",
        space={"estimator": estimator, **ranges},
        searcher=searcher,
        n_trials=N_TRIALS,
        **more,
    )

    done = bench.run(path)

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    runs = bench.trial_runs("searched")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == N_TRIALS
    drawn = [json.loads(run.data.tags[PARAMS]) for run in runs]
    assert len({json.dumps(each) for each in drawn}) == N_TRIALS
    for name, bounds in ranges.items():
        least, most = bounds["loguniform"]
        assert all(least <= each[name] <= most for each in drawn)
    (version,) = bench.client.search_model_versions("name = 'searched'")
    won = version.tags["rayfleet.trial_run_id"]
    accuracies = {run.info.run_id: run.data.metrics["accuracy_mean"] for run in runs}
    assert accuracies[won] == max(accuracies.values())
    if more:
        trials = Ledger(bench.folder / "home" / "sweeps" / "searched").trials()
        front = pareto_set(trials, read_sweep(path).goals)
        numbers = ", ".join(str(each.number) for each in front)
        assert f"Pareto set: trials {numbers}" in done.stdout


@pytest.mark.parametrize(
    "scheduler",
    [
        pytest.param({"kind": "asha", "reduction_factor": 2}, id="asha"),
        pytest.param({"kind": "hyperband", "reduction_factor": 2}, id="hyperband"),
        pytest.param({"kind": "median", "min_trials": 2}, id="median"),
        pytest.param({"kind": "race"}, id="race"),
    ],
)
def test_a_scheduler_stops_the_hopeless_and_spares_the_best(
    shared_bench: Bench, scheduler: dict[str, Any]
) -> None:
    bench = shared_bench
    path = bench.write(
        name="stopped",
        folds={"n_splits": 6},
        space={"x": {"uniform": [0.0, 1.0]}},
        options={"noise": 0.01},
        searcher={"kind": "grid", "grid_points": N_TRIALS},
        scheduler=scheduler,
        n_trials=N_TRIALS,
        max_concurrent=1,
    )

    done = bench.run(path)

    assert done.returncode == 0, done.stderr
    trials = Ledger(bench.folder / "home" / "sweeps" / "stopped").trials()
    states = {trial.number: trial.state for trial in trials}
    assert set(states.values()) == {TrialState.COMPLETE, TrialState.PRUNED}
    best = max(trials, key=lambda trial: float(str(trial.params["x"])))
    assert states[best.number] is TrialState.COMPLETE
    for trial in trials:
        n_folds = sum(report.fold_complete for report in trial.reports)
        assert (n_folds == 6) is (trial.state is TrialState.COMPLETE)
    told = {run.data.tags[TRIAL_ID]: run.data.tags[TRIAL_STATE]
            for run in bench.trial_runs("stopped")}  # fmt: skip
    assert told == {str(number): state.value for number, state in states.items()}
