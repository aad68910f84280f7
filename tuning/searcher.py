"""How the next configuration is chosen, and which spaces and goals a searcher can handle."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Annotated, Literal

from annotated_types import Ge, Le
from pydantic import PositiveInt

from tuning.configfile import Spec
from tuning.errors import ConfigError
from tuning.space import Branches, Choice, Space, dimensions

SearcherKind = Literal["tpe", "gp", "cmaes", "nsga2", "qmc", "grid", "random"]

LEARNERS: tuple[SearcherKind, ...] = ("tpe", "gp", "cmaes", "nsga2")
"""Searchers that learn from results, and so from those of an earlier sweep."""

PACKAGES: Mapping[str, tuple[str, ...]] = {"gp": ("torch", "scipy"), "cmaes": ("cmaes",)}
"""What Optuna imports for a searcher, beside what is always there."""


class SearcherSpec(Spec):
    """How the next configuration is chosen."""

    kind: SearcherKind = "tpe"
    """Its name in the table of searchers."""

    n_startup_trials: PositiveInt = 10
    """Random draws before `tpe` or `gp` takes over."""

    population_size: Annotated[int, Ge(2), Le(10_000)] | None = None
    """Configurations in a generation of `nsga2` or `cmaes`; None takes what suits `n_trials`,
    or the space."""

    grid_points: Annotated[int, Ge(2), Le(1000)] = 5
    """Values that `grid` takes from each range of numbers, both bounds among them."""


def require_searchable(
    searcher: SearcherSpec,
    space: Space,
    n_objectives: int,
    *,
    installed: Callable[[str], bool] = lambda name: find_spec(name) is not None,
) -> None:
    """Refuse a space or goals that a searcher cannot handle.

    Raises:
        ConfigError: In one line.
    """
    kind = searcher.kind
    missing = [name for name in PACKAGES.get(kind, ()) if not installed(name)]
    if missing:
        raise ConfigError(
            f"searcher.kind: {kind!r}: needs the package {missing[0]!r}, which is not installed"
        )
    if kind == "cmaes":
        _require_numbers(space, n_objectives)


def _require_numbers(space: Space, n_objectives: int) -> None:
    others = "allowed: tpe, gp, nsga2, qmc, grid, random"
    if n_objectives > 1:
        raise ConfigError(
            f"searcher.kind: 'cmaes': knows one objective, not {n_objectives}; "
            "allowed: tpe, gp, nsga2, qmc, grid, random"
        )
    numbers = 0
    for name, dimension in dimensions(space):
        if isinstance(dimension, Branches):
            raise ConfigError(
                f"space.{name}: has branches, which the cmaes searcher does not know; {others}"
            )
        if isinstance(dimension, Choice):
            raise ConfigError(
                f"space.{name}: a choice, where the cmaes searcher moves numbers only; {others}"
            )
        numbers += 1
    if numbers < 2:
        raise ConfigError(
            f"space: one number, where the cmaes searcher needs at least two; {others}"
        )
