from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from tuning.configfile import fault_lines
from tuning.space import Space, examples, sample

SPACES: TypeAdapter[Any] = TypeAdapter(Space)

ESTIMATORS = {
    "estimator": {
        "choice": {
            "linear": {"C": {"loguniform": [0.1, 10.0]}},
            "forest": {"depth": {"int": [2, 8]}, "criterion": {"choice": ["gini", "entropy"]}},
            "plain": {},
        }
    },
    "tol": 0.001,
}


class LastOfAll:
    """Answers every question with the highest value, and keeps the questions."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        self.asked[name] = (low, high, log)
        return high

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        self.asked[name] = (low, high, step, log)
        return high

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.asked[name] = tuple(choices)
        return choices[-1]


def test_every_distribution_is_asked_of_optuna_in_its_words() -> None:
    space = SPACES.validate_python(
        {
            "a": {"uniform": [0.0, 1.0]},
            "b": {"loguniform": [0.01, 1.0]},
            "c": {"int": [1, 9], "step": 2},
            "d": {"int": [1, 64], "log": True},
            "e": {"choice": [None, True, 3, "x"]},
            "f": 7,
        }
    )
    suggester = LastOfAll()

    params = sample(space, suggester)

    assert params == {"a": 1.0, "b": 1.0, "c": 9, "d": 64, "e": "x", "f": 7}
    assert suggester.asked == {
        "a": (0.0, 1.0, False),
        "b": (0.01, 1.0, True),
        "c": (1, 9, 2, False),
        "d": (1, 64, 1, True),
        "e": (None, True, 3, "x"),
    }


def test_branch_asks_for_its_own_parameters_only_under_qualified_names() -> None:
    branches = {key: ESTIMATORS["estimator"]["choice"][key] for key in ("linear", "forest")}  # type: ignore[index]
    space = SPACES.validate_python({"estimator": {"choice": branches}})
    suggester = LastOfAll()

    params = sample(space, suggester)

    assert params == {"estimator": "forest", "depth": 8, "criterion": "entropy"}
    assert set(suggester.asked) == {
        "estimator",
        "estimator.forest.depth",
        "estimator.forest.criterion",
    }


def test_examples_visit_every_branch_bound_and_choice() -> None:
    linear, forest = {"estimator": "linear"}, {"estimator": "forest"}

    found = list(examples(SPACES.validate_python(ESTIMATORS)))

    assert found == [
        {**linear, "C": 0.1, "tol": 0.001},
        {**linear, "C": 10.0, "tol": 0.001},
        {**forest, "depth": 2, "criterion": "gini", "tol": 0.001},
        {**forest, "depth": 8, "criterion": "gini", "tol": 0.001},
        {**forest, "depth": 2, "criterion": "entropy", "tol": 0.001},
        {"estimator": "plain", "tol": 0.001},
    ]


def test_a_wide_space_is_checked_one_dimension_at_a_time() -> None:
    branches: dict[str, dict[str, float]] = {"a": {}, "b": {}, "c": {}}
    space = {f"p{number}": {"choice": branches} for number in range(40)}

    assert len(list(examples(SPACES.validate_python(space)))) == 1 + 40 * 2


@pytest.mark.parametrize(
    ("space", "line"),
    [
        pytest.param(
            {"C": {"lognormal": [0, 1]}},
            "space: C: unknown distribution 'lognormal' (did you mean 'loguniform'?), "
            "allowed: choice, int, loguniform, uniform",
            id="unknown-distribution",
        ),
        pytest.param(
            {"C": {"uniform": [1, 0]}},
            "space: C: uniform: [1.0, 0.0]: the first bound must be below the second",
            id="bounds-fall",
        ),
        pytest.param(
            {"C": {"uniform": [1, 1]}},
            "space: C: uniform: [1.0, 1.0]: the first bound must be below the second",
            id="bounds-equal",
        ),
        pytest.param(
            {"C": {"loguniform": [0, 1]}},
            "space: C: loguniform: [0.0, 1.0]: bounds must be above 0",
            id="log-of-zero",
        ),
        pytest.param(
            {"n": {"int": [1, 2.5]}},
            "space: n.int[1]: 2.5: should be a whole number",
            id="int-wants-integers",
        ),
        pytest.param(
            {"C": {"uniform": [False, 1]}},
            "space: C.uniform[0]: false: should be a number",
            id="boolean-as-a-bound",
        ),
        pytest.param(
            {"n": {"int": [1, 8], "log": True, "step": 2}},
            "space: n: step: 2: with log, the step must be 1",
            id="log-has-no-step",
        ),
        pytest.param(
            {"n": {"int": [1, 8], "steps": 2}},
            "space: n: unknown key 'steps' (did you mean 'step'?), allowed: int, log, step",
            id="unknown-key-beside-a-distribution",
        ),
        pytest.param(
            {"n": {"int": [1, 8], "uniform": [0, 1]}},
            "space: n: exactly one distribution of: uniform, loguniform, int, choice",
            id="two-distributions",
        ),
        pytest.param(
            {"n": [1, 2]},
            "space: n: [1, 2]: should be a value or a distribution, such as {choice: ...}",
            id="list-instead-of-choice",
        ),
        pytest.param(
            {"n": {"choice": [1, 2, 1]}},
            "space: n: choice: [1, 2, 1]: a value stands twice",
            id="choice-repeats",
        ),
        pytest.param(
            {"kind": {"choice": {"a": {"x": {"normal": [0, 1]}}}}},
            "space: kind.choice.a.x: unknown distribution 'normal' (did you mean 'uniform'?), "
            "allowed: choice, int, loguniform, uniform",
            id="path-leads-into-the-branch",
        ),
        pytest.param(
            {"x": 1, "kind": {"choice": {"a": {"x": 2}}}},
            "space: parameter 'x' is defined twice in one branch",
            id="branch-hides-an-outer-parameter",
        ),
    ],
)
def test_impossible_space_is_refused_in_one_line(space: Any, line: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        SPACES.validate_python(space)

    assert fault_lines(refusal.value, space, where="space") == line


def test_true_and_one_are_different_choices() -> None:
    space = SPACES.validate_python({"n": {"choice": [1, True]}})

    assert list(space["n"].choice) == [1, True]
