from typing import Any

import pytest

from tuning.errors import ConfigError
from tuning.searcher import SearcherSpec, require_searchable
from tuning.space import Branches, Choice, Space, Uniform

X = Uniform(uniform=(0.0, 1.0))
BRANCHED: Space = {"a": Branches.model_validate({"choice": {"b": {"x": X}, "c": {"y": X}}})}
OTHERS = "allowed: tpe, gp, nsga2, qmc, grid, random"


@pytest.mark.parametrize(
    ("kind", "space", "n_objectives", "line"),
    [
        pytest.param(
            "cmaes", BRANCHED, 1,
            f"space.a: has branches, which the cmaes searcher does not know; {OTHERS}",
            id="branches",
        ),
        pytest.param(
            "cmaes", {"x": X, "y": X, "k": Choice(choice=(1, 2))}, 1,
            f"space.k: a choice, where the cmaes searcher moves numbers only; {OTHERS}",
            id="choice",
        ),
        pytest.param(
            "cmaes", {"x": X, "y": X}, 2,
            f"searcher.kind: 'cmaes': knows one objective, not 2; {OTHERS}",
            id="two-objectives",
        ),
    ],
)  # fmt: skip
def test_what_a_searcher_cannot_do_is_one_line(
    kind: Any, space: Space, n_objectives: int, line: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        require_searchable(SearcherSpec(kind=kind), space, n_objectives)

    assert str(refusal.value) == line


@pytest.mark.parametrize("kind", ["tpe", "gp", "nsga2", "qmc", "grid", "random"])
def test_branches_suit_all_others(kind: Any) -> None:
    require_searchable(SearcherSpec(kind=kind), BRANCHED, 2)


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="'gp': needs the package 'torch'"):
        require_searchable(SearcherSpec(kind="gp"), BRANCHED, 1, installed=lambda _: False)
