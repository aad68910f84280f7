import math

import pytest

from benchmarks.serving.readings import Reading, middle, percentile, summarize

ORDERED = [15.0, 20.0, 35.0, 40.0, 50.0]
"""The example of the nearest-rank method in its encyclopaedia article."""


@pytest.mark.parametrize(
    ("percent", "expected"),
    [(5, 15.0), (30, 20.0), (40, 20.0), (50, 35.0), (100, 50.0)],
)
def test_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert percentile(ORDERED, percent) == expected


def test_percentile_of_nothing_is_nan() -> None:
    assert math.isnan(percentile([], 50))


def test_summary_is_in_milliseconds_and_orders_what_it_gets() -> None:
    latencies_s = [0.004, 0.001, 0.003, 0.002]

    reading = summarize(latencies_s, duration_s=2.0, faults=1)

    assert reading == Reading(requests_per_s=2.0, p50_ms=2.0, p99_ms=4.0, faults=1)


def test_middle_takes_medians_but_adds_faults() -> None:
    readings = [
        Reading(100.0, 3.0, 9.0, 0, offered_per_s=70.0),
        Reading(300.0, 1.0, 8.0, 2, offered_per_s=210.0),
        Reading(200.0, 2.0, 7.0, 1, offered_per_s=140.0),
    ]

    assert middle(readings) == Reading(200.0, 2.0, 8.0, 3, offered_per_s=140.0)
