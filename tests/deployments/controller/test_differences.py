"""What the control API says of versions that mirror stable."""

from typing import Any

import pytest

from deployments.controller.differences import MOST_REPORTS, FleetDifferences
from deployments.telemetry import MIRROR_DIFFERENCE, MIRROR_SECONDS, MIRRORED, Counters, Snapshot
from deployments.traffic.differences import Difference, Report, Sampled, encode_sampled

SHADOW = ("churn", "2", "shadow")
CANARY = ("churn", "2", "canary")


def difference(name: str, at_s: float) -> Difference:
    return Difference(
        name, "anna", at_s, 2, 1, 0.5, {"x": [[1.0, 2.0]]}, {"y": [1.0]}, {"y": [1.5]}
    )


def report(*kept: Difference, application: str = "churn--v2") -> Report:
    return Report(application, len(kept), encode_sampled(Sampled(len(kept), kept)))


def counted(gateway: str, labels: tuple[str, str, str], **outcomes: int) -> Snapshot:
    counters = Counters(gateway)
    for outcome, requests in outcomes.items():
        counters.add(MIRRORED, (*labels, outcome), requests)
    counters.observe(MIRROR_DIFFERENCE, labels, 0.0, outcomes.get("agreed", 0))
    counters.observe(MIRROR_DIFFERENCE, labels, 0.5, outcomes.get("differed", 0))
    counters.add(MIRROR_SECONDS, (*labels, "stable"), 0.5)
    counters.add(MIRROR_SECONDS, (*labels, "mirrored"), 0.75)
    return counters.snapshot()


def test_totals_are_over_gateways_and_tracks() -> None:
    snapshots = [
        counted("a", SHADOW, agreed=6, differed=1, failed=2),
        counted("b", CANARY, differed=3, dropped=4),
        counted("a", ("churn", "1", "stable"), agreed=100),
        counted("a", ("wine", "2", "shadow"), agreed=100),
    ]

    view = FleetDifferences().view("churn", "2", snapshots)

    assert (view.requests, view.differed, view.share) == (10, 4, 0.4)
    assert (view.failed, view.dropped, view.latency_ratio) == (2, 4, 1.5)
    assert {edge: n for edge, n in view.distribution.items() if n} == {"0": 6, "1": 4}


def test_before_anything_was_mirrored() -> None:
    view = FleetDifferences().view("churn", "2", [])

    assert (view.requests, view.share, view.latency_ratio, view.samples) == (0, None, None, [])
    assert not view.is_known


def test_samples_of_all_gateways_the_latest_first() -> None:
    known = FleetDifferences()
    known.hear("a", [report(difference("old", 1.0)), report(difference("x", 9.0), application="o")])
    known.hear("b", [report(difference("newest", 3.0), difference("older", 0.5))])
    known.hear("a", [report(difference("newer", 2.0))])

    view = known.view("churn", "2", [])

    assert [each.request_id for each in view.samples] == ["newest", "newer", "older"]
    first = view.samples[0]
    assert (first.inputs, first.stable, first.mirrored) == (
        {"x": [[1.0, 2.0]]}, {"y": [1.0]}, {"y": [1.5]},
    )  # fmt: skip


def test_no_more_are_held_than_a_controller_can_bear() -> None:
    known = FleetDifferences()
    for number in range(MOST_REPORTS + 1):
        known.hear(f"gateway-{number}", [report(difference(str(number), float(number)))])

    samples = known.view("churn", "2", []).samples

    assert len(samples) == MOST_REPORTS
    assert samples[-1].request_id == "1"


@pytest.mark.parametrize("body", [b"", b"{}", b'{"differing": 1, "kept": [{}]}'])
def test_what_cannot_be_read_is_none(body: Any) -> None:
    known = FleetDifferences()
    known.hear("a", [Report("churn--v2", 1, body)])

    assert known.view("churn", "2", []).samples == []
