from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.tuning.trials import reports
from tuning.ledger import Trial, TrialState
from tuning.space import Params
from tuning.spec import SweepSpec
from tuning.suggestion import make_suggestions

NUMBERS: dict[str, Any] = {"x": {"uniform": [0.0, 1.0]}, "y": {"uniform": [0.0, 1.0]}}
BRANCHED: dict[str, Any] = {
    "kind": {"choice": {"a": NUMBERS, "b": {"n": {"int": [1, 100]}, "z": {"choice": [1, "u"]}}}}
}
GP = pytest.param("gp", marks=pytest.mark.ray)
"""Imports PyTorch, and each of its draws takes tenths of a second."""
KINDS = ["tpe", GP, "cmaes", "nsga2", "qmc", "grid", "random"]
N_TRIALS = 12
N_SLOW = 15
"""Trials of Gaussian processes."""


def make_spec(kind: str, space: dict[str, Any], **changes: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "name": "s",
            "data": {"bundled": "iris"},
            "trainer": "sklearn",
            "space": space,
            "n_trials": N_TRIALS,
            "folds": {"n_splits": 2},
            "scheduler": {"kind": "fifo"},
            "searcher": {"kind": kind, "n_startup_trials": 4, "population_size": 4},
            **changes,
        }
    )


def score(params: Params) -> float:
    """Best, at 1, where x = y = 0.3."""
    x, y = (float(str(params.get(name, 0.9))) for name in ("x", "y"))
    return 1.0 - (x - 0.3) ** 2 - (y - 0.3) ** 2


def run(spec: SweepSpec, earlier: Sequence[Trial], until: int) -> list[Trial]:
    """Two trials at a time; the later of a pair ends first."""
    suggestions = make_suggestions(spec)
    suggestions.restore(earlier)
    trials = {each.number: each for each in earlier}
    for pair in range(len(earlier), until, 2):
        known = len(trials)
        for number in (pair, pair + 1):
            params, draws = suggestions.draw(number)
            trials[number] = Trial(number, params, draws, started_at_s=0.0, known=known)
        for place, number in enumerate((pair + 1, pair)):
            made = reports(score(trials[number].params), score(trials[number].params))
            ended = float(known + place)
            suggestions.close(number, TrialState.COMPLETE, made)
            trials[number] = replace(
                trials[number], state=TrialState.COMPLETE, ended_at_s=ended, reports=made
            )
    return [trials[number] for number in sorted(trials)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_search_goes_on_as_if_never_interrupted(kind: str) -> None:
    spec = make_spec(kind, NUMBERS)

    whole = run(spec, [], N_TRIALS)
    resumed = run(spec, run(spec, [], 8), N_TRIALS)

    assert [trial.params for trial in resumed] == [trial.params for trial in whole]
    assert len({str(trial.params) for trial in whole}) == N_TRIALS


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_whose_record_was_lost_is_drawn_anew(kind: str) -> None:
    spec = make_spec(kind, NUMBERS)
    whole = run(spec, [], 8)
    suggestions = make_suggestions(spec)

    suggestions.restore([trial for trial in whole if trial.number != 3])
    params, draws = suggestions.draw(3)
    made = reports(score(params), score(params))
    suggestions.close(3, TrialState.COMPLETE, made)
    after, _ = suggestions.draw(8)

    assert set(params) == set(draws) == {"x", "y"}
    assert str(after) not in {str(trial.params) for trial in whole}


@pytest.mark.parametrize("kind", [each for each in KINDS if each != "cmaes"])
def test_branches_are_searched_and_resumed(kind: str) -> None:
    spec = make_spec(kind, BRANCHED)
    until = 8 if kind == "gp" else N_TRIALS

    whole = run(spec, [], until)
    resumed = run(spec, run(spec, [], 6), until)

    assert [trial.params for trial in resumed] == [trial.params for trial in whole]
    for trial in whole:
        names = {"a": {"kind", "x", "y"}, "b": {"kind", "n", "z"}}
        assert set(trial.params) == names[str(trial.params["kind"])]


@pytest.mark.parametrize("kind", ["tpe", GP, "cmaes", "nsga2"])
def test_a_searcher_that_learns_beats_chance(kind: str) -> None:
    n_trials = N_SLOW + 1 if kind == "gp" else 60
    spec = make_spec(kind, NUMBERS, n_trials=n_trials, seed=1)

    found = [score(trial.params) for trial in run(spec, [], n_trials)[-n_trials // 3 :]]
    chance = [score(trial.params) for trial in run(make_spec("random", NUMBERS), [], 60)]

    assert sum(found) / len(found) > sum(chance) / len(chance) + 0.05


def learn(spec: SweepSpec, until: int) -> list[float]:
    suggestions = make_suggestions(spec)
    drawn = []
    for number in range(until):
        params, _ = suggestions.draw(number)
        x = float(str(params["x"]))
        (last,) = reports(x)
        made = (replace(last, measured={"p99_ms": 10 * x}),)
        suggestions.close(number, TrialState.COMPLETE, made)
        drawn.append(x)
    return drawn[-until // 3 :]


@pytest.mark.parametrize("kind", ["tpe", GP, "nsga2"])
def test_constraints_steer_the_search(kind: str) -> None:
    n_trials = N_SLOW if kind == "gp" else 60
    constraints = ["p99_ms <= 4"]

    bounded = learn(make_spec(kind, NUMBERS, n_trials=n_trials, constraints=constraints), n_trials)
    free = learn(make_spec(kind, NUMBERS, n_trials=n_trials), n_trials)

    # More x is better, but beyond 0.4 a trial is infeasible.
    assert sum(bounded) / len(bounded) < sum(free) / len(free) - 0.1


@pytest.mark.parametrize("kind", ["tpe", GP, "nsga2", "random"])
def test_several_objectives(kind: str) -> None:
    objectives = [{"metric": "p99_ms", "mode": "min"}]
    spec = make_spec(kind, NUMBERS, objectives=objectives, n_trials=N_TRIALS)

    # Both want the opposite of x, so no value of it is better than another.
    assert len(set(learn(spec, N_TRIALS))) == N_TRIALS // 3
