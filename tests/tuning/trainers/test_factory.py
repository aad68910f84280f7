import pytest

from tests.tuning.fakes import FakeTrainer
from tuning.errors import ConfigError
from tuning.trainers.factory import make_trainer
from tuning.trainers.sklearn import SklearnTrainer
from tuning.trainers.trainer import Problem

PROBLEM = Problem(("x",), (), False, 2, 1, 0, 1, False)


def test_builtin_trainer_is_found_by_name() -> None:
    assert isinstance(make_trainer("sklearn", PROBLEM, {}), SklearnTrainer)


def test_ones_own_trainer_is_found_by_path() -> None:
    trainer = make_trainer("tests.tuning.fakes:FakeTrainer", PROBLEM, {})

    assert isinstance(trainer, FakeTrainer)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        pytest.param(
            "xgboost",
            "unknown, allowed: sklearn, tensorflow, torch, or package.module:factory",
            id="unknown-lists-known",
        ),
        pytest.param("no.such.module:factory", "cannot be imported: No module named", id="module"),
        pytest.param(":factory", "unknown, allowed: sklearn", id="no-module"),
        pytest.param("..a:b", "cannot be imported: TypeError", id="relative-module"),
        pytest.param("builtins:dict", "cannot be built: TypeError", id="takes-other-arguments"),
        pytest.param(
            "tests.tuning.fakes:NoTrainer",
            "made 'NoTrainer', which has no 'metrics'; a trainer has: metrics, flavor, row_shape, "
            "check, train, refit, score",
            id="is-no-trainer",
        ),
        pytest.param("tests.tuning.fakes:nothing", "has no 'nothing'", id="attribute"),
        pytest.param("tests.tuning.fakes:SCORES", "has no 'SCORES'", id="not-callable"),
    ],
)
def test_trainer_that_does_not_exist_is_refused(name: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        make_trainer(name, PROBLEM, {})
