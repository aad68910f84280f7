"""The problems can be run, are scored as they should be, and are run once."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.suite.problems import DATA, FOLDER, METRICS, MODELS, Problem, problems
from benchmarks.suite.scoring import curve, scores, standing
from benchmarks.suite.studies import Study, possible, run_study
from tuning.spec import check_sweep, validate_file

ALL = list(problems(MODELS, DATA, METRICS))


def test_there_are_all_problems_of_bayesmark_but_the_log_loss_of_support_vectors() -> None:
    # 9 models on 4 sets of classes with 2 metrics and one of numbers with 2; 4 left out.
    assert len(ALL) == len(set(ALL)) == 9 * (4 * 2 + 2) - 4


@pytest.mark.ray
@pytest.mark.parametrize("problem", ALL, ids=lambda problem: problem.title)
def test_every_problem_is_a_valid_sweep_of_five_folds(problem: Problem) -> None:
    task = check_sweep(problem.spec("tpe", 5, 0), problem.title)

    assert len(task.split.folds) == 5
    assert task.problem.regression == (problem.data == "diabetes")


def test_every_file_of_the_suite_is_used_and_valid_by_itself() -> None:
    used = {problem.path for problem in ALL}

    assert used == set(FOLDER.glob("*.yaml"))
    for path in used:
        validate_file(path)


def costs(**by_searcher: list[list[float]]) -> dict[str, Any]:
    return {name: np.array(rows) for name, rows in by_searcher.items()}


def test_a_score_lies_between_a_guess_and_the_best_known() -> None:
    found = scores(
        costs(
            random=[[4.0, 2.0, 3.0], [4.0, 4.0, 5.0]], tpe=[[5.0, 1.0, 0.0], [math.inf, 4.0, 2.0]]
        )
    )

    assert found is not None
    # A guess costs 4, the best known 0.
    np.testing.assert_allclose(found["random"], [[0.0, 50.0, 50.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(found["tpe"], [[0.0, 75.0, 100.0], [0.0, 0.0, 50.0]])
    assert curve("tpe", [found]) == [0.0, 37.5, 75.0]


def test_problems_without_a_difference_are_left_out() -> None:
    assert scores(costs(random=[[1.0, 1.0]], tpe=[[1.0, 1.0]])) is None
    assert scores(costs(random=[[math.inf]], tpe=[[math.inf]])) is None


def test_a_searcher_is_held_against_random_search_on_its_own_problems() -> None:
    scored = [
        {"random": np.array([[50.0], [70.0]]), "tpe": np.array([[80.0], [90.0]])},
        {"random": np.array([[90.0], [90.0]]), "tpe": np.array([[80.0], [80.0]])},
        {"random": np.array([[0.0], [0.0]])},
    ]

    row = standing("tpe", scored)

    assert (row.problems, row.better, row.worse) == (2, 1, 1)
    assert (row.score, row.low, row.high, row.baseline) == (82.5, 80.0, 85.0, 75.0)
    assert row.gap == pytest.approx(17.5 / 25.0)


def study(folder: Path, **fields: Any) -> Study:
    defaults: dict[str, Any] = {
        "problem": Problem("knn", "iris", "accuracy"),
        "searcher": "random",
        "n_trials": 3,
        "seed": 0,
    }
    return Study(**(defaults | fields), folder=folder)


def test_a_study_is_kept_until_something_about_it_changes(tmp_path: Path) -> None:
    first = study(tmp_path)
    assert first.kept() is None

    found = run_study(first)

    assert len(found) == 3
    assert all(-1.0 <= cost < -0.5 for cost in found)
    assert first.kept() == found
    assert study(tmp_path, n_trials=4).kept() is None
    assert run_study(study(tmp_path)) == found


def test_a_searcher_is_left_out_where_it_cannot_handle_the_space(tmp_path: Path) -> None:
    lasso = Problem("lasso", "diabetes", "mse")

    assert possible(study(tmp_path, problem=lasso, searcher="tpe"))
    assert not possible(study(tmp_path, problem=lasso, searcher="cmaes"))
