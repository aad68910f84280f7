"""No series that was ever shown is shown smaller later, whatever is restarted in between."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.controller.counters import FORGET_AFTER_S, GONE_AFTER_S, FleetCounters
from deployments.store.store import FleetStore, StoredCounters
from deployments.telemetry import IN_FLIGHT, LATENCY, REQUESTS, Counters, Snapshot
from tests.fakes import FakeClock
from tests.fleetstores import migrated
from tests.properties import examples

LABELS = ("churn", "1", "stable", "open_inference")


class MemoryStore(FleetStore):
    """The rows of `gateway_counters` alone, and a store that can be away."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredCounters] = {}
        self.away = False

    def save_counters(self, counters: object) -> None:
        rows = list(counters)  # type: ignore[call-overload]
        if self.away:
            raise ConnectionError
        for row in rows:
            kept = self.rows.get(row.gateway)
            if kept is None or kept.sequence <= row.sequence:
                self.rows[row.gateway] = row

    def load_counters(self) -> list[StoredCounters]:
        return list(self.rows.values())

    def forget_counters(self, gateways: object, fold: object) -> None:
        for gateway in gateways:  # type: ignore[attr-defined]
            self.rows.pop(gateway, None)

    def forget_clusters(self, before_s: float, fold: object) -> None:
        pass


def counted(gateway: str = "a", requests: int = 1, sequence: int | None = None) -> Snapshot:
    """What a gateway says after so many requests."""
    counters = Counters(gateway)
    counters._sequence = (requests if sequence is None else sequence) - 1
    counters.add(REQUESTS, (*LABELS, "200"), requests)
    counters.observe(LATENCY, LABELS, 0.01, requests)
    counters.set(IN_FLIGHT, LABELS[:3], 1)
    return counters.snapshot()


def shown(counters: FleetCounters) -> dict[str, float]:
    """Requests by gateway, as a scrape would show them."""
    counters.flush()
    return {
        snapshot.gateway: snapshot.families[REQUESTS.name][0].counts[0]
        for snapshot in counters.merged()
    }


def started(store: FleetStore, clock: FakeClock) -> FleetCounters:
    counters = FleetCounters(store, clock, clock)
    counters.restore()
    return counters


def test_two_gateways_are_shown_side_by_side() -> None:
    counters = started(MemoryStore(), FakeClock())

    counters.report(counted("b", 5))
    counters.report(counted("a", 3))

    assert shown(counters) == {"a": 3, "b": 5}
    assert [snapshot.gateway for snapshot in counters.merged()] == ["a", "b"]


@pytest.mark.parametrize("late", [1, 2], ids=["older", "the-same"])
def test_a_snapshot_that_arrives_late_is_ignored(late: int) -> None:
    counters = started(MemoryStore(), FakeClock())
    counters.report(counted(requests=7, sequence=2))

    counters.report(counted(requests=4, sequence=late))

    assert shown(counters) == {"a": 7}


def test_nothing_is_shown_before_it_is_persisted() -> None:
    store = MemoryStore()
    counters = started(store, FakeClock())
    counters.report(counted(requests=1))
    counters.flush()

    counters.report(counted(requests=2))

    assert [s.sequence for s in counters.merged()] == [1]
    assert shown(counters) == {"a": 2}
    assert store.rows["a"].sequence == 2


def test_a_report_during_a_flush_is_written_by_the_next() -> None:
    class Slow(MemoryStore):
        def save_counters(self, rows: object) -> None:
            super().save_counters(rows)
            if self.rows["a"].sequence == 1:
                counters.report(counted(requests=2))
                counters.report(counted("b", 9))

    store = Slow()
    counters = started(store, FakeClock())
    counters.report(counted(requests=1))

    assert shown(counters) == {"a": 1}
    assert shown(counters) == {"a": 2, "b": 9}
    assert store.rows["a"].sequence == 2


def test_a_store_that_is_away_does_not_hide_the_present() -> None:
    store = MemoryStore()
    counters = started(store, FakeClock())
    counters.report(counted(requests=1))
    store.away = True

    with pytest.raises(ConnectionError):
        counters.flush()

    assert [s.sequence for s in counters.merged()] == [1]
    store.away = False
    counters.flush()
    assert store.rows["a"].sequence == 1


def test_after_a_restart_an_old_row_waits_until_its_gateway_reports_or_is_gone() -> None:
    store, clock = MemoryStore(), FakeClock()
    first = started(store, clock)
    first.report(counted("a", 3))
    first.report(counted("b", 5))
    first.flush()

    second = started(store, clock)
    second.report(counted("a", 4))

    assert shown(second) == {"a": 4}
    clock.advance(GONE_AFTER_S)
    assert shown(second) == {"a": 4, "b": 5}


def test_a_gateway_that_is_gone_keeps_its_totals_and_loses_its_gauges() -> None:
    clock = FakeClock()
    counters = started(MemoryStore(), clock)
    counters.report(counted())

    clock.advance(GONE_AFTER_S - 0.1)
    counters.flush()
    assert IN_FLIGHT.name in counters.merged()[0].families
    clock.advance(0.2)
    counters.flush()
    (gone,) = counters.merged()

    assert IN_FLIGHT.name not in gone.families
    assert gone.families[REQUESTS.name][0].counts == (1,)


def test_a_gateway_is_forgotten_after_a_day() -> None:
    store, clock = MemoryStore(), FakeClock()
    counters = started(store, clock)
    counters.report(counted("a"))
    counters.flush()

    clock.advance(FORGET_AFTER_S)
    assert shown(counters) == {"a": 1}
    clock.advance(1.0)
    assert shown(counters) == {}
    assert store.rows == {}
    assert shown(started(store, clock)) == {}


def test_a_clock_set_forward_forgets_none_that_lives() -> None:
    store, clock, monotonic = MemoryStore(), FakeClock(), FakeClock()
    counters = FleetCounters(store, clock, monotonic)
    counters.report(counted("a"))
    counters.flush()

    clock.advance(FORGET_AFTER_S + 1.0)
    monotonic.advance(1.0)
    assert shown(counters) == {"a": 1}

    monotonic.advance(GONE_AFTER_S)
    assert shown(counters) == {}


class Fleet:
    """Two gateways, a controller that can be restarted, and somebody who scrapes."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.gateways = {name: Counters(name) for name in "ab"}
        for gateway in self.gateways.values():
            gateway.add(REQUESTS, (*LABELS, "200"), 0)
        self.first = self.gateways["a"].snapshot()
        self.restart()

    def count(self, gateway: str) -> None:
        self.gateways[gateway].add(REQUESTS, (*LABELS, "200"))

    def report(self, gateway: str) -> None:
        self.counters.report(self.gateways[gateway].snapshot())

    def report_late(self) -> None:
        self.counters.report(self.first)

    def flush(self) -> None:
        self.counters.flush()

    def restart(self) -> None:
        self.counters = started(self.store, self.clock)


STEPS: Mapping[str, Callable[[Fleet], object]] = {
    "a counts": lambda fleet: fleet.count("a"),
    "b counts": lambda fleet: fleet.count("b"),
    "a reports": lambda fleet: fleet.report("a"),
    "b reports": lambda fleet: fleet.report("b"),
    "an old report arrives": Fleet.report_late,
    "the controller flushes": Fleet.flush,
    "the controller restarts": Fleet.restart,
    "a second passes": lambda fleet: fleet.clock.advance(1.0),
    "a minute passes": lambda fleet: fleet.clock.advance(60.0),
    "somebody scrapes": lambda _: None,
}


@examples(100)
@given(st.lists(st.sampled_from(sorted(STEPS)), max_size=40))
def test_no_series_ever_runs_backwards(steps: list[str]) -> None:
    fleet = Fleet()
    before: dict[str, float] = {}

    for step in steps:
        STEPS[step](fleet)
        if step == "somebody scrapes":
            now = shown(fleet.counters)
            assert all(value >= before.get(name, 0) for name, value in now.items())
            before |= now


def test_the_same_holds_on_a_real_store(tmp_path: Path) -> None:
    clock = FakeClock()
    store = FleetStore(migrated(tmp_path / "fleet.db"), "c", clock)
    first = started(store, clock)
    first.report(counted(requests=5))
    assert shown(first) == {"a": 5}
    clock.advance(GONE_AFTER_S)

    second = started(store, clock)
    clock.advance(GONE_AFTER_S)

    assert shown(second) == {"a": 5}
    store.close()
