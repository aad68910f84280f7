"""What counts for and against a version, and that it never falls."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from deployments.controller.counters import (
    CLUSTER_GONE_AFTER_S,
    FORGET_AFTER_S,
    SWEEP_S,
    FleetCounters,
)
from deployments.controller.counts import FleetCounts, all_counts, counts_of, fold
from deployments.rollout.signals import Counts, Sums
from deployments.store.feedback import FeedbackTotals
from deployments.store.store import NO_CLUSTER, PAST, FleetStore
from deployments.telemetry import ANSWER, ERRORS, MIRRORED, REQUESTS, SECONDS, Counters, Snapshot
from tests.fakes import FakeClock
from tests.fleetstores import migrated

VERSION = ("wine", "2", "canary")
V2 = (*VERSION, "open_inference")
MLFLOW = (*VERSION, "mlflow_scoring")


def nothing_heard() -> Mapping[tuple[str, str], FeedbackTotals]:
    return {}


def counted(*rows: tuple[tuple[str, ...], str, str | None, int], gateway: str = "a") -> Snapshot:
    """What a gateway has counted: labels, code, the origin of an error, and how many."""
    counters = Counters(gateway)
    for labels, code, origin, times in rows:
        counters.add(REQUESTS, (*labels, code), times)
        if origin is not None:
            counters.add(ERRORS, (*labels, code, origin), times)
    return counters.snapshot()


@pytest.mark.parametrize(
    ("row", "requests", "errors"),
    [
        pytest.param((V2, "200", None, 3), 3, 0, id="answered"),
        pytest.param((V2, "OK", None, 3), 3, 0, id="answered-by-grpc"),
        pytest.param((V2, "500", "version", 3), 3, 3, id="raised"),
        pytest.param((MLFLOW, "400", "version", 3), 3, 3, id="raised-answered-with-400"),
        pytest.param((V2, "INTERNAL", "version", 3), 3, 3, id="raised-in-grpc"),
        pytest.param((V2, "504", "version", 3), 3, 3, id="no-answer-in-time"),
        pytest.param((V2, "400", "caller", 3), 0, 0, id="caller-s-mistake"),
        pytest.param((V2, "503", "fleet", 3), 0, 0, id="fleet-s-failure"),
        pytest.param((("wine", "1", "stable", "open_inference"), "200", None, 3), 0, 0, id="other"),
        pytest.param((("iris", "2", "stable", "open_inference"), "200", None, 3), 0, 0, id="model"),
    ],
)
def test_what_counts_for_a_version(
    row: tuple[tuple[str, ...], str, str | None, int], requests: int, errors: int
) -> None:
    assert counts_of([counted(row)], "wine", "2") == Counts(requests=requests, errors=errors)


def test_an_answer_that_is_no_number_is_one_request_and_one_error() -> None:
    snapshot = counted((V2, "200", None, 7), (MLFLOW, "200", "version", 2))

    assert counts_of([snapshot], "wine", "2") == Counts(requests=9, errors=2)


def test_gateways_tracks_and_protocols_are_added_up() -> None:
    stable = ("wine", "2", "stable", "open_inference")
    snapshots = [
        counted((V2, "200", None, 1), (MLFLOW, "200", None, 2)),
        counted((stable, "200", None, 4), (V2, "500", "version", 8), gateway="b"),
    ]

    assert counts_of(snapshots, "wine", "2") == Counts(requests=15, errors=8)
    assert all_counts(snapshots).keys() == {("wine", "2")}


def test_latency_counts_batches_by_the_buckets_of_times() -> None:
    counters = Counters("a")
    counters.observe(ANSWER, VERSION, 0.0001)
    counters.observe(ANSWER, VERSION, 60.0, times=2)
    counters.observe(ANSWER, ("wine", "2", "stable"), 0.0001)

    latency = counts_of([counters.snapshot()], "wine", "2").latency

    assert latency == (2, *[0] * (len(SECONDS) - 1), 2)


def test_a_copy_that_failed_differs_and_one_that_was_dropped_says_nothing() -> None:
    counters = Counters("a")
    for times, outcome in enumerate(("agreed", "differed", "failed", "dropped"), start=1):
        counters.add(MIRRORED, (*VERSION, outcome), times)

    counts = counts_of([counters.snapshot()], "wine", "2")

    assert (counts.mirrored, counts.differing) == (6, 5)


def test_gateways_that_are_folded_count_as_before() -> None:
    snapshots = [
        counted((V2, "200", None, 1), (V2, "500", "version", 2)),
        counted((V2, "200", None, 4), (MLFLOW, "400", "version", 8), gateway="b"),
        counted((("iris", "1", "stable", "open_inference"), "200", None, 3), gateway="c"),
    ]
    bodies = [msgspec.json.encode(snapshot) for snapshot in snapshots]

    folded = fold([fold(bodies[:2]), bodies[2]])

    past = msgspec.json.decode(folded, type=Snapshot)
    assert all_counts([past]) == all_counts(snapshots)


class TestFleetCounts:
    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return migrated(tmp_path / "fleet.db")

    def test_clusters_are_added_up_and_feedback_is_beside_them(
        self, url: str, clock: FakeClock
    ) -> None:
        for cluster in ("one", "two"):
            counters = FleetCounters(FleetStore(url, cluster, clock), clock, clock)
            counters.report(counted((V2, "200", None, 5)))
            counters.flush()
        heard = {
            ("wine", "2"): FeedbackTotals(3, 1, 2, 0.5, 0.25),
            ("wine", "9"): FeedbackTotals(labels=1),
        }
        counts = FleetCounts(FleetStore(url, "one", clock), lambda: heard)

        assert counts.of("wine", "2") == Counts()
        counts.read()

        assert counts.of("wine", "2") == Counts(
            requests=10, labels=3, mistakes=1, rewards=Sums(2, 0.5, 0.25)
        )
        assert counts.of("wine", "9") == Counts(labels=1)

    def test_counts_rise_with_what_gateways_report_and_outlive_them(
        self, url: str, clock: FakeClock
    ) -> None:
        store = FleetStore(url, "one", clock)
        counters = FleetCounters(store, clock, clock)
        counts = FleetCounts(store, nothing_heard)
        gateway = Counters("a")

        def now() -> int:
            counters.flush()
            counts.read()
            return counts.of("wine", "2").requests

        for requests in (1, 2, 3):
            gateway.add(REQUESTS, (*V2, "200"))
            counters.report(gateway.snapshot())
            assert now() == requests
        clock.advance(FORGET_AFTER_S + 1)
        counters.report(counted((V2, "200", None, 4), gateway="b"))

        assert now() == 7
        assert [snapshot.gateway for snapshot in counters.merged()] == ["b"]

        again = FleetCounters(store, clock, clock)
        again.restore()
        counters = again
        assert now() == 7
        assert "past" not in [snapshot.gateway for snapshot in again.merged()]

    def test_counts_outlive_a_cluster(self, url: str, clock: FakeClock) -> None:
        old = FleetCounters(FleetStore(url, "old", clock), clock, clock)
        old.report(counted((V2, "200", None, 5)))
        old.flush()
        store = FleetStore(url, "one", clock)
        counters = FleetCounters(store, clock, clock)
        counts = FleetCounts(store, nothing_heard)
        gateway = Counters("b")
        gateway.add(REQUESTS, (*V2, "500"), 2)
        gateway.add(ERRORS, (*V2, "500", "version"), 2)

        for seconds in (0.0, CLUSTER_GONE_AFTER_S + 1, SWEEP_S):
            clock.advance(seconds)
            counters.report(gateway.snapshot())
            counters.flush()
            counts.read()
            assert counts.of("wine", "2") == Counts(requests=7, errors=2)

        assert store.load_all_counters({})[0] == {("one", "b"), (NO_CLUSTER, PAST)}
