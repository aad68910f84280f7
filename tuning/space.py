"""What a sweep may try: distributions over parameters, and branches of them.

A space is a mapping from parameter names to dimensions. A dimension is a distribution,
written as a mapping with the distribution's name as its key; a choice between named
sub-spaces, whose parameters exist only in that branch; or a plain value, a constant.

    estimator:
      choice:
        logistic_regression: {C: {loguniform: [0.01, 100]}}
        random_forest: {n_estimators: {int: [50, 300], log: true}}
    tol: 0.001
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Protocol, Self

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PositiveInt,
    model_validator,
)

from tuning.configfile import Spec, unknown_key

Scalar = bool | int | float | str | None
Params = dict[str, Scalar]
"""One configuration: every parameter that its branches leave standing, by name."""


LARGEST = 1e15
"""Largest bound: beyond it, whole numbers and their distances are no longer exact."""


class Suggester(Protocol):
    """The part of `optuna.Trial` that sampling needs."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Draw a real number from [low, high]."""
        ...

    def suggest_int(
        self, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """Draw an integer from [low, high]."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Draw one of `choices`."""
        ...


Bounds = Annotated[tuple[float, float], Field(strict=False)]
"""Lowest and highest value; YAML knows lists only, so any sequence will do."""


class Uniform(Spec):
    """Real numbers, all equally likely."""

    uniform: Bounds
    """Lowest and highest value."""

    @model_validator(mode="after")
    def _bounds_rise(self) -> Self:
        _require_rising("uniform", self.uniform)
        return self


class LogUniform(Spec):
    """Positive real numbers, all orders of magnitude equally likely."""

    loguniform: Bounds
    """Lowest and highest value, both above 0."""

    @model_validator(mode="after")
    def _bounds_are_positive_and_rise(self) -> Self:
        _require_rising("loguniform", self.loguniform)
        if self.loguniform[0] <= 0:
            raise ValueError(f"loguniform: {list(self.loguniform)}: bounds must be above 0")
        return self


class Int(Spec):
    """Integers, both bounds included."""

    bounds: Annotated[tuple[int, int], Field(strict=False)] = Field(alias="int")
    """Lowest and highest value."""

    log: bool = False
    """Whether orders of magnitude, and not values, are equally likely."""

    step: PositiveInt = 1
    """Distance between neighbours; must be 1 on a logarithmic scale."""

    @model_validator(mode="after")
    def _bounds_suit_the_scale(self) -> Self:
        _require_rising("int", self.bounds)
        if self.log and self.bounds[0] < 1:
            raise ValueError(f"int: {list(self.bounds)}: with log, bounds must be 1 or more")
        if self.log and self.step != 1:
            raise ValueError(f"step: {self.step}: with log, the step must be 1")
        return self


class Choice(Spec):
    """One of several plain values."""

    choice: Annotated[tuple[Scalar, ...], Field(min_length=1, strict=False)]
    """The values, all different."""

    @model_validator(mode="after")
    def _values_differ(self) -> Self:
        # 1 and True are equal in Python, so the type is part of the identity.
        if len({(type(value), value) for value in self.choice}) < len(self.choice):
            raise ValueError(f"choice: {list(self.choice)}: a value stands twice")
        return self


class Branches(Spec):
    """One of several sub-spaces; the parameter's value is the branch's name."""

    choice: Annotated[dict[str, "Space"], Field(min_length=1)]
    """Branches by name; an empty mapping is a branch without parameters of its own."""


def parse_dimension(value: Any) -> Any:
    """Turn one entry of a space into a distribution, or leave a constant as it is."""
    if value is None or isinstance(value, bool | int | float | str | Spec):
        return value
    if not isinstance(value, Mapping):
        # pydantic makes a fault with a path of a ValueError, and of nothing else.
        raise ValueError(  # noqa: TRY004
            f"{value!r}: should be a value or a distribution, such as {{choice: ...}}"
        )
    names = [name for name in DISTRIBUTIONS if name in value]
    if len(names) != 1:
        unknown = next((key for key in value if key not in DISTRIBUTIONS), None)
        if names or unknown is None:
            raise ValueError(f"exactly one distribution of: {', '.join(DISTRIBUTIONS)}")
        raise ValueError(
            unknown_key(unknown, allowed=DISTRIBUTIONS).replace("key", "distribution", 1)
        )
    kind = DISTRIBUTIONS[names[0]]
    if kind is Choice and isinstance(value["choice"], Mapping):
        kind = Branches
    elif kind is Choice:
        _require_plain(value["choice"])
    return kind.model_validate(value)


def _require_plain(values: Any) -> None:
    # pydantic would list a fault for each type that a value might have had.
    for value in values if isinstance(values, list | tuple) else ():
        if value is not None and not isinstance(value, bool | int | float | str):
            raise ValueError(f"choice: {value!r}: should be text, a number, a boolean or null")


def plain_dimension(dimension: Any) -> Any:
    """Undo `parse_dimension`."""
    if isinstance(dimension, Spec):
        return dimension.model_dump(mode="json", by_alias=True)
    return dimension


DISTRIBUTIONS: Mapping[str, type[Spec]] = {
    "uniform": Uniform,
    "loguniform": LogUniform,
    "int": Int,
    "choice": Choice,
}


def require_distinct_names(space: "dict[str, Dimension]") -> "dict[str, Dimension]":
    """Refuse a parameter that a branch would define over an outer or sibling one."""
    seen: set[str] = set()
    for name, dimension in space.items():
        names = _names(name, dimension)
        if names & seen:
            raise ValueError(f"parameter {min(names & seen)!r} is defined twice in one branch")
        seen |= names
    return space


Dimension = Annotated[
    Uniform | LogUniform | Int | Choice | Branches | Scalar,
    PlainValidator(parse_dimension),
    PlainSerializer(plain_dimension),
]
Varying = Uniform | LogUniform | Int | Choice | Branches
Space = Annotated[dict[str, Dimension], AfterValidator(require_distinct_names)]
Branches.model_rebuild()


def sample(
    space: Mapping[str, Dimension], trial: Suggester, prefix: str = "", *, dormant: bool = False
) -> Params:
    """Draw one configuration.

    Args:
        space: What may be tried.
        trial: Where values come from. It sees names qualified by their branch, such as
            `estimator.random_forest.max_depth`, because Optuna wants one distribution
            for a name, and two branches may mean different things by one word.
        prefix: The branch that `space` belongs to.
        dormant: Whether to draw the branches that were not chosen, too, and drop what they
            say: a searcher that knows no branches then sees the same dimensions each time.

    Returns:
        Parameters by their plain names, as the trainer knows them.
    """
    params: Params = {}
    for name, dimension in space.items():
        qualified = prefix + name
        if isinstance(dimension, Branches):
            branch = trial.suggest_categorical(qualified, list(dimension.choice))
            params[name] = branch
            for other, inner in dimension.choice.items():
                if other == branch or dormant:
                    drawn = sample(inner, trial, f"{qualified}.{other}.", dormant=dormant)
                    params |= drawn if other == branch else {}
        else:
            params[name] = _draw(dimension, trial, qualified)
    return params


def dimensions(space: Mapping[str, Dimension], prefix: str = "") -> Iterator[tuple[str, "Varying"]]:
    """Yield all that can vary, in every branch, by qualified names."""
    for name, dimension in space.items():
        if isinstance(dimension, Branches):
            yield prefix + name, dimension
            for branch, inner in dimension.choice.items():
                yield from dimensions(inner, f"{prefix}{name}.{branch}.")
        elif isinstance(dimension, Spec):
            yield prefix + name, dimension


def examples(space: Mapping[str, Dimension]) -> Iterator[Params]:
    """Yield configurations that between them have every branch, choice and bound at least once.

    One dimension varies at a time, as their combinations would be beyond counting.
    """
    options = [list(_dimension_examples(name, dimension)) for name, dimension in space.items()]
    first: Params = {}
    for parts in options:
        first |= parts[0]
    yield first
    for position, parts in enumerate(options):
        for part in parts[1:]:
            params: Params = {}
            for other, others in enumerate(options):
                params |= part if other == position else others[0]
            yield params


def _draw(dimension: Dimension, trial: Suggester, name: str) -> Scalar:
    match dimension:
        case Uniform(uniform=(low, high)):
            return trial.suggest_float(name, low, high)
        case LogUniform(loguniform=(low, high)):
            return trial.suggest_float(name, low, high, log=True)
        case Int(bounds=(low, high), log=log, step=step):
            return trial.suggest_int(name, low, high, log=log, step=step)
        case Choice(choice=values):
            drawn: Scalar = trial.suggest_categorical(name, list(values))
            return drawn
        case constant:
            return constant  # type: ignore[return-value]  # Branches never come here


def _dimension_examples(name: str, dimension: Dimension) -> Iterator[Params]:
    match dimension:
        case Branches(choice=branches):
            for branch, space in branches.items():
                for params in examples(space):
                    yield {name: branch, **params}
        case Uniform(uniform=bounds) | LogUniform(loguniform=bounds) | Int(bounds=bounds):
            for bound in bounds:
                yield {name: bound}
        case Choice(choice=values):
            for value in values:
                yield {name: value}
        case constant:
            yield {name: constant}


def _names(name: str, dimension: Dimension) -> set[str]:
    """The parameter and all that any of its branches defines."""
    if not isinstance(dimension, Branches):
        return {name}
    inner = (_names(*item) for branch in dimension.choice.values() for item in branch.items())
    return {name}.union(*inner)


def _require_rising(name: str, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not low < high:
        raise ValueError(f"{name}: [{low}, {high}]: the first bound must be below the second")
    if max(abs(low), abs(high)) > LARGEST:
        raise ValueError(f"{name}: [{low}, {high}]: allowed: bounds up to {LARGEST:g}")
