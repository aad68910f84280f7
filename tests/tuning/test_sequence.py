from collections import Counter
from typing import Any

import numpy as np
import pytest

from tuning.searcher import SearcherSpec
from tuning.sequence import GridDesign, QmcDesign, RandomDesign, make_design
from tuning.space import Branches, Choice, Int, LogUniform, Space, Uniform

BRANCHED: Space = {
    "estimator": Branches.model_validate(
        {
            "choice": {
                "linear": {"C": LogUniform(loguniform=(0.01, 100.0))},
                "forest": {
                    "depth": Choice(choice=(None, 4)),
                    "trees": Int.model_validate({"int": (10, 30), "step": 10}),
                },
            }
        }
    ),
    "tol": 0.1,
}


@pytest.mark.parametrize("kind", ["random", "qmc", "grid"])
def test_a_number_says_it_all(kind: Any) -> None:
    searcher = SearcherSpec(kind=kind)
    one = make_design(BRANCHED, searcher, seed=3)
    other = make_design(BRANCHED, searcher, seed=3)
    assert one is not None
    assert other is not None

    forwards = [one.draw(number) for number in range(10)]
    backwards = [other.draw(number) for number in reversed(range(10))]

    assert forwards == backwards[::-1]
    assert len({str(params) for params, _ in forwards}) > 5


def test_a_grid_has_every_configuration_once_and_branches_add_up() -> None:
    design = GridDesign(BRANCHED, seed=0, points=3)

    drawn = [design.draw(number)[0] for number in range(design.size)]

    assert design.size == 3 + 2 * 3
    linear = [params for params in drawn if params["estimator"] == "linear"]
    assert sorted(float(str(params["C"])) for params in linear) == pytest.approx([0.01, 1.0, 100.0])
    forests = {
        (params["depth"], params["trees"]) for params in drawn if params["estimator"] == "forest"
    }
    assert forests == {(depth, trees) for depth in (None, 4) for trees in (10, 20, 30)}
    assert all(params["tol"] == 0.1 for params in drawn)


def test_qmc_fills_a_square_more_evenly_than_chance() -> None:
    space: Space = {"x": Uniform(uniform=(0.0, 1.0)), "y": Uniform(uniform=(0.0, 1.0))}

    def busiest_of_64_cells(design: Any) -> int:
        points = np.array([list(design.draw(number)[0].values()) for number in range(64)])
        return max(Counter(map(tuple, (points * 8).astype(int).tolist())).values())

    # 64 Sobol points put exactly one into each of 8 x 8 cells, for every scrambling.
    assert busiest_of_64_cells(QmcDesign(space, seed=1)) == 1
    assert busiest_of_64_cells(RandomDesign(space, seed=1)) > 1


def test_points_follow_one_another_over_a_block() -> None:
    space: Space = {"x": Uniform(uniform=(0.0, 1.0))}
    design = QmcDesign(space, seed=1)

    drawn = {design.draw(number)[0]["x"] for number in range(256)}

    assert len({int(float(str(x)) * 256) for x in drawn}) == 256


@pytest.mark.parametrize(
    ("dimension", "allowed"),
    [
        pytest.param(Int.model_validate({"int": (1, 4)}), {1, 2, 3, 4}, id="int"),
        pytest.param(Int.model_validate({"int": (1, 8), "step": 3}), {1, 4, 7}, id="step"),
        pytest.param(Int.model_validate({"int": (1, 3), "log": True}), {1, 2, 3}, id="log-int"),
        pytest.param(Choice(choice=("a", None, 2)), {"a", None, 2}, id="choice"),
    ],
)
def test_every_member_of_a_dimension_is_drawn_and_nothing_else(
    dimension: Any, allowed: set[Any]
) -> None:
    design = RandomDesign({"p": dimension}, seed=0)

    assert {design.draw(number)[0]["p"] for number in range(100)} == allowed


def test_logarithmic_draws_are_as_often_in_each_order_of_magnitude() -> None:
    design = RandomDesign({"p": LogUniform(loguniform=(0.001, 1000.0))}, seed=0)

    below_one = sum(float(str(design.draw(number)[0]["p"])) < 1.0 for number in range(1000))

    assert 450 < below_one < 550
