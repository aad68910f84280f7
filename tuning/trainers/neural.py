"""What the trainers of neural networks agree on, whichever framework they use."""

from collections.abc import Mapping

from tuning.configfile import unknown_key
from tuning.errors import ConfigError
from tuning.space import Params
from tuning.trainers.trainer import Problem

Bounds = tuple[float, float]


def require_matrix(name: str, problem: Problem) -> None:
    """Refuse text and missing values, for which a network has no input, and regressions.

    Raises:
        ConfigError: Names the columns.
    """
    if problem.regression:
        raise ConfigError(f"data: numbers to predict: the {name} trainer tells classes apart only")
    if problem.text_columns:
        columns = ", ".join(problem.text_columns)
        raise ConfigError(f"data: text in {columns}: the {name} trainer takes numbers only")
    if problem.missing:
        raise ConfigError(f"data: values are missing: the {name} trainer takes complete rows only")


def check_params(params: Params, limits: Mapping[str, Bounds]) -> None:
    """Compare parameters with the ones that a trainer knows, by name and range.

    Raises:
        ConfigError: The first parameter that is unknown or out of its range.
    """
    for name, value in params.items():
        if name not in limits:
            raise ConfigError(unknown_key(name, allowed=limits).replace("key", "parameter", 1))
        low, high = limits[name]
        # Whole bounds are of counts; a fraction of one would be cut in silence.
        whole = isinstance(low, int) and isinstance(high, int)
        number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not number or not low <= float(value) <= high:  # type: ignore[arg-type]
            kind = "whole number" if whole else "number"
            raise ConfigError(f"{name}: {value!r}, allowed: a {kind} from {low:g} to {high:g}")
