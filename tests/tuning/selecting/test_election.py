"""Selections over a real MLflow store, from sweeps that ran one trial after the other."""

import io
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from rich.console import Console

from tests.tuning.sequential import home_at, sweep
from tuning.errors import ConfigError, NotBetterError, SweepError
from tuning.exploring import Segment, spelled
from tuning.flavors import require_flavor
from tuning.home import Home
from tuning.registry import open_registry
from tuning.selecting.election import run_selection
from tuning.selecting.rules import SelectionSpec
from tuning.synthetic import Recipe, make_frame
from tuning.tracking import SCHEDULE
from tuning.workload import fit_rows

pytestmark = pytest.mark.ray

STUMPS = {"estimator": "extra_trees", "n_estimators": 1, "max_depth": 1}
TREES = {"estimator": "extra_trees", "n_estimators": {"int": [20, 40]}}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return home_at(tmp_path / "home")


def elect(
    home: Home, *, dry_run: bool = False, force: bool = False, **fields: Any
) -> tuple[MlflowClient, str]:
    """Run a selection; returns a client to the registry and what was shown."""
    spec = SelectionSpec.load({"name": "best", "model": "iris", **fields})
    shown = io.StringIO()
    console = Console(file=shown, width=200)
    run_selection(spec, home=home, console=console, dry_run=dry_run, force=force)
    return open_registry(home), shown.getvalue()


def versions(client: MlflowClient, model: str = "iris") -> list[Any]:
    return list(client.search_model_versions(f"name = '{model}'"))


def aliases(client: MlflowClient, model: str = "iris") -> dict[str, str]:
    named = client.get_registered_model(model).aliases
    return {alias: str(version) for alias, version in named.items()}


def test_the_best_of_two_sweeps_becomes_one_version(home: Home) -> None:
    sweep(home, "stumps", space=STUMPS, n_trials=1)
    trees = sweep(home, "trees", space=TREES)

    _, tried = elect(home, dry_run=True)
    client, first = elect(home)
    _, again = elect(home)

    assert "nothing was registered: --dry-run" in tried
    assert "1  trees trial" in tried
    assert "stumps trial 0" in tried
    assert "below the winner's" in tried
    (version,) = versions(client)
    assert "iris version 1 @champion" in first
    assert "is version 1 of iris already, @champion" in again
    tags = version.tags
    assert tags["rayfleet.selection"] == "best"
    assert tags["rayfleet.sweep"] == "trees"
    assert tags["rayfleet.trial_run_id"] in trees.trial_run_ids
    assert float(tags["rayfleet.holdout_score"]) > 0.8


def test_a_trial_of_a_population_is_fitted_as_it_was_trained(home: Home) -> None:
    network = sweep(
        home, "network", trainer="torch", space={"hidden": 8}, epochs=4, n_trials=1,
    )  # fmt: skip
    client, run_id = open_registry(home), network.trial_run_ids[0]
    segments = (
        Segment(3, {"hidden": 8, "learning_rate": 0.05}),
        Segment(1, {"hidden": 8, "learning_rate": 0.0001}),
    )
    client.set_tag(run_id, SCHEDULE, spelled(segments))

    elect(home)

    (version,) = versions(client)
    task = network.task
    rows, _ = task.training_rows
    expected = fit_rows(task.trainer, {"hidden": 8}, *task.training_rows, segments)
    plain = fit_rows(task.trainer, {"hidden": 8}, *task.training_rows)
    flavor = require_flavor("pytorch")
    found = flavor.outputs(flavor.load(f"models:/iris/{version.version}"), rows)
    assert np.allclose(found, flavor.outputs(expected, rows))
    assert not np.allclose(found, flavor.outputs(plain, rows))

    client.set_tag(run_id, SCHEDULE, spelled(segments)[:20])
    client.delete_registered_model("iris")
    with pytest.raises(ConfigError, match=r"its tag 'rayfleet\.schedule' is cut off"):
        elect(home)


def test_the_rules_reach_what_mlflow_keeps(home: Home) -> None:
    sweep(home, "trees", space=TREES)

    with pytest.raises(ConfigError) as unknown:
        elect(home, constraints=["metrics.acuracy_mean > 0"])
    with pytest.raises(SweepError) as nobody:
        elect(home, constraints=["metrics.accuracy_min > 1"])
    with pytest.raises(ConfigError) as unnamed:
        elect(home, sweeps=["tree"])
    with pytest.raises(ConfigError) as nowhere:
        elect(home, experiment="elsewhere")

    assert "metrics.acuracy_mean: no completed trial has it (did you mean 'accuracy_" in str(
        unknown.value
    )
    assert str(nobody.value) == (
        "best: none of 3 trials is in the running, nothing was registered; 3 of them: "
        "constraint metrics.accuracy_min > 1"
    )
    assert str(unnamed.value) == (
        "sweeps: 'tree': no such sweep in experiment 'rayfleet' (did you mean 'trees'?), "
        "allowed: trees"
    )
    assert str(nowhere.value).startswith("experiment: 'elsewhere': not in MLflow, allowed: ")


def test_what_was_measured_of_models_can_be_asked_for(home: Home) -> None:
    few = {"estimator": "extra_trees", "n_estimators": 1}
    sweep(home, "trees", space={**few, "n_estimators": 20}, n_trials=1, constraints=["p99_ms >= 0"])
    sweep(home, "tree", space=few, n_trials=1, constraints=["model_bytes <= 1 GB"])

    _, shown = elect(
        home,
        constraints=["metrics.model_bytes <= 300 kB"],
        tie_breaks=["metrics.p99_ms ASC"],
        dry_run=True,
    )

    assert "1  tree trial 0" in shown
    assert "constraint metrics.model_bytes <= 300 kB: is " in shown


def test_what_its_sweep_would_refuse_is_not_selected_unless_the_rules_say_so(home: Home) -> None:
    sweep(home, "trees", space=TREES, n_trials=1, constraints=["model_bytes <= 1 kB"])

    with pytest.raises(SweepError) as refused:
        elect(home)
    _, shown = elect(home, sweep_constraints=False, dry_run=True)

    assert str(refused.value) == (
        "best: none of 1 trials is in the running, nothing was registered; 1 of them: constraint "
        "of its sweep, model_bytes <= 1 kB"
    )
    assert "1  trees trial 0" in shown


def test_no_better_than_the_champion_is_refused_unless_forced(home: Home) -> None:
    sweep(home, "trees", space=TREES, register_as="iris")
    sweep(home, "stumps", space=STUMPS, n_trials=1)
    wanted: dict[str, Any] = {"sweeps": ["stumps"], "require_better": {"alpha": 0.05}}

    with pytest.raises(NotBetterError) as refused:
        elect(home, **wanted)
    untouched = versions(open_registry(home))
    client, forced = elect(home, force=True, **wanted)

    assert str(refused.value).startswith(
        "best: stumps trial 0 won, but nothing was registered: not better than the champion, "
        "version 1: accuracy 0."
    )
    assert "on the same 4 folds, p = " in str(refused.value)
    assert len(untouched) == 1
    assert "iris version 2 @challenger" in forced
    assert str(client.get_model_version_by_alias("iris", "champion").version) == "1"


def test_a_version_of_a_sweep_is_judged_as_any_other_winner(home: Home) -> None:
    sweep(home, "trees", space=TREES, register_as="iris")
    sweep(home, "stumps", space=STUMPS, n_trials=1, register_as="iris")
    client = open_registry(home)
    client.delete_registered_model_alias("iris", "challenger")
    wanted: dict[str, Any] = {"sweeps": ["stumps"], "require_better": {}}

    with pytest.raises(NotBetterError) as refused:
        elect(home, **wanted)
    before = aliases(client)
    _, forced = elect(home, force=True, **wanted)

    assert str(refused.value).startswith(
        "best: stumps trial 0 won, but its version 2 stays as it is: not better than the "
        "champion, version 1: accuracy 0."
    )
    assert before == {"champion": "1"}
    assert "stumps trial 0 is version 2 of iris already, @challenger" in forced
    assert aliases(client) == {"champion": "1", "challenger": "2"}
    assert len(versions(client)) == 2


def test_a_better_version_takes_the_alias_of_a_newer_one(home: Home) -> None:
    sweep(home, "stumps", space=STUMPS, n_trials=1, register_as="iris")
    sweep(home, "trees", space=TREES, register_as="iris")
    sweep(home, "newest", space=STUMPS, n_trials=1, register_as="iris")
    wanted: dict[str, Any] = {"sweeps": ["trees"], "require_better": {}}

    _, tried = elect(home, dry_run=True, **wanted)
    before = aliases(open_registry(home))
    client, shown = elect(home, **wanted)

    assert "is version 2 of iris already; nothing was registered: --dry-run" in tried
    assert before == {"champion": "1", "challenger": "3"}
    assert "better than the champion, version 1" in shown
    assert "is version 2 of iris already, @challenger" in shown
    assert aliases(client) == {"champion": "1", "challenger": "2"}


def test_an_alias_that_was_taken_away_is_given_back_by_force_alone(home: Home) -> None:
    sweep(home, "stumps", space=STUMPS, n_trials=1, register_as="iris")
    sweep(home, "trees", space=TREES, register_as="iris")
    client = open_registry(home)
    client.delete_registered_model_alias("iris", "challenger")

    _, shown = elect(home)
    left = aliases(client)
    _, forced = elect(home, force=True)

    assert (
        "is version 2 of iris already, and gets no alias, since it is no longer @challenger; "
        "--force makes it @challenger again"
    ) in shown
    assert left == {"champion": "1"}
    assert "is version 2 of iris already, @challenger" in forced
    assert aliases(client) == {"champion": "1", "challenger": "2"}


def test_better_on_the_same_folds_is_registered(home: Home) -> None:
    sweep(home, "stumps", space=STUMPS, n_trials=1, register_as="iris")
    sweep(home, "trees", space=TREES)

    _, shown = elect(home, sweeps=["trees"], require_better={})

    assert "better than the champion, version 1: accuracy 0.9" in shown
    assert "iris version 2 @challenger" in shown


def test_a_champion_of_other_folds_is_scored_on_ours(home: Home) -> None:
    sweep(home, "stumps", space=STUMPS, n_trials=1, register_as="iris", folds={"n_splits": 3})
    sweep(home, "trees", space=TREES)

    _, shown = elect(home, sweeps=["trees"], require_better={})

    assert "better than the champion, version 1: accuracy 0.9" in shown
    assert "on the same 4 folds" in shown


@pytest.mark.parametrize("trainer", ["sklearn", "torch"])
def test_where_the_data_changed_rows_decide_that_the_champion_never_saw(
    home: Home, tmp_path: Path, trainer: str
) -> None:
    path = tmp_path / "rows.csv"
    frame = make_frame(Recipe(n_rows=600, n_numbers=4, seed=3))
    data = {"path": str(path), "target": "label"}
    before: dict[str, Any] = {"trainer": "sklearn", "space": STUMPS}
    if trainer == "torch":
        before = {"trainer": "torch", "space": {"learning_rate": 0.000001, "hidden": 1}}
    frame[:300].to_csv(path, index=False)
    sweep(home, "before", data=data, n_trials=1, register_as="iris", **before)
    frame.to_csv(path, index=False)
    sweep(home, "after", data=data, space=TREES)
    # A process that only selects has told MLflow nothing yet, which then looks where it likes.
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/elsewhere.db")
    mlflow.set_registry_uri(f"sqlite:///{tmp_path}/elsewhere.db")

    _, shown = elect(home, sweeps=["after"], require_better={})

    assert "better than the champion, version 1: accuracy 0." in shown
    assert "on 10 parts of the new hold-out" in shown


def test_the_same_rows_under_other_labels_are_nothing_new(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    frame = make_frame(Recipe(n_rows=200, n_numbers=4, seed=3))
    data = {"path": str(path), "target": "label"}
    folds = {"n_splits": 4, "holdout": 0.01, "seed": 1}
    frame.to_csv(path, index=False)
    sweep(home, "before", data=data, space=STUMPS, n_trials=1, register_as="iris", folds=folds)
    frame["label"] = list(reversed(frame["label"]))
    frame.to_csv(path, index=False)
    sweep(home, "after", data=data, space=TREES)

    with pytest.raises(NotBetterError, match=r"of 40 hold-out rows are new to it, with two of"):
        elect(home, sweeps=["after"], require_better={})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"x3": None}, "it knows other columns: 'x3' is gone", id="one-less"),
        pytest.param({"x4": 1.0}, "it knows other columns: 'x4' is new", id="one-more"),
        pytest.param({"x3": "far"}, "its columns are of other types", id="text-now"),
    ],
)
def test_a_champion_that_knows_other_columns_cannot_be_compared(
    home: Home, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    path = tmp_path / "rows.csv"
    frame = make_frame(Recipe(n_rows=200, n_numbers=4, seed=3))
    data = {"path": str(path), "target": "label"}
    frame.to_csv(path, index=False)
    sweep(home, "before", data=data, space=STUMPS, n_trials=1, register_as="iris")
    # The same rows, which pass for new ones.
    frame.assign(**change).dropna(axis="columns").to_csv(path, index=False)
    sweep(home, "after", data=data, space=TREES, n_trials=1)

    with pytest.raises(NotBetterError) as refused:
        elect(home, sweeps=["after"], require_better={})

    assert f"cannot be compared with the champion, version 1: {reason};" in str(refused.value)


def test_a_champion_that_fails_on_our_folds_cannot_be_compared(home: Home) -> None:
    many = {"estimator": "knn", "n_neighbors": 80}
    sweep(home, "before", space=many, n_trials=1, register_as="iris")
    sweep(home, "after", space=TREES, n_trials=1, folds={"n_splits": 2})

    with pytest.raises(NotBetterError) as refused:
        elect(home, sweeps=["after"], require_better={})

    # Half of 120 rows are fewer than 80.
    assert "version 1: it fails on these rows: ValueError: Expected n_neighbors" in str(
        refused.value
    )


def test_a_champion_that_no_sweep_made_cannot_be_compared(home: Home) -> None:
    sweep(home, "trees", space=TREES, register_as="iris")
    client = open_registry(home)
    client.delete_model_version_tag("iris", "1", "rayfleet.sweep_run_id")
    sweep(home, "stumps", space=STUMPS, n_trials=1)

    with pytest.raises(NotBetterError, match="version 1: it was not made by a sweep; --force"):
        elect(home, sweeps=["stumps"], require_better={})


def test_data_that_changed_since_the_winner_was_tried_is_refused(
    home: Home, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    frame: pd.DataFrame = make_frame(Recipe(n_rows=100, n_numbers=2))
    frame.to_csv(path, index=False)
    sweep(home, "trees", data={"path": str(path), "target": "label"}, space=TREES)
    frame[:90].to_csv(path, index=False)

    with pytest.raises(ConfigError, match=r"sweep trees: data: hash .*, but the sweep saw "):
        elect(home)
