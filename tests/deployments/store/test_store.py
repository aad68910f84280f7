"""What the fleet store owes, on SQLite, and on PostgreSQL where a server may be started."""

import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from deployments.store.schema import metadata
from deployments.store.store import BUSY_TIMEOUT_S, PAST, FleetStore, StoredCounters, StoredFailure
from tests.deployments.store.databases import empty
from tests.fakes import FakeClock

VERSION_TABLE = "rayfleet_alembic_version"


class StoreContract:
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        raise NotImplementedError

    @pytest.fixture
    def store(self, url: str) -> Iterator[FleetStore]:
        store = FleetStore(url, "one", FakeClock())
        store.migrate()
        yield store
        store.close()

    def test_migration_equals_the_metadata(self, url: str, store: FleetStore) -> None:
        with create_engine(url).connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            assert compare_metadata(context, metadata) == []
            assert {*inspect(connection).get_table_names()} == {*metadata.tables, VERSION_TABLE}

    def test_migrating_again_is_harmless(self, store: FleetStore) -> None:
        store.save_table(1, b"table")

        store.migrate()

        assert store.load_table() == b"table"

    def test_threads_may_migrate_at_once(self, url: str) -> None:
        def migrate(_: int) -> None:
            store = FleetStore(url, "one")
            store.migrate()
            store.save_table(1, b"table")
            store.close()

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(migrate, range(4))) == [None] * 4

    @pytest.mark.ray
    def test_processes_may_migrate_at_once(self, url: str) -> None:
        script = textwrap.dedent("""
            import sys
            from deployments.store.store import FleetStore
            sys.stdin.read()
            store = FleetStore(sys.argv[1], "one")
            store.migrate()
            store.save_table(1, b"table")
        """)
        command = [sys.executable, "-c", script, url]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(4)
        ]
        for process in processes:  # they have imported everything when their input ends
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None

        errors = [process.communicate(timeout=60)[1].decode() for process in processes]

        assert errors == [""] * 4

    def test_an_older_table_never_replaces_a_newer_one(self, store: FleetStore) -> None:
        assert store.load_table() is None

        for revision in (3, 5, 4):
            store.save_table(revision, b"%d" % revision)
        assert store.load_table() == b"5"

        store.save_table(5, b"again")
        assert store.load_table() == b"again"

    def test_the_last_good_config_is_kept_for_its_own_cluster(
        self, url: str, store: FleetStore
    ) -> None:
        assert store.load_config() is None

        for body in ('{"models": {}}', '{"models": {"größer": {}}}'):
            store.save_config(body)

        other = FleetStore(url, "two")
        assert (store.load_config(), other.load_config()) == ('{"models": {"größer": {}}}', None)
        other.close()

    def test_an_older_snapshot_never_replaces_a_newer_one(self, store: FleetStore) -> None:
        for sequence in (2, 1):
            store.save_counters([StoredCounters("a", sequence, b"%d" % sequence, 1_000.0)])

        assert store.load_counters() == [StoredCounters("a", 2, b"2", 1_000.0)]

    def test_what_is_saved_is_loaded(self, store: FleetStore) -> None:
        failure = StoredFailure("m--v1", "abc", "RuntimeError: größer\n als", 2, 1_000.25)
        counters = [StoredCounters("a", 1, b"\x00\xff", 2_000.5), StoredCounters("b", 1, b"", 1.0)]

        store.save_fingerprints({"m--v1": "abc", "m--v2": "def"})
        store.save_failures([failure])
        store.save_counters(counters)

        assert store.load_fingerprints() == {"m--v1": "abc", "m--v2": "def"}
        assert store.load_failures() == [failure]
        assert sorted(store.load_counters(), key=lambda row: row.gateway) == counters

    def test_saving_again_replaces(self, store: FleetStore) -> None:
        for attempts in (1, 2):
            store.save_fingerprints({"m--v1": f"mark-{attempts}"})
            store.save_failures([StoredFailure("m--v1", "abc", "why", attempts, 1.0)])

        assert store.load_fingerprints() == {"m--v1": "mark-2"}
        assert [row.attempts for row in store.load_failures()] == [2]

    def test_a_failure_that_is_no_longer_named_is_forgotten(self, store: FleetStore) -> None:
        failures = [StoredFailure(name, "abc", "why", 1, 1.0) for name in ("m--v1", "m--v2")]
        store.save_failures(failures)

        store.save_failures(failures[1:])
        assert store.load_failures() == failures[1:]

        store.save_failures([])
        assert store.load_failures() == []

    def test_saving_nothing_is_nothing(self, store: FleetStore) -> None:
        store.save_fingerprints({})
        store.save_failures([])
        store.save_counters([])
        store.forget_counters([], b"".join)

        assert (store.load_fingerprints(), store.load_failures(), store.load_counters()) == (
            {}, [], [],
        )  # fmt: skip

    def test_added_models_are_every_cluster_s(self, url: str, store: FleetStore) -> None:
        other = FleetStore(url, "two", FakeClock())
        store.save_hosted("wine", "{}")
        store.save_hosted("größe", '{"num_replicas":2}')

        other.save_hosted("wine", '{"num_replicas":3}')
        store.forget_hosted("größe")
        store.forget_hosted("nobody")

        assert store.load_hosted() == other.load_hosted() == {"wine": '{"num_replicas":3}'}
        other.close()

    def test_clusters_do_not_see_each_other(self, url: str, store: FleetStore) -> None:
        other = FleetStore(url, "two", FakeClock())
        counters = StoredCounters("a", 1, b"x", 1.0)
        for each in (store, other):
            each.save_counters([counters])
        store.save_table(9, b"table")
        store.save_fingerprints({"m--v1": "abc"})
        failure = StoredFailure("m--v1", "abc", "why", 1, 1.0)
        store.save_failures([failure])

        other.save_table(1, b"other")
        other.save_failures([])
        other.forget_counters(["a"], b"".join)

        assert (store.load_table(), other.load_table()) == (b"table", b"other")
        assert (other.load_fingerprints(), other.load_failures()) == ({}, [])
        assert store.load_failures() == [failure]
        past = StoredCounters(PAST, 1, b"x", 1_000.0)
        assert (store.load_counters(), other.load_counters()) == ([counters], [past])
        other.close()

    def test_gateways_that_are_forgotten_are_added_up(self, store: FleetStore) -> None:
        store.save_counters([StoredCounters(name, 7, name.encode(), 1.0) for name in "abc"])

        store.forget_counters(["a", "nobody"], added)
        store.forget_counters(["c"], added)
        store.forget_counters(["c"], added)

        assert sorted(store.load_counters(), key=lambda row: row.gateway) == [
            StoredCounters("b", 7, b"b", 1.0),
            StoredCounters(PAST, 2, b"ac", 1_000.0),
        ]

    def test_clusters_that_are_gone_are_added_up(self, url: str, store: FleetStore) -> None:
        others = [FleetStore(url, name, FakeClock()) for name in ("gone", "alive")]
        for other in others:
            other.save_counters([StoredCounters(name, 1, name.encode(), 1.0) for name in "ab"])
            other.forget_counters(["b"], added)
        others[1].save_counters([StoredCounters("c", 1, b"c", 500.0)])
        others[0].save_counters([StoredCounters(PAST, 2, b"b", 2.0)])
        store.save_counters([StoredCounters("d", 1, b"d", 1.0)])
        others[1].save_counters([StoredCounters(PAST, 2, b"b", 2.0)])

        store.forget_clusters(500.0, added)
        store.forget_clusters(500.0, added)

        present, changed = store.load_all_counters({("alive", "a"): 1, ("gone", "a"): 1})
        assert present == {
            ("one", "d"), ("alive", "a"), ("alive", "c"), ("alive", PAST), ("", PAST),
        }  # fmt: skip
        assert {key: row.body for key, row in changed.items()} == {
            ("one", "d"): b"d", ("alive", "c"): b"c", ("alive", PAST): b"b", ("", PAST): b"ab",
        }  # fmt: skip
        for other in others:
            other.close()

    def test_threads_may_forget_at_once(self, store: FleetStore) -> None:
        store.save_counters([StoredCounters(f"{n}", 1, b"x", 1.0) for n in range(20)])

        with ThreadPoolExecutor(4) as pool:
            for each in [
                pool.submit(store.forget_counters, [f"{n % 20}"], added) for n in range(40)
            ]:
                each.result()

        assert [row.body for row in store.load_counters()] == [b"x" * 20]


def added(bodies: Sequence[bytes]) -> bytes:
    return bytes(sorted(b"".join(bodies)))


class TestSqlite(StoreContract):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'fleet.db'}"

    def test_readers_do_not_wait_for_a_writer(self, url: str, store: FleetStore) -> None:
        store.save_table(1, b"table")
        with create_engine(url).begin() as writer:
            writer.exec_driver_sql("BEGIN IMMEDIATE")

            assert store.load_table() == b"table"

    def test_its_file_is_for_this_user_alone(self, url: str, store: FleetStore) -> None:
        store.save_table(1, b"with keys")
        path = Path(url.removeprefix("sqlite:///"))

        files = [each for each in path.parent.iterdir() if each.name.startswith(path.name)]

        assert files
        assert {each.stat().st_mode & 0o077 for each in files} == {0}

    def test_the_first_connection_waits_for_a_writer(self, url: str, tmp_path: Path) -> None:
        writer = sqlite3.connect(tmp_path / "fleet.db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")

        with ThreadPoolExecutor(1) as pool:
            migrated = pool.submit(FleetStore(url, "one").migrate)
            with pytest.raises(TimeoutError):
                migrated.result(timeout=0.3)
            writer.execute("COMMIT")
            writer.close()

            migrated.result(timeout=BUSY_TIMEOUT_S)


@pytest.mark.ray
class TestPostgresql(StoreContract):
    @pytest.fixture
    def url(self, server: str) -> str:
        return empty(server)
