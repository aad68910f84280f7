"""What the exit status says of a run."""

import pytest
from rich.console import Console

from benchmarks.serving.__main__ import LEFT_OUT, status_of
from benchmarks.serving.readings import Reading
from benchmarks.serving.rounds import Log

RIGHT = Reading(100.0, 1.0, 2.0, faults=0)
WRONG = Reading(100.0, 1.0, 2.0, faults=1)


@pytest.mark.parametrize(
    ("readings", "skipped", "failures", "expected"),
    [
        pytest.param([RIGHT], [], {}, 0, id="everything"),
        pytest.param([RIGHT], ["round 2: direct"], {}, LEFT_OUT, id="something-left-out"),
        pytest.param([], ["round 1: direct"], {}, LEFT_OUT, id="nothing-measured"),
        pytest.param([RIGHT], ["round 2: direct"], {"direct": "no"}, 1, id="a-server-failed"),
        pytest.param([RIGHT, WRONG], [], {}, 1, id="a-wrong-answer"),
    ],
)
def test_status(
    readings: list[Reading], skipped: list[str], failures: dict[str, str], expected: int
) -> None:
    log = Log(Console(quiet=True), failures=failures, skipped=skipped)
    if readings:
        log.readings["linear", "direct", 32].extend(readings)

    assert status_of(log) == expected
