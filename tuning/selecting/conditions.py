"""Conditions and orders over runs, in the words of MLflow's own searches.

    metrics.accuracy_mean >= 0.9        params.estimator IN ('random_forest', 'extra_trees')
    metrics.model_bytes <= 10 MB        metrics.p99_ms <= 5
    tags.team LIKE 'risk-%'             params.n_estimators ASC

MLflow could evaluate most of them itself, but would not say which of them a run failed.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

from tuning.goals import BYTES, UNITS

Entity = Literal["metrics", "params", "tags"]


class Described(Protocol):
    """What can be asked about: a trial's run."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Summaries over the folds, by name."""
        ...

    @property
    def params(self) -> Mapping[str, str]:
        """What the trainer was given, as text."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """Of the trial's run and of its sweep's."""
        ...


@dataclass(frozen=True, slots=True)
class Key:
    """One metric, parameter or tag."""

    entity: Entity
    name: str

    def __str__(self) -> str:
        plain = re.fullmatch(r"[\w.:-]+", self.name) is not None
        return f"{self.entity}.{self.name if plain else f'`{self.name}`'}"

    def of(self, described: Described) -> float | str | None:
        """Look the value up; numbers as such, None where there is none."""
        values: Mapping[str, Any] = getattr(described, self.entity)
        value = values.get(self.name)
        return value if value is None or self.entity == "metrics" else as_number(value)


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that a run must fulfil."""

    text: str
    """As it was written."""

    key: Key
    comparator: str
    value: float | str | tuple[float | str, ...]

    def fault(self, described: Described) -> str | None:
        """Say how a run fails the condition; None if it does not."""
        found = self.key.of(described)
        if found is None:
            return f"{self.text}: has none"
        return None if self._holds(found) else f"{self.text}: is {shown(found)}"

    def _holds(self, found: float | str) -> bool:
        if self.comparator in ("IN", "NOT IN"):
            members = self.value if isinstance(self.value, tuple) else (self.value,)
            return (found in members) == (self.comparator == "IN")
        if self.comparator in ("LIKE", "ILIKE"):
            text, pattern = _as_text(found), _as_glob(str(self.value))
            if self.comparator == "ILIKE":
                text, pattern = text.lower(), pattern.lower()
            return fnmatchcase(text, pattern)
        if isinstance(found, str) != isinstance(self.value, str):
            return self.comparator == "!="
        compare: Callable[[Any, Any], bool] = COMPARATORS[self.comparator]
        return compare(found, self.value)


@dataclass(frozen=True, slots=True)
class Order:
    """By what runs are put in order."""

    text: str
    key: Key
    descending: bool

    def rank(self, described: Described) -> tuple[int, float, str]:
        """Lower comes first; numbers before text before nothing."""
        found = self.key.of(described)
        if found is None:
            return 2, 0.0, ""
        if isinstance(found, str):
            return 1, 0.0, found
        return 0, -found if self.descending else found, ""


COMPARATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
WORDS = ("LIKE", "ILIKE", "IN", "NOT IN")

KEY = r"(?P<entity>\w+)\.(?:`(?P<quoted>[^`]+)`|(?P<name>[\w.:-]+))"
CONDITION = re.compile(
    rf"\s*{KEY}\s*(?P<comparator>>=|<=|!=|=|>|<|NOT\s+IN\b|IN\b|I?LIKE\b)\s*(?P<value>.+?)\s*",
    re.IGNORECASE,
)
ORDER = re.compile(rf"\s*{KEY}(?:\s+(?P<way>ASC|DESC))?\s*", re.IGNORECASE)
LITERAL = re.compile(r"'(?P<text>[^']*)'|\"(?P<double>[^\"]*)\"|(?P<number>[-+]?[\d.][\w.+-]*)")
SIZE = re.compile(
    rf"(?P<number>[-+]?[0-9]+(\.[0-9]*)?)\s*(?P<unit>{'|'.join(filter(None, UNITS))})"
)
"""A number with a unit, as in the constraints of sweeps."""

SIZED = re.compile(rf"{BYTES}(_(mean|std|min|max))?$")
ENTITIES = ("metrics", "params", "tags")


def parse_condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        ValueError: It is none; the message names it and what is allowed.
    """
    found = CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r}: no condition, allowed: metrics.NAME >= 0.9, params.NAME = 'text', "
            f"tags.NAME LIKE 'a%'; with any of {', '.join((*COMPARATORS, *WORDS))}"
        )
    key, given = _key(found, text), found["value"]
    comparator = " ".join(found["comparator"].upper().split())
    value: float | str | tuple[float | str, ...]
    if comparator.endswith("IN"):
        inner = given.removeprefix("(").removesuffix(")")
        if given != f"({inner})":
            raise ValueError(f"{text!r}: {comparator} wants a list such as ('a', 'b')")
        value = tuple(_number_in(_literal(part, text)) for part in inner.split(","))
    elif comparator.endswith("LIKE"):
        value = _literal(given, text)
        if not isinstance(value, str):
            raise ValueError(f"{text!r}: {comparator} wants text in quotes")
    elif (size := SIZE.fullmatch(given)) is not None:
        value = _bytes_in(size, key, text)
    else:
        value = _number_in(_literal(given, text))
    return Condition(" ".join(text.split()), key, comparator, value)


def parse_order(text: str) -> Order:
    """Read by what to put runs in order.

    Raises:
        ValueError: As above.
    """
    found = ORDER.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r}: no order, allowed: metrics.NAME DESC, params.NAME ASC, tags.NAME"
        )
    return Order(" ".join(text.split()), _key(found, text), (found["way"] or "").upper() == "DESC")


def shown(value: float | str | None) -> str:
    """Spell a value as briefly as it deserves."""
    if value is None:
        return "none"
    return repr(value) if isinstance(value, str) else f"{value:.6g}"


def as_number(text: str) -> float | str:
    """Take text for the number that it spells, if it does."""
    try:
        return float(text)
    except ValueError:
        return text


def _key(found: "re.Match[str]", text: str) -> Key:
    entity = found["entity"].lower()
    for known in ENTITIES:
        if entity in (known, known.removesuffix("s")):
            return Key(known, found["quoted"] or found["name"])  # type: ignore[arg-type]
    raise ValueError(f"{text!r}: unknown {found['entity']!r}, allowed: {', '.join(ENTITIES)}")


def _literal(text: str, whole: str) -> float | str:
    found = LITERAL.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{whole!r}: {text.strip()!r}: allowed: a number, or text in quotes")
    if found["number"] is None:
        return found["text"] if found["text"] is not None else found["double"]
    try:
        return float(found["number"])
    except ValueError:
        raise ValueError(
            f"{whole!r}: {text.strip()!r}: allowed: a number, or text in quotes"
        ) from None


def _bytes_in(size: "re.Match[str]", key: Key, whole: str) -> float:
    unit = size["unit"]
    if key.entity != "metrics" or SIZED.search(key.name) is None:
        raise ValueError(f"{whole!r}: only metrics named ...{BYTES} are compared with {unit}")
    return float(size["number"]) * UNITS[unit]


def _number_in(value: float | str) -> float | str:
    # MLflow has every parameter in quotes, numbers too.
    return as_number(value) if isinstance(value, str) else value


def _as_text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def _as_glob(pattern: str) -> str:
    escaped = re.sub(r"([*?\[])", r"[\1]", pattern)
    return escaped.replace("%", "*").replace("_", "?")
