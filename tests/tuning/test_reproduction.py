"""The same again: whole sweeps one trial after the other, and single trials from their runs."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.tuning.sequential import Swept, home_at, sweep
from tuning.errors import ConfigError, NotReproducedError
from tuning.home import Home
from tuning.registry import open_registry
from tuning.reproduction import reproduce
from tuning.synthetic import Recipe, make_frame
from tuning.tracking import PARAMS, SCHEDULE

pytestmark = pytest.mark.ray

TREES: dict[str, Any] = {
    "space": {
        "estimator": "random_forest",
        "n_estimators": {"int": [2, 20]},
        "max_features": {"uniform": [0.1, 0.9]},
    },
    "searcher": {"n_startup_trials": 2},
    "n_trials": 6,
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return home_at(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def trees(home: Home) -> Swept:
    return sweep(home, "trees", **TREES)


def again(home: Home, run_id: str, tolerance: float = 0.0) -> str:
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    reproduce(home, run_id, tolerance=tolerance, console=console)
    return shown.getvalue()


def test_equal_sweeps_suggest_and_score_the_same(home: Home, trees: Swept) -> None:
    other = sweep(home, "others", **TREES)
    seeded = sweep(home, "seeded", **TREES, seed=1)

    assert [each.params for each in other.trials] == [each.params for each in trees.trials]
    assert [each.reports for each in other.trials] == [each.reports for each in trees.trials]
    assert [each.params for each in seeded.trials] != [each.params for each in trees.trials]


def test_a_trial_scores_the_same_again(home: Home, trees: Swept) -> None:
    shown = again(home, trees.trial_run_ids[3])

    assert shown.count("same") == 4 * len(trees.task.trainer.metrics) + 1
    assert "differs" not in shown
    assert shown.endswith("trial 3 of trees: 4 folds, the same accuracy as before\n")


def test_a_network_scores_the_same_again(home: Home) -> None:
    swept = sweep(
        home,
        "network",
        trainer="torch",
        space={"hidden": {"int": [8, 16]}, "learning_rate": 0.01},
        epochs=3,
        n_trials=1,
        metric="log_loss",
        mode="min",
    )

    assert "the same log_loss as before" in again(home, swept.trial_run_ids[0])


def test_both_numbers_are_told_where_they_differ(home: Home, trees: Swept) -> None:
    client, run_id = open_registry(home), trees.trial_run_ids[2]
    params = {**trees.trials[2].params, "n_estimators": 1, "max_depth": 1}
    client.set_tag(run_id, PARAMS, json.dumps(params))

    with pytest.raises(NotReproducedError) as differs:
        again(home, run_id)
    within = again(home, run_id, tolerance=1.0)

    then = [report.metrics["accuracy"] for report in trees.trials[2].reports]
    assert f"accuracy of fold 0 was {then[0]!r}, now it is 0." in str(differs.value)
    assert "folds differ" in str(differs.value)
    assert "the same accuracy as before" in within


def test_what_raises_now_is_told(home: Home, trees: Swept) -> None:
    client, run_id = open_registry(home), trees.trial_run_ids[1]
    client.set_tag(run_id, PARAMS, json.dumps({"estimator": "random_forest", "max_depth": "x"}))

    with pytest.raises(NotReproducedError, match="it had 4 folds, now it raises Invalid"):
        again(home, run_id)


def test_runs_that_cannot_be_repeated_are_refused(home: Home, trees: Swept) -> None:
    with pytest.raises(ConfigError, match="run 'nothing': not in MLflow"):
        again(home, "nothing")
    with pytest.raises(ConfigError, match="is no trial of a sweep, allowed: the run of a trial"):
        again(home, trees.run_id)
    client, run_id = open_registry(home), trees.trial_run_ids[0]
    client.delete_tag(run_id, PARAMS)
    with pytest.raises(ConfigError, match=r"its tag 'rayfleet\.params' is missing; allowed: a"):
        again(home, run_id)


def test_a_trial_of_a_population_is_refused(home: Home, trees: Swept) -> None:
    client, run_id = open_registry(home), trees.trial_run_ids[4]
    client.set_tag(run_id, SCHEDULE, "[]")

    with pytest.raises(ConfigError, match="belongs to a population, whose parameters changed"):
        again(home, run_id)


def test_other_data_is_refused(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    frame = make_frame(Recipe(n_rows=60, n_numbers=2))
    frame.to_csv(path, index=False)
    swept = sweep(home, "rows", data={"path": str(path), "target": "label"}, n_trials=1)
    frame[:-1].to_csv(path, index=False)

    with pytest.raises(ConfigError, match=r"sweep rows: data: hash \w+, but the sweep saw \w+: br"):
        again(home, swept.trial_run_ids[0])
