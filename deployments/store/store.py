"""Read and write the fleet store. Every call may block on the database; none is on a hot path."""

import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    Table,
    case,
    create_engine,
    delete,
    event,
    insert,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url

from deployments.store.schema import (
    applications,
    fleet_configs,
    gateway_counters,
    hosted_models,
    load_failures,
    routing_tables,
)

PAST = "past"
"""Stands for the gateways that are forgotten; its counters are theirs together."""

NO_CLUSTER = ""
"""Stands for the clusters that are forgotten."""

Fold = Callable[[Sequence[bytes]], bytes]
"""Adds counters up."""

MIGRATIONS = Path(__file__).with_name("migrations")

BUSY_TIMEOUT_S = 10.0
"""Longest wait for another process's write to SQLite, seconds."""

BUSY_POLL_S = 0.01


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

    @property
    def engine(self) -> Engine:
        """Its connections, for what all clusters share."""
        return self._engine

    def migrate(self) -> None:
        """Bring the schema up to this release; harmless when it already is."""
        # Of all who open a store, the controller alone migrates it.
        from alembic import command  # noqa: PLC0415, as slow as the rest of this module
        from alembic.config import Config  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._engine.begin() as connection:
            _lock(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def save_table(self, revision: int, body: bytes) -> None:
        """Keep the last routing table; an older revision never replaces a newer one."""
        row = {"revision": revision, "body": body, "written_at_s": self._clock()}
        with self._engine.begin() as connection:
            self._upsert(connection, routing_tables, [row], rising="revision")

    def load_table(self) -> bytes | None:
        """The last routing table of this cluster; None when there never was one."""
        bodies = self._load(routing_tables, "body")
        return bodies[0][0] if bodies else None

    def save_config(self, body: str) -> None:
        """Keep a good config, as JSON."""
        row = {"body": body, "written_at_s": self._clock()}
        with self._engine.begin() as connection:
            self._upsert(connection, fleet_configs, [row])

    def load_config(self) -> str | None:
        """The last good config of this cluster; None when there never was one."""
        bodies = self._load(fleet_configs, "body")
        return bodies[0][0] if bodies else None

    def save_fingerprints(self, fingerprints: Mapping[str, str]) -> None:
        """Remember with which settings applications were deployed."""
        rows = [{"name": name, "fingerprint": mark} for name, mark in fingerprints.items()]
        with self._engine.begin() as connection:
            self._upsert(connection, applications, rows)

    def load_fingerprints(self) -> dict[str, str]:
        """Settings by application name."""
        return dict(self._load(applications, "name", "fingerprint"))

    def save_failures(self, failures: Sequence[StoredFailure]) -> None:
        """Remember which versions could not be loaded, and why; all others are forgotten."""
        names = [failure.application for failure in failures]
        with self._engine.begin() as connection:
            connection.execute(
                delete(load_failures).where(
                    load_failures.c.cluster == self._cluster,
                    load_failures.c.application.not_in(names),
                )
            )
            self._upsert(connection, load_failures, [asdict(failure) for failure in failures])

    def load_failures(self) -> list[StoredFailure]:
        """All versions on record that could not be loaded."""
        return [StoredFailure(*row) for row in self._load(load_failures, *_names(StoredFailure))]

    def save_counters(self, counters: Iterable[StoredCounters]) -> None:
        """Keep what gateways have counted; an older snapshot never replaces a newer one."""
        rows = [asdict(item) for item in counters]
        with self._engine.begin() as connection:
            self._upsert(connection, gateway_counters, rows, rising="sequence")

    def load_counters(self) -> list[StoredCounters]:
        """What every gateway has counted, the ones that are gone included."""
        rows = self._load(gateway_counters, *_names(StoredCounters))
        return [StoredCounters(*row) for row in rows]

    def forget_counters(self, gateways: Iterable[str], fold: Fold) -> None:
        """Add the counters of gateways that left long ago to `PAST`, and drop them."""
        left = {(self._cluster, gateway) for gateway in gateways}
        with self._engine.begin() as connection:
            _lock(connection)
            self._fold(connection, left, self._cluster, fold)

    def forget_clusters(self, before_s: float, fold: Fold) -> None:
        """Do the same with all gateways of other clusters of which none reported after a time."""
        columns = gateway_counters.c
        query = select(columns.cluster, columns.gateway, columns.reported_at_s)
        others = columns.cluster.not_in([self._cluster, NO_CLUSTER])
        with self._engine.begin() as connection:
            _lock(connection)
            rows = connection.execute(query.where(others)).all()
            alive = {row.cluster for row in rows if row.reported_at_s >= before_s}
            left = {(row.cluster, row.gateway) for row in rows if row.cluster not in alive}
            self._fold(connection, left, NO_CLUSTER, fold)

    def load_all_counters(
        self, known: Mapping[tuple[str, str], int]
    ) -> tuple[set[tuple[str, str]], dict[tuple[str, str], StoredCounters]]:
        """What gateways of all clusters have counted.

        Args:
            known: By cluster and gateway, the sequence that need not be read again.

        Returns:
            All that there are, and those that changed.
        """
        columns = gateway_counters.c
        place = tuple_(columns.cluster, columns.gateway, columns.sequence)
        read = place.in_([(*key, sequence) for key, sequence in known.items()])
        body = case((read, None), else_=columns.body)
        # One statement, so that nobody folds rows between what it reads.
        names = columns.cluster, columns.gateway, columns.sequence, columns.reported_at_s
        with self._engine.connect() as connection:
            rows = connection.execute(select(*names, body)).all()
        changed = {
            (cluster, gateway): StoredCounters(gateway, sequence, found, at_s)
            for cluster, gateway, sequence, at_s, found in rows
            if found is not None
        }
        return {(row[0], row[1]) for row in rows}, changed

    def _counters_of(
        self, connection: Connection, keys: Collection[tuple[str, str]]
    ) -> dict[tuple[str, str], StoredCounters]:
        wanted = [gateway_counters.c[name] for name in ("cluster", *_names(StoredCounters))]
        place = tuple_(gateway_counters.c.cluster, gateway_counters.c.gateway)
        rows = connection.execute(select(*wanted).where(place.in_(list(keys)))) if keys else ()
        return {(row[0], row[1]): StoredCounters(*row[1:]) for row in rows}

    def _fold(
        self, connection: Connection, left: Set[tuple[str, str]], cluster: str, fold: Fold
    ) -> None:
        place = tuple_(gateway_counters.c.cluster, gateway_counters.c.gateway)
        # Whoever is read here was not folded by another process meanwhile: they lock, too.
        found = self._counters_of(connection, left)
        if not found:
            return
        target = (cluster, PAST)
        before = self._counters_of(connection, [target]).get(target)
        bodies = [row.body for row in found.values()]
        row = {
            "cluster": cluster,
            "gateway": PAST,
            "sequence": 1 if before is None else before.sequence + 1,
            "body": fold(bodies if before is None else [before.body, *bodies]),
            "reported_at_s": self._clock(),
        }
        connection.execute(delete(gateway_counters).where(place.in_(list(found))))
        connection.execute(delete(gateway_counters).where(place.in_([target])))
        connection.execute(insert(gateway_counters), row)

    def save_hosted(self, name: str, spec: str) -> None:
        """Remember a model that was added through the API, with its settings as JSON."""
        with self._engine.begin() as connection:
            statement = insert_or(connection, hosted_models).values(
                name=name, spec=spec, written_at_s=self._clock()
            )
            row = {key: statement.excluded[key] for key in ("spec", "written_at_s")}
            connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=row))

    def load_hosted(self) -> dict[str, str]:
        """Settings of all models that were added through the API, by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(hosted_models.c.name, hosted_models.c.spec))
            return {row.name: row.spec for row in rows}

    def forget_hosted(self, name: str) -> None:
        """Forget a model that was added through the API."""
        with self._engine.begin() as connection:
            connection.execute(delete(hosted_models).where(hosted_models.c.name == name))

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _load(self, table: Table, *columns: str) -> list[tuple[Any, ...]]:
        query = select(*(table.c[name] for name in columns))
        with self._engine.connect() as connection:
            rows = connection.execute(query.where(table.c.cluster == self._cluster))
            return [tuple(row) for row in rows]

    def _upsert(
        self,
        connection: Connection,
        table: Table,
        rows: Iterable[Mapping[str, object]],
        rising: str | None = None,
    ) -> None:
        """Insert or replace rows by key; `rising` names a column that never falls."""
        ours = [{"cluster": self._cluster, **row} for row in rows]
        if not ours:
            return
        statement = insert_or(connection, table)
        keys = [column.name for column in table.primary_key]
        values = {
            column.name: statement.excluded[column.name]
            for column in table.columns
            if column.name not in keys
        }
        # In the statement itself, since another process may write between two of ours.
        newer = table.columns[rising] <= statement.excluded[rising] if rising else None
        upsert = statement.on_conflict_do_update(index_elements=keys, set_=values, where=newer)
        connection.execute(upsert, ours)


def insert_or(connection: Connection, table: Table) -> Any:
    """An insert that can say what happens to a row that is there, in the database's dialect."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def _names(row: type) -> list[str]:
    return [field.name for field in fields(row)]


def _connect(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, pool_pre_ping=True, pool_size=2)
    path = Path(parsed.database or "")
    if path.parent.is_dir() and not path.exists():
        # The keys of the replicas' doors stand in the table, for this user alone to read.
        path.touch(mode=0o600)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S})

    # Write-ahead logging lets gateways read while the controller writes.
    @event.listens_for(engine, "connect")
    def _use_wal(connection: sqlite3.Connection, _record: object) -> None:
        # Alone among statements, the switch to it does not wait for others by itself.
        give_up_at_s = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > give_up_at_s:
                    raise
                time.sleep(BUSY_POLL_S)
            else:
                return

    return engine


def _lock(connection: Connection) -> None:
    """Let two processes migrate, or add rows up, one after the other."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7300417)")
    elif connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
