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


def make_trainer(name: str, problem: Problem, options: Mapping[str, Any]) -> Trainer:
    """Build the trainer that a spec names.

    Args:
        name: A key of `TRAINERS`, or `package.module:factory` for one's own.
        problem: What it is built for.
        options: The spec's `options`.

    Raises:
        ConfigError: There is no such trainer, or it cannot use the options.
    """
    return _factory(name)(problem, options)


def _factory(name: str) -> Factory:
    module_name, _, attribute = TRAINERS.get(name, name).partition(":")
    if not attribute:
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
    except ImportError as error:
        raise ConfigError(f"trainer: {name!r}: cannot be imported: {error}") from None
    factory: Factory | None = getattr(module, attribute, None)
    if not callable(factory):
        raise ConfigError(f"trainer: {name!r}: module {module_name!r} has no {attribute!r}")
    return factory
