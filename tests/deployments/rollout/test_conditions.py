import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import ConfigError
from deployments.rollout.conditions import DEEPEST, LONGEST, ConditionError, parse

NAN, INFINITE = math.nan, math.inf


@pytest.mark.parametrize(
    ("text", "result", "holds"),
    [
        pytest.param("result < 0.95", 0.94, True, id="below"),
        pytest.param("result < 0.95", 0.95, False, id="at"),
        pytest.param("result <= 0.95", 0.95, True, id="at-or-below"),
        pytest.param("result > 2", 2.5, True, id="above"),
        pytest.param("result >= 2", 1.9, False, id="at-or-above"),
        pytest.param("result == 3", 3, True, id="equal"),
        pytest.param("result != 3", 3, False, id="unequal"),
        pytest.param("result[0] >= 0.95", [0.96, 7.0], True, id="first-of-a-vector"),
        pytest.param("result[1] - result[0] < 1", [1.0, 3.0], False, id="two-of-a-vector"),
        pytest.param("result[len(result) - 1] == 3", [1.0, 3.0], True, id="last-of-a-vector"),
        pytest.param("len(result) == 0", [], True, id="empty-vector"),
        pytest.param("len(result) > 0 && result[0] < 1", [], False, id="and-stops-early"),
        pytest.param("len(result) == 0 || result[0] < 1", [], True, id="or-stops-early"),
        pytest.param("isNaN(result)", NAN, True, id="not-a-number"),
        pytest.param("isNaN(result[0]) or result[0] < 1", [NAN], True, id="no-traffic"),
        pytest.param("result < 1", NAN, False, id="comparison-with-not-a-number"),
        pytest.param("!(result < 1)", NAN, True, id="which-is-not-the-opposite"),
        pytest.param("isInf(result / 0)", 1.0, True, id="division-by-zero"),
        pytest.param("result / 0 < 0", -1.0, True, id="with-its-sign"),
        pytest.param("isNaN(result / 0)", 0.0, True, id="zero-by-zero"),
        pytest.param("isNaN(result % 0)", 1.0, True, id="remainder-by-zero"),
        pytest.param("result % 4 == 3", 7.0, True, id="remainder"),
        pytest.param("abs(result) < 1", -0.5, True, id="absolute"),
        pytest.param("1 + 2 * result == 7", 3.0, True, id="product-before-sum"),
        pytest.param("(1 + 2) * result == 9", 3.0, True, id="parentheses"),
        pytest.param("10 - 2 - result == 5", 3.0, True, id="sums-from-the-left"),
        pytest.param("-result == 3", -3.0, True, id="minus"),
        pytest.param("2 - -result == 5", 3.0, True, id="minus-minus"),
        pytest.param("result > 1 && result < 3 || result == 9", 9.0, True, id="and-before-or"),
        pytest.param("result == 9 or result > 1 and result < 3", 5.0, False, id="in-words"),
        pytest.param("not result > 1", 1.0, True, id="not-after-comparison"),
        pytest.param("!!true", 0.0, True, id="not-not"),
        pytest.param("false", 0.0, False, id="constant"),
        pytest.param(".5e1 == result", 5.0, True, id="number-with-exponent"),
    ],
)
def test_condition(text: str, result: float | list[float], holds: bool) -> None:
    assert parse(text).holds(result) is holds


@pytest.mark.parametrize(
    ("text", "character", "fault"),
    [
        pytest.param("", 1, "expected a number, 'result', '(' or", id="empty"),
        pytest.param("result <", 9, "found the end", id="no-right-side"),
        pytest.param("result >> 1", 9, "expected a number, 'result', '(' or", id="two-signs"),
        pytest.param("result < 1 2", 12, "expected an operator or the end, found '2'", id="two"),
        pytest.param("(result < 1", 12, "expected ')', found the end", id="open-parenthesis"),
        pytest.param("result[0 < 1", 10, "expected ']', found '<'", id="open-index"),
        pytest.param("1 < result < 3", 12, "expected '&&' between two comparisons", id="chain"),
        pytest.param("result = 1", 8, "cannot read '='", id="assignment"),
        pytest.param("result < $x", 10, "cannot read '$'", id="strange-character"),
        pytest.param("value < 1", 1, "found 'value'", id="unknown-name"),
        pytest.param("__import__('os')", 1, "found '__import__'", id="python"),
        pytest.param("result.real < 1", 7, "cannot read '.'", id="attribute"),
        pytest.param("isNaN result", 7, "expected '(', found 'result'", id="no-parentheses"),
        pytest.param("()", 2, "found ')'", id="nothing-in-parentheses"),
    ],
)
def test_a_condition_that_cannot_be_read_says_where(text: str, character: int, fault: str) -> None:
    with pytest.raises(ConditionError) as refused:
        parse(text)

    assert str(refused.value).startswith(f"condition {text!r}, character {character}: ")
    assert fault in str(refused.value)


@pytest.mark.parametrize(
    ("text", "result", "fault"),
    [
        pytest.param("result < 1", [0.5], "8: needs a number, got a list of 1", id="vector"),
        pytest.param("result[0] < 1", 0.5, "7: needs a list, got 0.5", id="no-vector"),
        pytest.param("result[1] < 1", [0.5], "7: no element 1, the result has 1", id="too-short"),
        pytest.param("result[0.5] < 1", [0.5], "7: no element 0.5", id="between-elements"),
        pytest.param("result[-1] < 1", [0.5], "7: no element -1", id="negative-element"),
        pytest.param("len(result) < 1", 0.5, "1: needs a list, got 0.5", id="length-of-a-number"),
        pytest.param("result && true", 1.0, "8: needs true or false, got 1", id="and-of-a-number"),
        pytest.param("!result", 1.0, "1: needs true or false, got 1", id="not-a-number"),
        pytest.param("true < 1", 1.0, "6: needs a number, got true", id="comparison-of-truths"),
        pytest.param("isNaN(result)", [0.5], "1: needs a number, got a list", id="function"),
        pytest.param("result + 1", 1.0, "1: comes to 2, not to true or false", id="a-number"),
        pytest.param("result", [1.0], "1: comes to a list of 1", id="a-list"),
    ],
)
def test_a_condition_that_does_not_fit_the_result_says_why(
    text: str, result: float | list[float], fault: str
) -> None:
    condition = parse(text)

    with pytest.raises(ConditionError) as refused:
        condition.holds(result)

    assert f"character {fault}" in str(refused.value)


def test_a_condition_is_a_matter_of_the_config() -> None:
    with pytest.raises(ConfigError):
        parse("result <")


def test_neither_length_nor_depth_exhausts_anything() -> None:
    deep = "(" * DEEPEST + "true" + ")" * DEEPEST
    assert parse(deep).holds(0.0)
    with pytest.raises(ConditionError, match=f"at most {DEEPEST} levels"):
        parse(f"({deep})")

    long = "true" + " " * (LONGEST - 4)
    assert parse(long).holds(0.0)
    with pytest.raises(ConditionError, match=f"{LONGEST + 1} characters, at most {LONGEST}"):
        parse(long + " ")
    assert parse("!" * (LONGEST - 4) + "true").holds(0.0)
    assert not parse("-" * (LONGEST - 12) + "result > 1").holds(1.0)


@given(st.text("result[0]<>=!&|()+-*/%1. andortlueisNf", max_size=30), st.floats())
def test_any_text_is_read_or_refused_in_one_line(text: str, result: float) -> None:
    refused: str | None = None
    try:
        parse(text).holds(result)
    except ConditionError as error:
        refused = str(error)

    assert refused is None or "\n" not in refused


NUMBERS = st.floats(-1e6, 1e6)


@given(NUMBERS, NUMBERS, NUMBERS)
def test_arithmetic_is_python_s(a: float, b: float, c: float) -> None:
    expected = a + b * c - a

    assert parse(f"{a!r} + {b!r} * {c!r} - result == {expected!r}").holds(a)
