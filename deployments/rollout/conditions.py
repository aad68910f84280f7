"""Conditions on a measurement, in the small language that Argo Rollouts' users know.

    result[0] < 0.95          len(result) > 0 && !isNaN(result[0])
    result > 2 * 0.01         isInf(result) or not (result >= 1 and result < 3)

`result` is a number, or a list of them as a Prometheus query returns. There are comparisons,
`&&`, `||` and `!` (or `and`, `or`, `not`), arithmetic, parentheses, and the functions `len`,
`isNaN`, `isInf` and `abs`. Nothing else can be reached: the text is parsed here and never
given to Python. Division by zero is infinite and 0 / 0 is not a number, as in Argo's.

Precedence, loosest first: or, and, not, one comparison, sums, products, minus, index.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from deployments.errors import ConfigError

LONGEST = 500
"""Characters of a condition; a longer one is a slip."""

DEEPEST = 20
"""Levels of parentheses, so that no text exhausts the stack."""

Value = float | bool | Sequence[float]
Node = Callable[[Value], Value]
"""Computes a part of a condition from the result."""

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<symbol>&&|\|\||[=!<>]=|[-+*/%()<>!\[\]])"
    r"|(?P<end>\Z))"
)
WORDS = {"and": "&&", "or": "||", "not": "!"}

COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class ConditionError(ConfigError):
    """A condition cannot be read, or does not fit the result that it is asked about."""

    def __init__(self, text: str, position: int, fault: str) -> None:
        super().__init__(text, position, fault)

    def __str__(self) -> str:
        text, position, fault = self.args
        return f"condition {text!r}, character {position + 1}: {fault}"


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read."""

    text: str
    _root: Node

    def holds(self, result: float | Sequence[float]) -> bool:
        """Ask it about a result.

        Raises:
            ConditionError: It expects another kind of result, or comes to a number.
        """
        found = self._root(result)
        if not isinstance(found, bool):
            raise ConditionError(self.text, 0, f"comes to {_shown(found)}, not to true or false")
        return found


def parse(text: str) -> Condition:
    """Read a condition.

    Raises:
        ConditionError: It is not one; says at which character and what was expected.
    """
    if len(text) > LONGEST:
        raise ConditionError(
            text[:20] + "...", LONGEST, f"{len(text)} characters, at most {LONGEST} are read"
        )
    parser = _Parser(text)
    root = parser.disjunction()
    if parser.token.text:
        parser.fail("an operator or the end")
    return Condition(text, root)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int


class _Parser:
    """Reads by recursive descent, one method for each level of precedence."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self.token = self._next(0)

    def disjunction(self) -> Node:
        left = self._conjunction()
        while (at := self._taken("||")) is not None:
            left = self._either(at, left, self._conjunction())
        return left

    def fail(self, expected: str) -> NoReturn:
        found = repr(self.token.text) if self.token.text else "the end"
        raise ConditionError(self._text, self.token.position, f"expected {expected}, found {found}")

    def _conjunction(self) -> Node:
        left = self._negation()
        while (at := self._taken("&&")) is not None:
            left = self._both(at, left, self._negation())
        return left

    def _negation(self) -> Node:
        inverted = False
        at = self.token.position
        while self._taken("!") is not None:
            inverted = not inverted
        inner = self._comparison()
        if not inverted:
            return inner
        return lambda result: not self._truth(at, inner(result))

    def _comparison(self) -> Node:
        left = self._sum()
        sign = self.token.text
        if sign not in COMPARISONS:
            return left
        at = self._advance().position
        right, compare = self._sum(), COMPARISONS[sign]
        if self.token.text in COMPARISONS:
            self.fail("'&&' between two comparisons")
        return lambda result: compare(
            self._number(at, left(result)), self._number(at, right(result))
        )

    def _sum(self) -> Node:
        return self._chain(self._product, {"+": operator.add, "-": operator.sub})

    def _product(self) -> Node:
        return self._chain(self._signed, {"*": operator.mul, "/": _divide, "%": _remainder})

    def _chain(
        self, part: Callable[[], Node], signs: Mapping[str, Callable[[float, float], float]]
    ) -> Node:
        node = part()
        while self.token.text in signs:
            node = self._pair(self._advance(), signs, node, part())
        return node

    def _pair(
        self,
        sign: _Token,
        signs: Mapping[str, Callable[[float, float], float]],
        left: Node,
        right: Node,
    ) -> Node:
        at, combine = sign.position, signs[sign.text]
        return lambda result: combine(
            self._number(at, left(result)), self._number(at, right(result))
        )

    def _signed(self) -> Node:
        at, negative = self.token.position, False
        while self._taken("-") is not None:
            negative = not negative
        inner = self._indexed()
        if not negative:
            return inner
        return lambda result: -self._number(at, inner(result))

    def _indexed(self) -> Node:
        inner = self._atom()
        at = self._taken("[")
        if at is None:
            return inner
        index = self._nested(self._sum, "]")
        return lambda result: self._item(at, inner(result), index(result))

    def _atom(self) -> Node:
        token = self.token
        match token.kind, token.text:
            case "number", digits:
                self._advance()
                return lambda _: float(digits)
            case "name", "result":
                self._advance()
                return lambda result: result
            case "name", "true" | "false":
                self._advance()
                return lambda _: token.text == "true"
            case "name", name if name in FUNCTIONS:
                self._advance()
                return self._call(token.position, name)
            case "symbol", "(":
                self._advance()
                return self._nested(self.disjunction, ")")
        return self.fail(f"a number, 'result', '(' or one of {', '.join(FUNCTIONS)}")

    def _call(self, at: int, name: str) -> Node:
        if self._taken("(") is None:
            self.fail("'('")
        argument, function = self._nested(self.disjunction, ")"), FUNCTIONS[name]

        def call(result: Value) -> Value:
            value = argument(result)
            if name == "len":
                if isinstance(value, (bool, int, float)):
                    self._refuse(at, value, "a list")
                return float(len(value))
            return function(self._number(at, value))

        return call

    def _nested(self, part: Callable[[], Node], closing: str) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            self.fail(f"at most {DEEPEST} levels of parentheses")
        inner = part()
        if self._taken(closing) is None:
            self.fail(f"{closing!r}")
        self._depth -= 1
        return inner

    def _either(self, at: int, left: Node, right: Node) -> Node:
        return lambda result: self._truth(at, left(result)) or self._truth(at, right(result))

    def _both(self, at: int, left: Node, right: Node) -> Node:
        return lambda result: self._truth(at, left(result)) and self._truth(at, right(result))

    def _item(self, at: int, value: Value, index: Value) -> float:
        if isinstance(value, (bool, int, float)):
            self._refuse(at, value, "a list")
        place = self._number(at, index)
        if place not in range(len(value)):
            raise ConditionError(
                self._text, at, f"no element {place:g}, the result has {len(value)}"
            )
        return float(value[int(place)])

    def _number(self, at: int, value: Value) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            self._refuse(at, value, "a number")
        return float(value)

    def _truth(self, at: int, value: Value) -> bool:
        if not isinstance(value, bool):
            self._refuse(at, value, "true or false")
        return value

    def _refuse(self, at: int, value: Value, expected: str) -> NoReturn:
        raise ConditionError(self._text, at, f"needs {expected}, got {_shown(value)}")

    def _taken(self, symbol: str) -> int | None:
        """Step over a symbol if it is next; returns where it was."""
        if self.token.text != symbol or self.token.kind != "symbol":
            return None
        return self._advance().position

    def _advance(self) -> _Token:
        token = self.token
        self.token = self._next(self._end)
        return token

    def _next(self, start: int) -> _Token:
        found = TOKEN.match(self._text, start)
        if found is None:
            start += len(self._text[start:]) - len(self._text[start:].lstrip())
            raise ConditionError(self._text, start, f"cannot read {self._text[start]!r}")
        self._end = found.end()
        kind = str(found.lastgroup)
        text = found[kind]
        if text in WORDS:
            kind, text = "symbol", WORDS[text]
        return _Token(kind, text, found.start(found.lastgroup or 0))


def _divide(left: float, right: float) -> float:
    if right:
        return left / right
    if not left or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _remainder(left: float, right: float) -> float:
    return math.fmod(left, right) if right and math.isfinite(left) else math.nan


FUNCTIONS: Mapping[str, Callable[[float], float | bool]] = {
    "len": float,
    "isNaN": math.isnan,
    "isInf": math.isinf,
    "abs": abs,
}
"""`len` is here for its name: it alone takes a list."""


def _shown(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"{value:g}"
    return f"a list of {len(value)}"
