import pytest

from benchmarks.serving.arrivals import Arrivals


def test_arrivals_are_evenly_spaced_from_zero() -> None:
    arrivals = Arrivals(rate_per_s=4.0, duration_s=1.0)

    assert arrivals.take(10.0) == [0.0, 0.25, 0.5, 0.75]


def test_only_what_is_due_is_taken_and_each_once() -> None:
    arrivals = Arrivals(rate_per_s=4.0, duration_s=1.0)

    assert arrivals.take(0.3) == [0.0, 0.25]
    assert arrivals.take(0.3) == []
    assert arrivals.next_s == 0.5


def test_who_comes_late_gets_the_times_that_were_meant() -> None:
    arrivals = Arrivals(rate_per_s=2.0, duration_s=10.0)
    arrivals.take(1.0)

    assert arrivals.take(3.0) == [1.5, 2.0, 2.5, 3.0]


def test_the_end_has_no_next() -> None:
    arrivals = Arrivals(rate_per_s=2.0, duration_s=1.0)
    arrivals.take(1.0)

    assert arrivals.next_s is None
    assert arrivals.take(5.0) == []


@pytest.mark.parametrize(
    ("rate_per_s", "duration_s", "total"),
    [
        pytest.param(100.0, 2.0, 200, id="whole"),
        pytest.param(3.0, 0.5, 1, id="a-rest-is-left-out"),
        pytest.param(0.1, 1.0, 0, id="none"),
    ],
)
def test_total(rate_per_s: float, duration_s: float, total: int) -> None:
    arrivals = Arrivals(rate_per_s, duration_s)

    assert arrivals.total == total
    assert len(arrivals.take(1e6)) == total
