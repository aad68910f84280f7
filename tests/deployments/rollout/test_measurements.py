import math

import msgspec
import pytest

from deployments.errors import ConfigError
from deployments.rollout.analysis import Verdict
from deployments.rollout.conditions import Condition, parse
from deployments.rollout.measurements import (
    ERROR_RETRY_S,
    Measurement,
    Phase,
    Rule,
    assess,
    is_due,
    measure,
    missed,
    result_of,
)
from deployments.rollout.signals import Kind, Signal, Sums

LETTERS = {
    "s": Phase.SUCCESSFUL,
    "f": Phase.FAILED,
    "i": Phase.INCONCLUSIVE,
    "e": Phase.ERROR,
}


def measurements(letters: str) -> list[Measurement]:
    """One measurement a letter, ten seconds apart."""
    return [
        Measurement(10.0 * number, LETTERS[letter], message="no answer" * (letter == "e"))
        for number, letter in enumerate(letters)
    ]


@pytest.mark.parametrize(
    ("success", "failure", "value", "phase"),
    [
        pytest.param(None, None, 7.0, "successful", id="no-condition"),
        pytest.param("result < 5", None, 4.0, "successful", id="success-holds"),
        pytest.param("result < 5", None, 5.0, "failed", id="success-does-not"),
        pytest.param(None, "result > 5", 6.0, "failed", id="failure-holds"),
        pytest.param(None, "result > 5", 5.0, "successful", id="failure-does-not"),
        pytest.param("result < 5", "result > 9", 4.0, "successful", id="both-success"),
        pytest.param("result < 5", "result > 9", 10.0, "failed", id="both-failure"),
        pytest.param("result < 5", "result > 9", 7.0, "inconclusive", id="between"),
        pytest.param("result < 9", "result > 5", 7.0, "failed", id="failure-outranks"),
        pytest.param("result < 5", None, math.nan, "failed", id="not-a-number"),
        pytest.param("result < 5", "result > 9", math.nan, "inconclusive", id="nor-between"),
        pytest.param("result[0] < 5", None, 4.0, "error", id="does-not-fit"),
    ],
)
def test_measure(success: str | None, failure: str | None, value: float, phase: str) -> None:
    rule = Rule("latency", parsed(success), parsed(failure))

    found = measure(rule, value, now_s=3.0)

    kept = value if math.isfinite(value) else None
    assert (found.phase, found.at_s, found.value) == (Phase(phase), 3.0, kept)
    assert bool(found.message) is (found.phase is Phase.ERROR)


def test_what_is_not_finite_can_be_kept_as_json() -> None:
    found = measure(Rule("x", parsed("isNaN(result[0])")), (math.nan, math.inf, 1.0), now_s=3.0)

    assert (found.phase, found.value) == (Phase.SUCCESSFUL, (None, None, 1.0))
    again = msgspec.json.decode(msgspec.json.encode(found), type=Measurement)
    assert (again.phase, again.value) == (Phase.SUCCESSFUL, [None, None, 1.0])


def parsed(text: str | None) -> Condition | None:
    return parse(text) if text else None


FOREVER = Rule("latency", interval_s=10.0)
THRICE = Rule("latency", interval_s=10.0, count=3, failure_limit=1, inconclusive_limit=1)
ONCE = Rule("latency")


@pytest.mark.parametrize(
    ("rule", "letters", "phase", "reason"),
    [
        pytest.param(THRICE, "", "running", "measured 0 of 3", id="none-yet"),
        pytest.param(THRICE, "ss", "running", "measured 2 of 3", id="one-to-come"),
        pytest.param(THRICE, "sss", "successful", "count (3) reached", id="all-successful"),
        pytest.param(THRICE, "sfs", "successful", "count (3) reached", id="at-the-limit"),
        pytest.param(THRICE, "ff", "failed", "failed (2) > failureLimit (1)", id="beyond-it"),
        pytest.param(
            THRICE, "ii", "inconclusive", "inconclusive (2) > inconclusiveLimit (1)", id="unclear"
        ),
        pytest.param(THRICE, "iff", "failed", "failed (2) > failureLimit (1)", id="failed-first"),
        pytest.param(THRICE, "sse", "running", "measured 2 of 3", id="an-error-is-not-counted"),
        pytest.param(THRICE, "eeee", "running", "measured 0 of 3", id="errors-at-the-limit"),
        pytest.param(
            THRICE,
            "eeeee",
            "error",
            "consecutiveErrors (5) > consecutiveErrorLimit (4): no answer",
            id="too-many-errors",
        ),
        pytest.param(THRICE, "eeeseee", "running", "measured 1 of 3", id="errors-not-in-a-row"),
        pytest.param(FOREVER, "s" * 99, "running", "measured 99 of any number", id="no-end"),
        pytest.param(FOREVER, "sf", "failed", "failed (1) > failureLimit (0)", id="default-limit"),
        pytest.param(ONCE, "s", "successful", "count (1) reached", id="a-single-one"),
        pytest.param(ONCE, "e", "running", "measured 0 of 1", id="a-single-error"),
    ],
)
def test_assess(rule: Rule, letters: str, phase: str, reason: str) -> None:
    found = assess(rule, measurements(letters))

    assert (found.phase, found.reason) == (Phase(phase), f"latency: {reason}")


@pytest.mark.parametrize(
    ("letters", "verdict"),
    [
        pytest.param("sss", Verdict.SUCCESSFUL, id="successful"),
        pytest.param("ff", Verdict.FAILED, id="failed"),
        pytest.param("ii", Verdict.INCONCLUSIVE, id="inconclusive"),
        pytest.param("eeeee", Verdict.INCONCLUSIVE, id="an-error-is-nobody-s-failure"),
        pytest.param("s", Verdict.INCONCLUSIVE, id="running"),
    ],
)
def test_verdict_of_an_assessment(letters: str, verdict: Verdict) -> None:
    assert assess(THRICE, measurements(letters)).verdict is verdict


@pytest.mark.parametrize(
    ("rule", "letters", "from_s"),
    [
        pytest.param(THRICE, "ss", 20.0, id="an-interval-later"),
        pytest.param(THRICE, "e", 10.0, id="error-with-an-interval"),
        pytest.param(ONCE, "e", ERROR_RETRY_S, id="error-without-an-interval"),
    ],
)
def test_a_measurement_is_due_an_interval_after_the_last(
    rule: Rule, letters: str, from_s: float
) -> None:
    taken = measurements(letters)

    assert not is_due(rule, taken, from_s - 0.1)
    assert is_due(rule, taken, from_s)


def test_the_first_measurement_is_due_at_once_and_none_once_the_rule_is_decided() -> None:
    assert is_due(THRICE, (), 0.0)
    assert not is_due(THRICE, measurements("sss"), 1e9)
    assert not is_due(THRICE, measurements("ff"), 1e9)


def test_a_clock_that_is_set_back_holds_no_measurement_up() -> None:
    assert is_due(THRICE, measurements("ss"), -3600.0)


def test_several_measurements_need_an_interval() -> None:
    with pytest.raises(ConfigError, match="latency: count 3 needs an interval"):
        Rule("latency", count=3)


def test_a_number_that_could_not_be_had_is_an_error() -> None:
    assert missed(7.0, "no answer") == Measurement(7.0, Phase.ERROR, None, "no answer")


def test_a_rule_sees_both_tracks_of_a_signal() -> None:
    reward = Signal("reward", Kind.REWARD, allowed=0.1, low=0.0, high=5.0)

    assert result_of(reward, Sums(2, 0.5, 0.25), Sums(4, 0.0, 0.0)) == (3.75, 5.0)
    nothing, something = result_of(reward, Sums(), Sums(1, 1.0, 1.0))
    assert (math.isnan(nothing), something) == (True, 0.0)


def test_dry_run_is_told() -> None:
    assert assess(Rule("latency", dry_run=True), []).dry_run
    assert not assess(ONCE, []).dry_run
