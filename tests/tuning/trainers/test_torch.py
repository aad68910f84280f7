from typing import ClassVar

import pytest

from tests.contracts.trainer import TrainerContract
from tuning.errors import ConfigError
from tuning.space import Params
from tuning.trainers.torch import make_torch_trainer
from tuning.trainers.trainer import Problem, Trainer

COLUMNS = tuple("abcdefghijklmnop")


@pytest.mark.ray
class TestConvolutionalNet(TrainerContract):
    epochs = 6
    params: ClassVar[Params] = {"learning_rate": 0.01, "channels": 8, "batch_size": 16}
    bad_params: ClassVar[Params] = {"learning_rate": -1.0}

    def make(self, problem: Problem) -> Trainer:
        return make_torch_trainer(problem, {"image_shape": [1, 4, 4]})


@pytest.mark.ray
class TestPerceptron(TrainerContract):
    epochs = 6
    params: ClassVar[Params] = {"learning_rate": 0.03, "hidden": 16, "batch_size": 16}
    bad_params: ClassVar[Params] = {"hidden": "many"}

    def make(self, problem: Problem) -> Trainer:
        return make_torch_trainer(problem, {})


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        pytest.param([1, 5, 5], "25 values, but the data has 16 columns", id="wrong-size"),
        pytest.param([4, 2, 2], "height and width must be 4 or more", id="too-small"),
        pytest.param([16], r"options\.image_shape\[1\]: is missing", id="not-an-image"),
    ],
)
def test_image_shape_must_fit_the_columns(shape: list[int], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        make_torch_trainer(Problem(COLUMNS, (), False, 2, 1, 0, 1, False), {"image_shape": shape})


@pytest.mark.parametrize(
    ("text", "missing", "fault"),
    [
        pytest.param(("b",), False, "text in b: the torch trainer takes numbers", id="text"),
        pytest.param((), True, "values are missing", id="gaps"),
    ],
)
def test_rows_without_a_number_everywhere_are_refused(
    text: tuple[str, ...], missing: bool, fault: str
) -> None:
    with pytest.raises(ConfigError, match=fault):
        make_torch_trainer(Problem(COLUMNS, text, missing, 2, 1, 0, 1, False), {})
