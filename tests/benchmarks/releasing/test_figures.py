"""What the benchmark of rollouts makes of its readings."""

import math

import pytest

from benchmarks.releasing.figures import (
    Outcome,
    Tick,
    parts_of,
    under_way,
    until_first,
    until_last,
)
from benchmarks.releasing.load import Answer

ANSWERS = [
    Answer("m", sent_s, done_s, version)
    for sent_s, done_s, version in [
        (1.0, 1.1, "1"),
        (1.5, 1.6, "2"),
        (2.0, 2.5, "1"),
        (2.1, 2.2, "2"),
        (3.0, 3.1, "1"),
    ]
]


def ticks(*active: int) -> list[Tick]:
    return [Tick(float(number), each, failed=False, parts={}) for number, each in enumerate(active)]


@pytest.mark.parametrize(
    ("version", "since_s", "expected_s"),
    [
        pytest.param("2", 1.0, 0.6, id="until-it-was-answered-not-sent"),
        pytest.param("2", 1.7, 0.5, id="what-came-before-does-not-count"),
        pytest.param("2", 2.3, math.inf, id="never"),
        pytest.param("3", 0.0, math.inf, id="nobody-knows-it"),
    ],
)
def test_seconds_until_the_first_answer(version: str, since_s: float, expected_s: float) -> None:
    assert until_first(ANSWERS, version, since_s) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("version", "since_s", "expected_s"),
    [
        pytest.param("2", 1.9, 0.3, id="the-last-of-several"),
        pytest.param("2", 2.15, 0.05, id="one-that-was-on-its-way"),
        pytest.param("2", 2.3, 0.0, id="none-came-any-more"),
        pytest.param("3", 1.0, 0.0, id="nobody-knows-it"),
    ],
)
def test_seconds_until_the_last_answer(version: str, since_s: float, expected_s: float) -> None:
    assert until_last(ANSWERS, version, since_s) == pytest.approx(expected_s)


@pytest.mark.parametrize(
    ("found_s", "is_met"),
    [
        pytest.param((0.1, 0.99), True, id="all-below"),
        pytest.param((0.1, 1.0), False, id="one-at-the-bar"),
        pytest.param((0.1, math.inf), False, id="one-that-failed"),
        pytest.param((), False, id="nothing-was-measured"),
    ],
)
def test_a_bar_is_met_by_all_readings_or_missed(found_s: tuple[float, ...], is_met: bool) -> None:
    assert Outcome("tick", found_s, 1.0).is_met is is_met


def test_percentiles_of_readings() -> None:
    outcome = Outcome("tick", tuple(float(number) for number in range(101)), 1.0)

    assert [outcome.percentile(share) for share in (50, 99, 100)] == [50.0, 99.0, 100.0]
    assert math.isnan(Outcome("tick", (), 1.0).percentile(50))


def test_ticks_count_from_the_first_rollout_to_the_one_that_ends_the_last() -> None:
    found = under_way(ticks(0, 0, 3, 0, 2, 0, 0))

    assert [tick.took_s for tick in found] == [2.0, 3.0, 4.0, 5.0]
    assert under_way(ticks(0, 0)) == []


def test_parts_are_gathered_by_name() -> None:
    both = [Tick(1.0, 1, failed=False, parts={"a": 0.1, "b": 0.2}),
            Tick(1.0, 1, failed=False, parts={"a": 0.3})]  # fmt: skip

    assert parts_of(both) == {"a": [0.1, 0.3], "b": [0.2]}
