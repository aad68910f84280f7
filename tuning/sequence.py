"""Configurations that need no results: the next one follows from its number alone.

So they cost the same for the first trial and for the ten-thousandth, and a resumed sweep
goes on with what it would have tried. Optuna's own samplers of these kinds know no
branches; here every branch's parameters are dimensions of their own.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tuning.errors import ConfigError
from tuning.searcher import SearcherSpec
from tuning.space import (
    Branches,
    Choice,
    Dimension,
    Int,
    LogUniform,
    Params,
    Space,
    Uniform,
    dimensions,
    sample,
)

LARGEST_GRID = 1_000_000
"""Configurations; their order is shuffled in memory."""


class Design(Protocol):
    """A rule that says which configuration has which number."""

    def draw(self, number: int) -> tuple[Params, dict[str, Any]]:
        """Return a trial's parameters, and the draws behind them by qualified names."""
        ...


class RandomDesign:
    """Independent draws, from a generator of its own for each trial."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._names = [name for name, _ in dimensions(space)]

    def draw(self, number: int) -> tuple[Params, dict[str, Any]]:
        """Return a trial's parameters, and the draws behind them."""
        generator = np.random.default_rng([self._seed, number])
        return _placed(self._space, self._names, generator.random(len(self._names)))


class QmcDesign:
    """Scrambled Sobol points: they fill the space evenly, however many there are.

    Source: Bergstra and Bengio (2012), section 4.3, on why not a grid; Owen's scrambling as
    in `scipy.stats.qmc.Sobol`.
    """

    BLOCK = 64
    """Points made at one time: skipping to a number costs more than a block."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._names = [name for name, _ in dimensions(space)]
        self._first = -1
        self._points: NDArray[np.float64] = np.empty((0, 0))

    def draw(self, number: int) -> tuple[Params, dict[str, Any]]:
        """Return a trial's parameters, and the draws behind them."""
        if not self._names:
            return _placed(self._space, [], [])
        first = number - number % self.BLOCK
        if first != self._first:
            self._first, self._points = first, self._block(first)
        return _placed(self._space, self._names, self._points[number - first])

    def _block(self, first: int) -> NDArray[np.float64]:
        # Its import costs a second.
        from scipy.stats import qmc  # noqa: PLC0415, as above

        sobol = qmc.Sobol(len(self._names), scramble=True, rng=self._seed)
        if first:
            sobol.fast_forward(first)
        points: NDArray[np.float64] = sobol.random(self.BLOCK)
        return points


class GridDesign:
    """Every combination of values once, in a shuffled order; branches are not multiplied."""

    def __init__(self, space: Space, seed: int, points: int) -> None:
        self._space = space
        self._seed = seed
        self._points = points

    @property
    def size(self) -> int:
        """Configurations in the grid."""
        return _grid_size(self._space, self._points)

    def draw(self, number: int) -> tuple[Params, dict[str, Any]]:
        """Return a trial's parameters, and the draws behind them."""
        draws = dict(_grid_draws(self._space, self._points, int(self._order[number])))
        return sample(self._space, _Given(draws)), draws

    @cached_property
    def _order(self) -> NDArray[np.int64]:
        return np.random.default_rng(self._seed).permutation(self.size)


def make_design(space: Space, searcher: SearcherSpec, seed: int) -> Design | None:
    """Build the rule that a searcher names; None for searchers that learn from results."""
    match searcher.kind:
        case "random":
            return RandomDesign(space, seed)
        case "qmc":
            return QmcDesign(space, seed)
        case "grid":
            return GridDesign(space, seed, searcher.grid_points)
        case _:
            return None


def require_grid(space: Space, searcher: SearcherSpec, n_trials: int) -> None:
    """Refuse more trials than a grid has configurations, or a grid that is too large.

    Raises:
        ConfigError: Names both numbers.
    """
    size = _grid_size(space, searcher.grid_points)
    if size > LARGEST_GRID:
        raise ConfigError(
            f"searcher.kind: 'grid': {size} configurations, allowed: up to {LARGEST_GRID}"
        )
    if n_trials > size:
        raise ConfigError(
            f"n_trials: {n_trials}: the grid has {size} configurations, allowed: 1 to {size}"
        )


class Placed:
    """Turns coordinates from [0, 1) into values; a `tuning.space.Suggester`."""

    def __init__(self, coordinates: Mapping[str, float]) -> None:
        self._coordinates = coordinates
        self.draws: dict[str, Any] = {}
        """What was asked for so far, by name."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Place a coordinate between two bounds."""
        share = self._coordinates[name]
        if log:
            value = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
        else:
            value = low + share * (high - low)
        self.draws[name] = min(max(value, low), high)  # rounding may leave the bounds
        return float(self.draws[name])

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Place a coordinate on a whole number; each is as likely as its share of the scale."""
        if log:
            value = round(self.suggest_float(name, low - 0.5, high + 0.5, log=True))
        else:
            value = low + step * int(self._coordinates[name] * ((high - low) // step + 1))
        self.draws[name] = min(max(value, low), high)
        return int(self.draws[name])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Place a coordinate on one of several values."""
        self.draws[name] = choices[int(self._coordinates[name] * len(choices))]
        return self.draws[name]


class _Given:
    """Repeats draws; a `tuning.space.Suggester`."""

    def __init__(self, draws: Mapping[str, Any]) -> None:
        self._draws = draws

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        return float(self._draws[name])

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        return int(self._draws[name])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._draws[name]


def _placed(
    space: Space, names: Sequence[str], coordinates: "Sequence[float] | NDArray[np.float64]"
) -> tuple[Params, dict[str, Any]]:
    placed = Placed(dict(zip(names, map(float, coordinates), strict=True)))
    return sample(space, placed), placed.draws


def _grid_size(space: Mapping[str, Dimension], points: int) -> int:
    return prod(_n_options(dimension, points) for dimension in space.values())


def _n_options(dimension: Dimension, points: int) -> int:
    if isinstance(dimension, Branches):
        return sum(_grid_size(inner, points) for inner in dimension.choice.values())
    return len(_values(dimension, points))


def _grid_draws(
    space: Mapping[str, Dimension], points: int, index: int, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, dimension in space.items():
        index, place = divmod(index, _n_options(dimension, points))
        if not isinstance(dimension, Branches):
            if isinstance(dimension, Uniform | LogUniform | Int | Choice):
                yield prefix + name, _values(dimension, points)[place]
            continue
        for branch, inner in dimension.choice.items():
            size = _grid_size(inner, points)
            if place < size:
                yield prefix + name, branch
                yield from _grid_draws(inner, points, place, f"{prefix}{name}.{branch}.")
                break
            place -= size


def _values(dimension: Dimension, points: int) -> list[Any]:
    """The values that a grid takes of a dimension: all of a choice, some of a range."""
    match dimension:
        case Choice(choice=values):
            return list(values)
        case Uniform(uniform=(low, high)):
            return [float(value) for value in np.linspace(low, high, points)]
        case LogUniform(loguniform=(low, high)):
            inner = np.geomspace(low, high, points)
            return [float(value) for value in np.clip(inner, low, high)]
        case Int(bounds=(low, high), log=log, step=step):
            highest = high - (high - low) % step
            spread = np.geomspace(low, high, points) if log else np.linspace(low, highest, points)
            return sorted({int(low + step * round((value - low) / step)) for value in spread})
        case constant:
            return [constant]
