"""Read and write the fleet store. Every call may block on the database; none is on a hot path."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, Table, create_engine, delete, event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url

from deployments.store.schema import (
    applications,
    gateway_counters,
    load_failures,
    routing_tables,
)

MIGRATIONS = Path(__file__).with_name("migrations")

BUSY_TIMEOUT_S = 10.0
"""Longest wait for another process's write to SQLite, seconds."""


@dataclass(frozen=True, slots=True)
class StoredFailure:
    """One row of `load_failures`."""

    application: str
    fingerprint: str
    reason: str
    attempts: int
    failed_at_s: float


@dataclass(frozen=True, slots=True)
class StoredCounters:
    """One row of `gateway_counters`."""

    gateway: str
    sequence: int
    body: bytes
    reported_at_s: float


class FleetStore:
    """The rows of one cluster in the fleet store.

    Several clusters may share a database; each sees only its own rows here.
    """

    def __init__(self, url: str, cluster: str, clock: Callable[[], float] = time.time) -> None:
        self._engine = _connect(url)
        self._cluster = cluster
        self._clock = clock

    def migrate(self) -> None:
        """Bring the schema up to this release; harmless when it already is."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._engine.begin() as connection:
            _lock_schema(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def save_table(self, revision: int, body: bytes) -> None:
        """Keep the last routing table; an older revision never replaces a newer one."""
        row = {
            "cluster": self._cluster,
            "revision": revision,
            "body": body,
            "written_at_s": self._clock(),
        }
        with self._engine.begin() as connection:
            _upsert(connection, routing_tables, [row], rising="revision")

    def load_table(self) -> bytes | None:
        """The last routing table of this cluster; None when there never was one."""
        with self._engine.connect() as connection:
            body: bytes | None = connection.scalar(
                select(routing_tables.c.body).where(routing_tables.c.cluster == self._cluster)
            )
            return body

    def save_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        """Remember with which settings applications were deployed."""
        rows = [
            {"cluster": self._cluster, "name": name, "fingerprint": mark}
            for name, mark in fingerprints.items()
        ]
        with self._engine.begin() as connection:
            _upsert(connection, applications, rows)

    def load_fingerprints(self) -> dict[str, str]:
        """Settings by application name."""
        query = select(applications.c.name, applications.c.fingerprint).where(
            applications.c.cluster == self._cluster
        )
        with self._engine.connect() as connection:
            return {row.name: row.fingerprint for row in connection.execute(query)}

    def save_failures(self, failures: Iterable[StoredFailure]) -> None:
        """Remember why versions could not be loaded."""
        rows = [
            {
                "cluster": self._cluster,
                "application": failure.application,
                "fingerprint": failure.fingerprint,
                "reason": failure.reason,
                "attempts": failure.attempts,
                "failed_at_s": failure.failed_at_s,
            }
            for failure in failures
        ]
        with self._engine.begin() as connection:
            _upsert(connection, load_failures, rows)

    def load_failures(self) -> list[StoredFailure]:
        """All versions on record that could not be loaded."""
        query = select(
            load_failures.c.application,
            load_failures.c.fingerprint,
            load_failures.c.reason,
            load_failures.c.attempts,
            load_failures.c.failed_at_s,
        ).where(load_failures.c.cluster == self._cluster)
        with self._engine.connect() as connection:
            return [StoredFailure(*row) for row in connection.execute(query)]

    def save_counters(self, counters: Iterable[StoredCounters]) -> None:
        """Keep what gateways have counted; an older snapshot never replaces a newer one."""
        rows = [
            {
                "cluster": self._cluster,
                "gateway": item.gateway,
                "sequence": item.sequence,
                "body": item.body,
                "reported_at_s": item.reported_at_s,
            }
            for item in counters
        ]
        with self._engine.begin() as connection:
            _upsert(connection, gateway_counters, rows, rising="sequence")

    def load_counters(self) -> list[StoredCounters]:
        """What every gateway has counted, the ones that are gone included."""
        query = select(
            gateway_counters.c.gateway,
            gateway_counters.c.sequence,
            gateway_counters.c.body,
            gateway_counters.c.reported_at_s,
        ).where(gateway_counters.c.cluster == self._cluster)
        with self._engine.connect() as connection:
            return [StoredCounters(*row) for row in connection.execute(query)]

    def forget_counters(self, gateways: Iterable[str]) -> None:
        """Drop the counters of gateways that left long ago."""
        with self._engine.begin() as connection:
            connection.execute(
                delete(gateway_counters).where(
                    gateway_counters.c.cluster == self._cluster,
                    gateway_counters.c.gateway.in_(list(gateways)),
                )
            )

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()


def _connect(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, pool_size=2)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})

    # Write-ahead logging lets gateways read while the controller writes.
    @event.listens_for(engine, "connect")
    def _use_wal(connection: object, _record: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")  # type: ignore[attr-defined]

    return engine


def _lock_schema(connection: Connection) -> None:
    """Let two processes that start at the same time migrate one after the other."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7300417)")
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, object]],
    rising: str | None = None,
) -> None:
    """Insert rows or replace those with the same key; `rising` names a column that never falls."""
    if not rows:
        return
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    values = {
        column.name: statement.excluded[column.name]
        for column in table.columns
        if column.name not in keys
    }
    # In the statement itself, since another process may write between two of ours.
    newer = table.columns[rising] <= statement.excluded[rising] if rising else None
    upsert = statement.on_conflict_do_update(index_elements=keys, set_=values, where=newer)
    connection.execute(upsert, rows)
