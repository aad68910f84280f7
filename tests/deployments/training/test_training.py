"""Sweeps as jobs, over a real MLflow, with jobs that the test lets begin and end."""

import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean, variance
from typing import Any

import pytest
from scipy import stats

from deployments.errors import ConflictError, DependencyError, MalformedRequestError, NotFoundError
from deployments.training.jobs import RayJobs
from deployments.training.training import Training, _verdict
from deployments.training.views import NewSweep
from tests.deployments.training.fake_jobs import FakeJobs
from tests.tuning.sequential import FOREST, home_at, sweep
from tuning.board import Versus
from tuning.comparison import Comparison
from tuning.crossvalidation import fold_scores
from tuning.home import Home
from tuning.spec import SweepSpec

pytestmark = pytest.mark.ray

STUMPS = {"estimator": "extra_trees", "n_estimators": 1, "max_depth": 1}
SPEC = NewSweep(spec={**FOREST, "name": "trees"})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """With two sweeps that have run."""
    home = home_at(tmp_path_factory.mktemp("home"))
    sweep(home, "stumps", space=STUMPS, n_trials=1)
    sweep(home, "forest")
    sweep(home, "other-folds", folds={"n_splits": 3})
    return home


@pytest.fixture
def jobs() -> FakeJobs:
    return FakeJobs()


@pytest.fixture
def training(home: Home, jobs: FakeJobs) -> Training:
    return Training(jobs, home, clock=iter(range(1_000, 9_000)).__next__)


def test_what_ran_is_shown_whoever_started_it(training: Training) -> None:
    views = {view.name: view for view in training.sweeps()}

    forest = views["forest"]
    assert set(views) == {"stumps", "forest", "other-folds"}
    assert (forest.state, forest.job_id) == ("SUCCEEDED", None)
    assert (forest.n_trials, forest.trials) == (3, {"complete": 3})
    assert forest.best is not None
    assert forest.best > 0.85
    assert forest.metric == "accuracy"
    assert set(forest.best_params) == {"estimator", "n_estimators"}
    assert training.sweep("forest") == forest


def test_a_spec_is_sent_as_a_file_of_its_own(training: Training, jobs: FakeJobs) -> None:
    view = training.submit(SPEC)

    assert (view.name, view.state, view.run_id) == ("trees", "PENDING", None)
    assert view.job_id == jobs.jobs[0].job_id
    assert jobs.commands == ["python -m tuning sweep.yaml"]
    assert SweepSpec.load(jobs.sent[0]) == SweepSpec.load(SPEC.spec)
    assert not jobs.folders[0].exists()


def test_files_are_sent_along_from_a_folder(
    training: Training, jobs: FakeJobs, tmp_path: Path
) -> None:
    (tmp_path / "trees.yaml").write_text("name: trees\n")

    training.submit(SPEC, folder=tmp_path, file=Path("trees.yaml"))
    jobs.turn(jobs.jobs[0].job_id, "STOPPED")
    training.resume("trees", folder=tmp_path)

    assert jobs.commands[0] == "python -m tuning trees.yaml"
    assert jobs.sent[1]["name"] == "trees"
    assert jobs.folders == [tmp_path, tmp_path]
    assert [path.name for path in tmp_path.iterdir()] == ["trees.yaml"]


def test_a_sweep_runs_once_at_a_time(training: Training, jobs: FakeJobs) -> None:
    training.submit(SPEC)

    with pytest.raises(ConflictError, match="sweep 'trees' is pending as job sweep-trees-"):
        training.submit(SPEC)
    with pytest.raises(ConflictError, match="is pending as job"):
        training.resume("trees")


def test_a_stopped_sweep_is_resumed_with_its_spec(training: Training, jobs: FakeJobs) -> None:
    training.submit(SPEC)

    stopped = training.stop("trees")
    with pytest.raises(ConflictError, match="does not run as a job, it is STOPPED"):
        training.stop("trees")
    resumed = training.resume("trees")

    assert (stopped.state, resumed.state) == ("STOPPED", "PENDING")
    assert jobs.sent[0] == jobs.sent[1]
    assert len({job.job_id for job in jobs.jobs}) == 2


def test_a_sweep_that_no_job_ran_is_resumed_from_its_run(
    training: Training, jobs: FakeJobs
) -> None:
    training.resume("forest")

    assert SweepSpec.load(jobs.sent[0]) == SweepSpec.load({**FOREST, "name": "forest"})


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"trainer": "mine:Trainer"}, id="trainer"),
        pytest.param({"data": {"path": "rows.csv", "target": "label"}}, id="data"),
    ],
)
def test_files_that_nobody_sends_along_are_asked_for(
    training: Training, jobs: FakeJobs, changes: dict[str, Any]
) -> None:
    training.submit(NewSweep(spec={**SPEC.spec, **changes}))
    jobs.turn(jobs.jobs[0].job_id, "STOPPED")

    with pytest.raises(ConflictError, match="needs files of its own; resume it from their folder"):
        training.resume("trees")


def test_the_last_lines_of_the_logs(training: Training, jobs: FakeJobs) -> None:
    training.submit(SPEC)
    job_id = jobs.jobs[0].job_id

    assert training.logs("trees", 2).logs == f"{job_id} line 8\n{job_id} line 9\n"
    with pytest.raises(NotFoundError, match="sweep 'forest': Ray knows no job of it"):
        training.logs("forest", 2)


def test_two_sweeps_side_by_side(training: Training) -> None:
    found = training.compare("stumps", "forest")
    turned = training.compare("forest", "stumps")

    assert (found.same_data, found.same_folds) == (True, True)
    assert found.gain is not None
    assert found.gain > 0.1
    assert found.p is not None
    assert found.p < 0.05
    assert found.verdict.startswith("forest is better by 0.")
    assert turned.gain == pytest.approx(-found.gain)
    assert turned.verdict == found.verdict
    assert {each.setting for each in found.settings} == {"space", "n_trials"}


def test_repeated_folds_are_corrected_by_the_share_that_one_pass_tests_on(
    tmp_path: Path, jobs: FakeJobs
) -> None:
    home = home_at(tmp_path)
    folds = {"n_splits": 4, "repeats": 2}
    swept = [
        sweep(home, "stumps", space=STUMPS, n_trials=1, folds=folds),
        sweep(home, "bushes", space={**STUMPS, "max_depth": 2}, n_trials=1, folds=folds),
    ]

    found = Training(jobs, home).compare("stumps", "bushes")

    theirs, ours = (fold_scores(each.trials[0].reports, "accuracy").values() for each in swept)
    gains = [one - other for one, other in zip(ours, theirs, strict=True)]
    # 8 folds; each tests on a third of what it trains on.
    t = fmean(gains) / math.sqrt((1 / 8 + 1 / 3) * variance(gains))
    assert len(gains) == 8
    assert found.p == pytest.approx(2 * stats.t.sf(abs(t), 7))
    assert found.verdict.endswith(f"p = {found.p:.3g} (two-sided)")


@pytest.mark.parametrize(
    ("comparison", "verdict"),
    [
        (Comparison(0.02, 0.01, 0.02, even=False, pairs=5), "b is better by 0.02, p = 0.02 (two-"),
        (Comparison(-0.02, 0.99, 0.02, even=False, pairs=5), "a is better by 0.02, p = 0.02 (two-"),
        (Comparison(0.02, 1.0, 1.0, even=True, pairs=5), "b is better by 0.02 in every fold alike"),
        (Comparison(0.0, 0.5, 1.0, even=False, pairs=5), "their best trials are equally good"),
    ],
)
def test_a_verdict_takes_no_side_before_it_has_looked(comparison: Comparison, verdict: str) -> None:
    found = Versus(same_data=True, same_folds=True, same_metric=True, comparison=comparison)

    assert _verdict(found, "a", "b").startswith(verdict)


def test_what_is_not_comparable_is_said(training: Training) -> None:
    found = training.compare("forest", "other-folds")

    assert (found.same_data, found.same_folds, found.gain, found.p) == (True, False, None, None)
    assert found.verdict == "not comparable: they split the data differently"


def test_a_trial_that_breaks_a_constraint_is_nowhere_the_best(
    tmp_path: Path, jobs: FakeJobs
) -> None:
    home = home_at(tmp_path)
    sweep(home, "free", space=STUMPS, n_trials=1)
    sweep(home, "bounded", space=STUMPS, n_trials=1, constraints=["accuracy >= 1"])
    training = Training(jobs, home)

    bounded = training.sweep("bounded")
    found = training.compare("free", "bounded")

    assert (bounded.trials, bounded.best, bounded.best_params) == ({"complete": 1}, None, {})
    assert found.left.best is not None
    assert (found.right.best, found.gain) == (None, None)
    assert found.verdict == (
        "not comparable: one of them has no completed trial, or none that keeps to its constraints"
    )


def test_what_is_not_there_is_said(training: Training) -> None:
    for call in (training.sweep, training.stop, training.resume):
        with pytest.raises(NotFoundError, match="sweep 'nobody'"):
            call("nobody")
    with pytest.raises(NotFoundError, match="sweep 'nobody' has no run in MLflow"):
        training.compare("forest", "nobody")
    with pytest.raises(MalformedRequestError, match=r"spec\.n_trials: is missing"):
        training.submit(NewSweep(spec={"name": "trees"}))


def test_an_absent_mlflow_is_a_dependency_that_is_away(
    home: Home, jobs: FakeJobs, tmp_path: Path
) -> None:
    lost = replace(home, tracking_uri=f"sqlite:///{tmp_path}/no/mlflow.db")
    training = Training(jobs, lost)

    with pytest.raises(DependencyError, match="MLflow tracking server cannot be reached"):
        training.sweeps()
    assert training.submit(SPEC).state == "PENDING"


def test_an_absent_ray_is_a_dependency_that_is_away(home: Home) -> None:
    training = Training(RayJobs("http://127.0.0.1:9", {}), home)

    with pytest.raises(DependencyError, match="Ray job API cannot be reached: ConnectionError"):
        training.sweeps()
