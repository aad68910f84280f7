from typing import ClassVar

import pytest

from tests.contracts.trainer import TrainerContract
from tuning.errors import ConfigError
from tuning.space import Params
from tuning.trainers.tensorflow import make_keras_trainer
from tuning.trainers.trainer import Problem, Trainer


@pytest.mark.ray
class TestKeras(TrainerContract):
    epochs = 6
    params: ClassVar[Params] = {"learning_rate": 0.03, "hidden": 16, "batch_size": 16}
    bad_params: ClassVar[Params] = {"layers": 3}

    def make(self, problem: Problem) -> Trainer:
        return make_keras_trainer(problem, {})


def test_options_are_refused_as_there_are_none() -> None:
    with pytest.raises(ConfigError, match=r"options: .'image_shape'.: .* has none"):
        make_keras_trainer(Problem(("x",), (), False, 2, 1, 0, 1, False), {"image_shape": [1]})
