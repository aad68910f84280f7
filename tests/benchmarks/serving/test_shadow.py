"""Whether copies really went to the second version while that was measured."""

import pytest

from benchmarks.serving.running import StartError
from benchmarks.serving.shadow import mirrored, require_copies
from deployments.telemetry import MIRRORED, Counters, exposition


def test_outcomes_are_read_off_a_gateway_s_metrics() -> None:
    counters = Counters("a")
    counters.add(MIRRORED, ("iris", "2", "shadow", "agreed"), 7)
    counters.add(MIRRORED, ("iris", "2", "shadow", "dropped"), 2)

    assert mirrored(exposition([counters.snapshot()]).decode()) == {"agreed": 7, "dropped": 2}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, {"agreed": 100.0}, id="all-agree"),
        pytest.param({"dropped": 50.0}, {"agreed": 98.0, "dropped": 52.0}, id="few-are-lost"),
    ],
)
def test_copies_that_agree(before: dict[str, float], after: dict[str, float]) -> None:
    require_copies(before, after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param({}, {}, id="none-went"),
        pytest.param({"agreed": 9.0}, {"agreed": 9.0}, id="no-more-went"),
        pytest.param({}, {"agreed": 97.0, "dropped": 3.0}, id="many-are-lost"),
        pytest.param({}, {"agreed": 9.0, "differed": 1.0}, id="they-differ"),
    ],
)
def test_copies_that_do_not(before: dict[str, float], after: dict[str, float]) -> None:
    with pytest.raises(StartError, match="copies should agree"):
        require_copies(before, after)
