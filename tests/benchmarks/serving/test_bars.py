import pytest

from benchmarks.serving.bars import (
    BARS,
    Bar,
    Finding,
    Ratio,
    Sense,
    judge,
    latency,
    p50,
    pair,
    rate,
)
from benchmarks.serving.readings import Reading
from benchmarks.serving.report import verdict
from benchmarks.serving.results import Measurement, Results
from benchmarks.serving.targets import Role


def measured(
    case: str, target: str, connections: int | None, *readings: tuple[float, float]
) -> Measurement:
    """Readings of requests/s and p50, one a round."""
    found = tuple(Reading(rate, p50_ms, 2 * p50_ms, 0) for rate, p50_ms in readings)
    return Measurement(case, target, connections, found)


RESULTS = Results(
    [
        measured("linear", "direct", 32, (15_000, 1.0), (17_000, 1.2)),
        measured("linear", "mlserver", 32, (2_000, 9.0)),
        measured("linear", "mlflow", 32, (1_600, 5.0)),
        measured("linear", "uvicorn", 32, (4_000, 5.0)),
        measured("linear", "uvicorn-batched", 32, (20_000, 1.5)),
        measured("linear", "mlserver", 64, (9_999, 0.1)),
        measured("split", "split", 32, (1_900, 1.0)),
        measured("split", "unsplit", 32, (2_000, 1.0)),
        measured("shadow", "unshadowed", None, (900, 1.0)),
        measured("shadow", "shadowed", None, (900, 1.05)),
    ]
)


def test_rate_is_held_against_the_fastest_of_a_role_at_as_many_connections() -> None:
    assert rate("linear", "direct", Role.PEER, 32)(RESULTS) == Ratio(8.0, "mlserver")
    assert rate("linear", "direct", Role.LIMIT, 32)(RESULTS) == Ratio(0.8, "uvicorn-batched")


def test_latency_is_held_against_the_quickest_peer() -> None:
    found = p50("linear", "direct", 32)(RESULTS)

    assert found is not None
    assert found.against == "mlflow"
    assert found.value == pytest.approx(1.1 / 5.0)


def test_pairs_are_compared_by_name() -> None:
    assert pair("split", "split", "unsplit", 32)(RESULTS) == Ratio(0.95, "unsplit")


def test_latencies_at_constant_arrivals_are_compared_by_name() -> None:
    found = latency("shadow", "shadowed", "unshadowed", lambda reading: reading.p99_ms)(RESULTS)

    assert found == Ratio(1.05, "unshadowed")


def test_what_was_not_measured_has_no_ratio() -> None:
    assert rate("linear", "direct", Role.PEER, 64)(RESULTS) is None
    assert rate("split", "split", Role.PEER, 32)(RESULTS) is None
    assert p50("forest", "direct", 32)(RESULTS) is None
    assert pair("split", "split", "unsplit", 64)(RESULTS) is None


@pytest.mark.parametrize(
    ("sense", "value", "expected"),
    [
        (Sense.AT_LEAST, 1.0, "met"),
        (Sense.AT_LEAST, 0.99, "not met"),
        (Sense.ABOVE, 1.0, "not met"),
        (Sense.ABOVE, 1.01, "met"),
        (Sense.AT_MOST, 1.0, "met"),
        (Sense.AT_MOST, 1.01, "not met"),
        (Sense.AT_MOST, None, "not measured"),
    ],
)
def test_verdict(sense: Sense, value: float | None, expected: str) -> None:
    bar = Bar("bar", sense, 1.0, lambda _: None)
    ratio = None if value is None else Ratio(value, "mlserver")

    assert verdict(Finding(bar, ratio)) == expected


def test_a_run_is_held_against_every_bar() -> None:
    findings = judge(RESULTS)

    assert [finding.bar for finding in findings] == list(BARS)
    met = {finding.bar.text: finding.is_met for finding in findings}
    assert met["logistic regression, direct, 32 connections, best peer"] is True
    assert met["logistic regression, direct, 64 connections, best peer"] is None
