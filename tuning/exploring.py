"""How a population changes parameters while it trains, and how a fit repeats that.

Source: Jaderberg et al. (2017), Population Based Training of Neural Networks, section 4.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tuning.errors import ConfigError
from tuning.sequence import Placed
from tuning.space import Dimension, Int, LogUniform, Params, Uniform, sample
from tuning.trainers.trainer import Evolving, Fold, Metrics, Trainer

FACTORS = (0.8, 1.25)
"""By one of these a parameter is multiplied, with equal chance."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Epochs that were trained with the same parameters."""

    epochs: int
    params: Params


def mutable_dimensions(
    space: Mapping[str, Dimension], trainer: Trainer
) -> dict[str, Uniform | LogUniform | Int]:
    """Numbers of the space that a trainer can change between two epochs.

    Raises:
        ConfigError: The trainer cannot, or there are none.
    """
    if not isinstance(trainer, Evolving):
        raise ConfigError(
            "scheduler.kind: 'pbt': the trainer has no `state`, `resume`, `model` and `mutable`; "
            "torch and tensorflow have them"
        )
    found = {
        name: dimension
        for name, dimension in space.items()
        if name in trainer.mutable and isinstance(dimension, Uniform | LogUniform | Int)
    }
    if not found:
        raise ConfigError(
            "space: has none of the ranges that 'pbt' could change while a trial trains, allowed: "
            f"{', '.join(trainer.mutable)}"
        )
    return found


def explored(
    params: Params,
    mutable: Mapping[str, Uniform | LogUniform | Int],
    *,
    resample: float,
    generator: np.random.Generator,
) -> Params:
    """Change the mutable parameters of a configuration that is worth going on with.

    Args:
        params: What the better trial was given last.
        mutable: What may change, and within which bounds.
        resample: Chance of a fresh draw in the place of a small step.
        generator: Where chance comes from.
    """
    changed = dict(params)
    for name, dimension in mutable.items():
        if generator.random() < resample:
            placed = Placed({name: float(generator.random())})
            changed |= sample({name: dimension}, placed)
            continue
        factor = FACTORS[int(generator.integers(len(FACTORS)))]
        changed[name] = _stepped(float(str(params[name])), factor, dimension)
    return changed


def extended(segments: Sequence[Segment], params: Params) -> tuple[Segment, ...]:
    """Add one epoch with these parameters."""
    if segments and segments[-1].params == params:
        last = replace(segments[-1], epochs=segments[-1].epochs + 1)
        return (*segments[:-1], last)
    return (*segments, Segment(1, params))


def epochs_of(segments: Sequence[Segment]) -> Iterator[Params]:
    """Yield each epoch's parameters."""
    for segment in segments:
        for _ in range(segment.epochs):
            yield segment.params


def spelled(segments: Sequence[Segment]) -> str:
    """Say as JSON which parameters were in force for how many epochs."""
    return json.dumps([{"epochs": each.epochs, **each.params} for each in segments])


def read_spelled(text: str) -> tuple[Segment, ...]:
    """Read what `spelled` wrote.

    Raises:
        ValueError: It is cut off.
    """
    return tuple(Segment(each.pop("epochs"), each) for each in json.loads(text))


def one_epoch(
    trainer: Evolving, params: Params, fold: Fold, state: bytes | None
) -> tuple[Metrics, bytes]:
    """Train a fold for one epoch, from a state or from nothing."""
    stream = trainer.train(params, fold) if state is None else trainer.resume(params, fold, state)
    metrics = next(stream)
    return metrics, trainer.state()


def refit_evolved(trainer: Evolving, segments: Sequence[Segment], fold: Fold) -> Any:
    """Fit a model with the parameters that changed as they did in the trial."""
    state = None
    for params in epochs_of(segments):
        _, state = one_epoch(trainer, params, fold, state)
    return trainer.model()


def _stepped(value: float, factor: float, dimension: Uniform | LogUniform | Int) -> float | int:
    if isinstance(dimension, Int):
        low, high = dimension.bounds
        nearest = low + dimension.step * round((value * factor - low) / dimension.step)
        return int(min(max(nearest, low), high - (high - low) % dimension.step))
    low_s, high_s = dimension.uniform if isinstance(dimension, Uniform) else dimension.loguniform
    return min(max(value * factor, low_s), high_s)
