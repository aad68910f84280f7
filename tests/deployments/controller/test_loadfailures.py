"""Failed versions are counted, and known to the next controller."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.controller.dependencies import Dependencies
from deployments.controller.failures import Failure
from deployments.controller.loadfailures import LoadFailures
from deployments.store.store import FleetStore
from tests.fakes import FakeClock
from tests.fleetstores import migrated

AT_S = FakeClock()()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FleetStore]:
    store = FleetStore(migrated(tmp_path / "fleet.db"), "one")
    yield store
    store.close()


def failures_of(store: FleetStore) -> LoadFailures:
    return LoadFailures(store, Dependencies().call, FakeClock())


def test_what_serve_refused_is_counted_and_known_to_the_next_controller(store: FleetStore) -> None:
    failures, successor = failures_of(store), failures_of(store)

    for _ in range(2):
        asyncio.run(failures.note_refused({"a--v1": "no"}, {"a--v1": "mark", "b--v1": "other"}))
    successor.read()

    assert failures.known == successor.known == {"a--v1": Failure("mark", "no", 2, AT_S)}


def test_a_proof_that_succeeds_ends_a_failure(store: FleetStore) -> None:
    failures = failures_of(store)

    for reason in ("no file", "no file still"):
        failures.note_proof("a--v1", reason)
    assert failures.known == {"a--v1": Failure("", "no file still", 2, AT_S)}

    failures.note_proof("a--v1", None)
    assert failures.known == {}
