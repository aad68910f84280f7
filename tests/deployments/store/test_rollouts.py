"""What the rows of rollouts owe, on SQLite, and on PostgreSQL where a server may be started."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from deployments.store.rollouts import LEASE_S, EventRow, RolloutRow, RolloutStore
from deployments.store.store import FleetStore
from tests.deployments.store.databases import empty, ready
from tests.fakes import FakeClock
from tests.fleetstores import migrated

ROW = RolloutRow(
    id="r1", model="wine", version="2", strategy="canary", phase="progressing", active=True,
    settled=False, revision=0, body=b'{"step":0}', started_at_s=1_000.25, ended_at_s=None,
)  # fmt: skip


def event(kind: str, rollout: str = "r1") -> EventRow:
    return EventRow(
        rollout, "wine", 1_000.5, "alice", kind, "step 0", "step 1", "größer\nals", b'{"canary":1}'
    )


def racing(url: str, statement: str) -> list[str]:
    """What a statement gives in two processes at once; `name` tells them apart."""
    script = textwrap.dedent(f"""
        import sys
        from dataclasses import replace
        from deployments.store.store import FleetStore
        from deployments.store.rollouts import RolloutStore
        from tests.deployments.store.test_rollouts import ROW, event
        url, name = sys.argv[1:]
        rollouts = RolloutStore(FleetStore(url, name).engine)
        print("ready", flush=True)
        sys.stdin.read()
        print({statement})
    """)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, url, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            text=True,
        )
        for name in ("one", "two")
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    return sorted(process.communicate(timeout=60)[0].strip() for process in processes)


class RolloutsContract:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        raise NotImplementedError

    @pytest.fixture
    def fleet(self, url: str) -> Iterator[FleetStore]:
        store = FleetStore(url, "one")
        yield store
        store.close()

    @pytest.fixture
    def rollouts(self, fleet: FleetStore) -> RolloutStore:
        return RolloutStore(fleet.engine)

    def test_what_is_begun_is_found(self, rollouts: RolloutStore) -> None:
        assert rollouts.begin(ROW, [event("started"), event("stepped")])

        assert rollouts.get("r1") == ROW
        assert rollouts.unsettled() == rollouts.history("wine") == rollouts.history() == [ROW]
        assert rollouts.events("r1") == [event("started"), event("stepped")]
        assert (rollouts.get("r2"), rollouts.history("iris"), rollouts.events("r2")) == (
            None, [], [],
        )  # fmt: skip

    def test_a_model_has_one_active_rollout(self, rollouts: RolloutStore) -> None:
        assert rollouts.begin(ROW, [])

        assert not rollouts.begin(replace(ROW, id="r2"), [event("started", "r2")])
        assert rollouts.begin(replace(ROW, id="r3", model="iris"), [])

        assert rollouts.get("r2") is None
        assert rollouts.events("r2") == []

    def test_the_next_may_begin_once_it_has_ended(self, rollouts: RolloutStore) -> None:
        rollouts.begin(ROW, [])
        ended = replace(ROW, active=False, phase="aborted", ended_at_s=1_100.0)

        assert rollouts.save(ended, [])
        assert rollouts.begin(replace(ROW, id="r2", started_at_s=1_200.0), [])

        assert [row.id for row in rollouts.history("wine")] == ["r2", "r1"]
        assert rollouts.unsettled() == [
            replace(ended, revision=1),
            replace(ROW, id="r2", started_at_s=1_200.0),
        ]

    def test_what_is_settled_is_history(self, rollouts: RolloutStore) -> None:
        rollouts.begin(ROW, [])

        rollouts.save(replace(ROW, active=False, settled=True), [])

        assert rollouts.unsettled() == []
        assert [row.id for row in rollouts.history(limit=1)] == ["r1"]

    def test_a_write_on_an_old_revision_is_refused_with_its_events(
        self, rollouts: RolloutStore
    ) -> None:
        rollouts.begin(ROW, [])

        assert rollouts.save(replace(ROW, phase="paused"), [event("paused")])
        assert not rollouts.save(replace(ROW, phase="aborted"), [event("aborted")])
        assert not rollouts.save(replace(ROW, id="nobody"), [])

        assert rollouts.get("r1") == replace(ROW, phase="paused", revision=1)
        assert [each.kind for each in rollouts.events("r1")] == ["paused"]

    def test_a_state_is_not_stored_without_its_events(self, rollouts: RolloutStore) -> None:
        rollouts.begin(ROW, [])
        broken = replace(event("stepped"), reason=None)  # type: ignore[arg-type]

        with pytest.raises(SQLAlchemyError):
            rollouts.save(replace(ROW, phase="paused"), [event("paused"), broken])
        with pytest.raises(SQLAlchemyError):
            rollouts.begin(replace(ROW, id="r2", model="iris"), [broken])

        assert rollouts.unsettled() == [ROW]
        assert rollouts.events("r1") == []

    def test_of_many_states_only_the_current_ones_are_written(self, rollouts: RolloutStore) -> None:
        iris = replace(ROW, id="r2", model="iris")
        taken = replace(ROW, id="r3")
        states = [(row, [event("started", row.id)]) for row in (ROW, taken, iris)]

        assert rollouts.begin_all(states) == [True, False, True]
        assert rollouts.save(iris, [])
        changed = [(replace(row, phase="paused"), [event("paused", row.id)]) for row in (iris, ROW)]
        assert rollouts.save_all(changed) == [False, True]

        assert rollouts.get("r1") == replace(ROW, phase="paused", revision=1)
        assert rollouts.get("r2") == replace(iris, revision=1)
        assert [each.kind for each in rollouts.events("r1")] == ["started", "paused"]
        assert [each.kind for each in rollouts.events("r2")] == ["started"]
        assert rollouts.begin_all([]) == rollouts.save_all([]) == []

    def test_of_many_states_all_are_written_or_none(self, rollouts: RolloutStore) -> None:
        iris = replace(ROW, id="r2", model="iris")
        rollouts.begin_all([(ROW, []), (iris, [])])
        broken = replace(event("stepped", "r2"), reason=None)  # type: ignore[arg-type]

        with pytest.raises(SQLAlchemyError):
            rollouts.save_all([(replace(ROW, phase="paused"), [event("paused")]), (iris, [broken])])

        assert rollouts.get("r1") == ROW
        assert rollouts.events("r1") == []

    def test_of_many_threads_one_writes_a_revision(self, rollouts: RolloutStore) -> None:
        rollouts.begin(ROW, [])

        with ThreadPoolExecutor(8) as pool:
            written = list(pool.map(lambda n: rollouts.save(ROW, [event(str(n))]), range(8)))

        assert sorted(written) == [*[False] * 7, True]
        assert len(rollouts.events("r1")) == 1

    @pytest.mark.ray
    def test_of_two_processes_one_begins(self, url: str, rollouts: RolloutStore) -> None:
        begin = "rollouts.begin(replace(ROW, id=name), [event('started', name)])"

        assert racing(url, begin) == ["False", "True"]
        (row,) = rollouts.unsettled()
        assert len(rollouts.events("one")) + len(rollouts.events("two")) == 1
        assert len(rollouts.events(row.id)) == 1

    @pytest.mark.ray
    def test_of_two_processes_one_writes_each_revision(
        self, url: str, rollouts: RolloutStore
    ) -> None:
        rollouts.begin(ROW, [])
        won = "sum(rollouts.save(replace(ROW, revision=n), [event(name)]) for n in range(100))"

        wins = [int(text) for text in racing(url, won)]

        stored = rollouts.get("r1")
        assert stored is not None
        assert sum(wins) == stored.revision == len(rollouts.events("r1"))

    @pytest.mark.ray
    def test_of_two_processes_one_holds(self, url: str, rollouts: RolloutStore) -> None:
        assert racing(url, "any([rollouts.hold('judge', name) for _ in range(50)])") == [
            "False",
            "True",
        ]

    def test_a_lease_that_is_renewed_is_kept(self, fleet: FleetStore) -> None:
        clock = FakeClock()
        first, second = RolloutStore(fleet.engine), RolloutStore(fleet.engine, clock)

        for _ in range(3):
            assert first.hold("judge", "a")
            assert not second.hold("judge", "b")
            clock.now_s += LEASE_S

        assert second.hold("another", "b")

    def test_a_holder_that_is_gone_is_replaced(self, fleet: FleetStore) -> None:
        clock = FakeClock()
        first, second = RolloutStore(fleet.engine), RolloutStore(fleet.engine, clock)
        first.hold("judge", "a")

        assert not second.hold("judge", "b")
        clock.now_s += LEASE_S - 0.1
        assert not second.hold("judge", "b")
        clock.now_s += 0.2
        assert second.hold("judge", "b")

        assert not first.hold("judge", "a")
        assert second.hold("judge", "b")

    def test_of_two_that_wait_one_replaces_it(self, fleet: FleetStore) -> None:
        clock = FakeClock()
        waiting = [RolloutStore(fleet.engine, clock) for _ in "bc"]
        RolloutStore(fleet.engine).hold("judge", "a")
        for store, name in zip(waiting, "bc", strict=True):
            store.hold("judge", name)
        clock.now_s += LEASE_S

        took = [store.hold("judge", name) for store, name in zip(waiting, "bc", strict=True)]

        assert took == [True, False]

    def test_a_lease_that_is_given_back_is_free_at_once(self, fleet: FleetStore) -> None:
        first, second = RolloutStore(fleet.engine), RolloutStore(fleet.engine)
        first.hold("judge", "a")
        second.hold("judge", "b")

        second.release("judge", "b")
        assert not second.hold("judge", "b")
        first.release("judge", "a")

        assert second.hold("judge", "b")
        assert not first.hold("judge", "a")


class TestSqlite(RolloutsContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return migrated(tmp_path / "fleet.db")


@pytest.mark.ray
class TestPostgresql(RolloutsContract):
    @pytest.fixture
    def url(self, server: str) -> str:
        return ready(empty(server))
