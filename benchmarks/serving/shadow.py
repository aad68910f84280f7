"""Whether a second version really gets its copies, and compares them, while that is measured."""

import time
import urllib.request
from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from benchmarks.serving.load import Aim
from benchmarks.serving.running import StartError

WITHIN_S = 60.0
POLL_S = 0.5

MOST_LOST = 0.02
"""Share of the copies that need not be compared, or agree."""

METRIC = "rayfleet_mirrored_total"


def wait_for_copies(aim: Aim) -> None:
    """Return once version 2 has answered a copy.

    Raises:
        StartError: It has not in time.
    """
    deadline_s = time.monotonic() + WITHIN_S
    while not mirrored(scrape(aim)).get("agreed"):
        if time.monotonic() > deadline_s:
            raise StartError(f"version 2 was sent no copies within {WITHIN_S:g} s")
        ask(aim)
        time.sleep(POLL_S)


def ask(aim: Aim) -> None:
    """Ask one question."""
    url = f"http://127.0.0.1:{aim.port}{aim.dialect.path.format(model=aim.workload.model)}"
    question = aim.dialect.encode(0, aim.workload.questions[0])
    request = urllib.request.Request(url, question.body, dict(question.headers))
    with urllib.request.urlopen(request, timeout=30) as response:
        response.read()


def require_copies(before: Mapping[str, float], after: Mapping[str, float]) -> None:
    """Make sure that copies were compared, and found equal.

    Args:
        before: Requests mirrored, by outcome.
        after: The same after some load.

    Raises:
        StartError: Too many were not.
    """
    grown = {outcome: count - before.get(outcome, 0.0) for outcome, count in after.items()}
    agreed = grown.get("agreed", 0.0)
    if agreed < (1 - MOST_LOST) * sum(grown.values()) or not agreed:
        raise StartError(f"copies should agree with few exceptions, found {grown}")


def scrape(aim: Aim) -> str:
    """All metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{aim.port}/metrics", timeout=30) as response:
        text: str = response.read().decode()
    return text


def mirrored(page: str) -> dict[str, float]:
    """Requests mirrored, by outcome."""
    return {
        sample.labels["outcome"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == METRIC
    }
