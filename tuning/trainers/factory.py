"""From a trainer's name in a spec to a trainer."""

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tuning.errors import ConfigError
from tuning.trainers.trainer import Problem, Trainer

Factory = Callable[[Problem, Mapping[str, Any]], Trainer]
"""Takes the problem and the spec's `options`; raises ConfigError for options it cannot use."""

TRAINERS: Mapping[str, str] = {
    "sklearn": "tuning.trainers.sklearn:SklearnTrainer",
    "tensorflow": "tuning.trainers.tensorflow:make_keras_trainer",
    "torch": "tuning.trainers.torch:make_torch_trainer",
}
"""Imported by name, so that a trial pays for its own trainer alone."""


OWED = ("metrics", "flavor", "row_shape", "check", "train", "refit", "score")
"""What `Trainer` has, in the order in which it is needed."""


def make_trainer(name: str, problem: Problem, options: Mapping[str, Any]) -> Trainer:
    """Build the trainer that a spec names.

    Args:
        name: A key of `TRAINERS`, or `package.module:factory` for one's own.
        problem: What it is built for.
        options: The spec's `options`.

    Raises:
        ConfigError: There is no such trainer, or it cannot use the options.
    """
    factory = _factory(name)
    try:
        trainer = factory(problem, options)
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001, a user's own code
        raise ConfigError(f"trainer: {name!r}: cannot be built: {in_one_line(error)}") from None
    missing = [each for each in OWED if not hasattr(trainer, each)]
    if missing:
        raise ConfigError(
            f"trainer: {name!r}: made {type(trainer).__name__!r}, which has no {missing[0]!r}; "
            f"a trainer has: {', '.join(OWED)}"
        )
    return trainer


def in_one_line(error: BaseException) -> str:
    """Name an error of somebody else's code by its type and the first line of its text."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _factory(name: str) -> Factory:
    module_name, _, attribute = TRAINERS.get(name, name).partition(":")
    if not attribute or not module_name:
        known = ", ".join(sorted(TRAINERS))
        raise ConfigError(
            f"trainer: {name!r}: unknown, allowed: {known}, or package.module:factory"
        )
    # A console script, unlike `python -m`, does not see modules of the working directory.
    folder = str(Path.cwd())
    if folder not in sys.path and "" not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001, a user's own code
        reason = str(error) if isinstance(error, ImportError) else in_one_line(error)
        raise ConfigError(f"trainer: {name!r}: cannot be imported: {reason}") from None
    factory: Factory | None = getattr(module, attribute, None)
    if not callable(factory):
        raise ConfigError(f"trainer: {name!r}: module {module_name!r} has no {attribute!r}")
    return factory
