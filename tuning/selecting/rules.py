"""What a selection's YAML file may say."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le
from pydantic import AfterValidator, Field, StringConstraints, model_validator

from tuning.comparison import RequireBetterSpec
from tuning.configfile import Spec
from tuning.selecting.conditions import Condition, Key, Order, parse_condition, parse_order
from tuning.spec import Name

Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]


def _is_condition(text: str) -> str:
    parse_condition(text)
    return text


def _is_order(text: str) -> str:
    parse_order(text)
    return text


ConditionText = Annotated[Text, AfterValidator(_is_condition)]
OrderText = Annotated[Text, AfterValidator(_is_order)]
Preference = OrderText | dict[OrderText, list[str | int | float | bool | None]]
"""By a number or a text; or a key with its values, the simplest first."""

STATISTICS = ("mean", "std", "min", "max")
"""What is known of each metric over the folds, as a suffix of its name."""


class ParsimonySpec(Spec):
    """When a simpler trial is preferred to the best one: the one-standard-error rule."""

    standard_errors: Annotated[float, Ge(0), Le(10)] = 1.0
    """Trials this close to the best count as equally good."""

    prefer: Annotated[tuple[Preference, ...], Field(strict=False, min_length=1)]
    """What is simpler: orders, or a parameter with its values, the simplest first."""


class SelectionSpec(Spec):
    """Which trial of which sweeps becomes a version."""

    name: Name
    """The selection; a version that it registers carries it as a tag."""

    model: Name
    """Registered model that gets the version."""

    experiment: Annotated[str, StringConstraints(min_length=1, max_length=250)] = "rayfleet"
    """MLflow experiment of the sweeps."""

    sweeps: Annotated[tuple[Text, ...], Field(strict=False, min_length=1)] = ("*",)
    """Names of sweeps; `*` and `?` stand for any characters."""

    comparable_by: Literal["folds", "data", "nothing"] = "folds"
    """What trials must share with the newest sweep's: data and folds, data alone, or nothing."""

    filters: Annotated[tuple[ConditionText, ...], Field(strict=False)] = ()
    """Conditions by which trials are considered at all."""

    constraints: Annotated[tuple[ConditionText, ...], Field(strict=False)] = ()
    """Conditions that the winner must fulfil; where no trial does, nothing is registered."""

    sweep_constraints: bool = True
    """Whether the winner must also keep the constraints of its own sweep."""

    metric: Text = "accuracy"
    """What decides: its mean over the folds."""

    mode: Literal["max", "min"] = "max"
    """Whether more of it is better."""

    tie_breaks: Annotated[tuple[OrderText, ...], Field(strict=False)] = ()
    """Orders among equal means; then the lower standard deviation, then the earlier trial."""

    parsimony: ParsimonySpec | None = None
    """Whether a simpler trial may win that is about as good as the best; null: no."""

    require_better: RequireBetterSpec | None = None
    """Whether the winner must beat the champion in a paired test; null: no."""

    @model_validator(mode="after")
    def _metrics_are_summaries(self) -> Self:
        if self.metric.endswith(tuple(f"_{each}" for each in STATISTICS)):
            raise ValueError(
                f"metric: {self.metric!r}: allowed: the metric itself, such as "
                f"{self.metric.rpartition('_')[0]!r}; its mean over the folds decides"
            )
        return self

    @property
    def sign(self) -> float:
        """1.0 where more is better, -1.0 where less is."""
        return 1.0 if self.mode == "max" else -1.0

    @property
    def conditions(self) -> tuple[list[Condition], list[Condition]]:
        """Filters and constraints, parsed."""
        return (
            [parse_condition(text) for text in self.filters],
            [parse_condition(text) for text in self.constraints],
        )

    @property
    def orders(self) -> list[Order]:
        """Tie-breaks, parsed."""
        return [parse_order(text) for text in self.tie_breaks]

    @property
    def keys(self) -> list[Key]:
        """Everything that the rules ask about."""
        filters, constraints = self.conditions
        simpler = [key for key, _ in preferences(self.parsimony)]
        orders = [order.key for order in self.orders]
        return [each.key for each in (*filters, *constraints)] + orders + simpler


def preferences(spec: ParsimonySpec | None) -> list[tuple[Key, Order | list[Any]]]:
    """Spell out what is simpler: for each key an order, or its values in theirs."""
    found: list[tuple[Key, Order | list[Any]]] = []
    for each in spec.prefer if spec is not None else ():
        if isinstance(each, Mapping):
            found += [(parse_order(text).key, values) for text, values in each.items()]
        else:
            order = parse_order(each)
            found.append((order.key, order))
    return found
