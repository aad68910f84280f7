"""Rollouts in the fleet store: one active one a model, one writer a revision.

The rows are every cluster's. Two controllers may act on one rollout at the same time; of two
writes on the same revision one is refused, and the lease spares them the collisions.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, Table, insert, select, update

from deployments.store.schema import leases, rollout_events, rollouts
from deployments.store.store import insert_or

NOBODY = ""
"""Holder of a lease that was given back."""

LEASE_S = 10.0
"""A holder that has not renewed its lease for this long loses it, seconds."""


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """One row of `rollouts`."""

    id: str
    model: str
    version: str
    strategy: str
    phase: str

    active: bool
    """Whether it may still change the model's traffic; a model has one such at most."""

    settled: bool
    """Whether nothing is left to do after its end."""

    revision: int
    """Of what was read; a write on another one is refused."""

    body: bytes
    started_at_s: float
    ended_at_s: float | None


@dataclass(frozen=True, slots=True)
class EventRow:
    """One row of `rollout_events`."""

    rollout: str
    model: str
    at_s: float
    actor: str
    kind: str
    before: str
    after: str
    reason: str

    numbers: bytes
    """Both sides of the comparison behind it, as JSON."""


State = tuple[RolloutRow, Sequence[EventRow]]
"""A rollout, and what has just happened to it; the one is not stored without the other."""


class RolloutStore:
    """Reads and writes rollouts. Every call may block on the database, and may raise its errors."""

    def __init__(self, engine: Engine, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Begin.

        Args:
            engine: Of a migrated fleet store.
            monotonic: A clock that only this process reads, seconds.
        """
        self._engine = engine
        self._monotonic = monotonic
        self._seen: dict[str, tuple[str, int, float]] = {}

    def begin(self, row: RolloutRow, events: Sequence[EventRow]) -> bool:
        """Store a new rollout; see `begin_all`."""
        return self.begin_all([(row, events)])[0]

    def begin_all(self, states: Sequence[State]) -> list[bool]:
        """Store new rollouts with what led to them, in one transaction.

        Returns:
            For each, False, and nothing is stored of it, when its model has an active one or its
            id is taken.
        """

        def insert_row(connection: Connection, row: RolloutRow) -> bool:
            return _inserted(connection, rollouts, _values(row))

        return self._write_all(states, insert_row)

    def save(self, row: RolloutRow, events: Sequence[EventRow]) -> bool:
        """Store a rollout's next state; see `save_all`."""
        return self.save_all([(row, events)])[0]

    def save_all(self, states: Sequence[State]) -> list[bool]:
        """Store rollouts' next states under their next revisions, with what led to them.

        All are written in one transaction: where fifty rollouts take a step at once, fifty
        commits would each wait for the disk.

        Returns:
            For each, False, and nothing is stored of it, when `row.revision` is not the stored
            one.
        """

        def update_row(connection: Connection, row: RolloutRow) -> bool:
            unchanged = (rollouts.c.id == row.id) & (rollouts.c.revision == row.revision)
            values = _values(row) | {"revision": row.revision + 1}
            done = connection.execute(update(rollouts).where(unchanged).values(values))
            return done.rowcount == 1

        return self._write_all(states, update_row)

    def unsettled(self) -> list[RolloutRow]:
        """All rollouts that are active, or have something left to do; oldest first."""
        due = rollouts.c.active_model.is_not(None) | rollouts.c.settled.is_(False)
        return self._rows(select(rollouts).where(due).order_by(rollouts.c.started_at_s))

    def get(self, rollout: str) -> RolloutRow | None:
        """A rollout by its id."""
        rows = self._rows(select(rollouts).where(rollouts.c.id == rollout))
        return rows[0] if rows else None

    def history(self, model: str | None = None, limit: int = 100) -> list[RolloutRow]:
        """The last rollouts, of one model or of all; newest first."""
        query = _newest().limit(limit)
        return self._rows(query if model is None else query.where(rollouts.c.model == model))

    def events(self, rollout: str) -> list[EventRow]:
        """What happened to a rollout; oldest first."""
        columns = [rollout_events.c[name] for name in EventRow.__slots__]
        query = select(*columns).where(rollout_events.c.rollout == rollout)
        with self._engine.connect() as connection:
            rows = connection.execute(query.order_by(rollout_events.c.number))
            return [EventRow(*row) for row in rows]

    def hold(self, name: str, holder: str) -> bool:
        """Take a lease, or renew it.

        No two machines' clocks are compared: who waits for it counts on its own clock for how
        long the number of renewals has stayed the same.

        Args:
            name: What one process at a time may do.
            holder: Names who may have it; a process that takes another's place at once goes by
                the other's name.

        Returns:
            Whether `holder` has it. It may be lost any time later by a process that was held
            up, so what it does with it must itself be a compare-and-swap.
        """
        with self._engine.begin() as connection:
            mine = (leases.c.name == name) & (leases.c.holder == holder)
            renew = update(leases).where(mine).values(renewals=leases.c.renewals + 1)
            if connection.execute(renew).rowcount == 1:
                return True
            if _inserted(connection, leases, {"name": name, "holder": holder, "renewals": 0}):
                return True
        return self._replace_if_gone(name, holder)

    def release(self, name: str, holder: str) -> None:
        """Give a lease back, so that the next holder need not wait; nothing if it is another's."""
        mine = (leases.c.name == name) & (leases.c.holder == holder)
        # The row stays, since the number of renewals must never fall.
        values = {"holder": NOBODY, "renewals": leases.c.renewals + 1}
        with self._engine.begin() as connection:
            connection.execute(update(leases).where(mine).values(values))

    def _replace_if_gone(self, name: str, holder: str) -> bool:
        with self._engine.connect() as connection:
            query = select(leases.c.holder, leases.c.renewals).where(leases.c.name == name)
            found = tuple(connection.execute(query).one())
        now_s = self._monotonic()
        *known, since_s = self._seen.get(name, (None, None, now_s))
        if found[0] != NOBODY and (known != [*found] or now_s - since_s < LEASE_S):
            if known != [*found]:
                self._seen[name] = (*found, now_s)
            return False
        unchanged = (
            leases.c.name == name,
            leases.c.holder == found[0],
            leases.c.renewals == found[1],
        )
        values = {"holder": holder, "renewals": found[1] + 1}
        with self._engine.begin() as connection:
            return connection.execute(update(leases).where(*unchanged).values(values)).rowcount == 1

    def _write_all(
        self, states: Sequence[State], write: Callable[[Connection, RolloutRow], bool]
    ) -> list[bool]:
        if not states:
            return []
        with self._engine.begin() as connection:
            written = [write(connection, row) for row, _ in states]
            kept = zip(states, written, strict=True)
            _append(connection, [event for (_, events), done in kept if done for event in events])
        return written

    def _rows(self, query: Select[Any]) -> list[RolloutRow]:
        with self._engine.connect() as connection:
            return [_row(found) for found in connection.execute(query)]


def _newest() -> Select[Any]:
    return select(rollouts).order_by(rollouts.c.started_at_s.desc(), rollouts.c.id.desc())


def _inserted(connection: Connection, table: Table, values: dict[str, object]) -> bool:
    """Insert a row unless one is in its way."""
    statement = insert_or(connection, table).values(**values).on_conflict_do_nothing()
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def _append(connection: Connection, events: Sequence[EventRow]) -> None:
    if events:
        connection.execute(insert(rollout_events), [asdict(event) for event in events])


def _values(row: RolloutRow) -> dict[str, object]:
    values = asdict(row)
    values["active_model"] = row.model if values.pop("active") else None
    return values


def _row(found: Row[Any]) -> RolloutRow:
    values = {column.name: getattr(found, column.name) for column in rollouts.columns}
    values["active"] = values.pop("active_model") is not None
    return RolloutRow(**values)
