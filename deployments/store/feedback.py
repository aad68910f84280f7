"""Which version answered which request, and what was heard of it afterwards, in the fleet store.

Rows are every cluster's: a label may arrive where the request did not. A request counts once
for its label and once for its reward, because marking it and adding to the totals is one
transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, Engine, delete, select, update

from deployments.store.schema import feedback_totals, remembered_requests
from deployments.store.store import insert_or

MOST_AT_ONCE = 200
"""Rows in one statement, well within SQLite's limit of parameters."""


@dataclass(frozen=True, slots=True)
class RememberedRow:
    """One row of `remembered_requests`."""

    model: str
    request: str
    version: str

    prediction: bytes
    """What each of its rows was answered, as JSON."""

    answered_at_s: float
    labelled: bool = False
    rewarded: bool = False


@dataclass(frozen=True, slots=True)
class FeedbackTotals:
    """What was said of some predictions, added up."""

    labels: int = 0
    mistakes: int = 0
    rewards: int = 0
    reward_total: float = 0.0
    reward_squares: float = 0.0

    def __add__(self, other: "FeedbackTotals") -> "FeedbackTotals":
        pairs = ((getattr(self, each), getattr(other, each)) for each in _TOTALS)
        return FeedbackTotals(*(one + another for one, another in pairs))


@dataclass(frozen=True, slots=True)
class Heard:
    """What was said of one request."""

    model: str
    request: str
    version: str

    label: FeedbackTotals | None = None
    """By its label, unless it has counted; None without one."""

    reward: FeedbackTotals | None = None
    """By its reward, as above."""


class FeedbackStore:
    """Reads and writes feedback. Every call may block on the database, and raise its errors."""

    def __init__(self, engine: Engine) -> None:
        """Begin.

        Args:
            engine: Of a migrated fleet store.
        """
        self._engine = engine

    def remember(self, rows: Iterable[RememberedRow]) -> None:
        """Keep requests; one whose id the model has had already is left as it is."""
        values = [asdict(row) for row in sorted(rows, key=lambda row: (row.model, row.request))]
        if not values:
            return
        with self._engine.begin() as connection:
            statement = insert_or(connection, remembered_requests).on_conflict_do_nothing()
            connection.execute(statement, values)

    def find(self, model: str, requests: Sequence[str]) -> dict[str, RememberedRow]:
        """Those of a model's requests that are remembered, by their ids."""
        table = remembered_requests
        columns = [table.c[field.name] for field in fields(RememberedRow)]
        found: dict[str, RememberedRow] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(requests), MOST_AT_ONCE):
                some = requests[start : start + MOST_AT_ONCE]
                query = select(*columns).where(table.c.model == model, table.c.request.in_(some))
                found |= {row.request: RememberedRow(*row) for row in connection.execute(query)}
        return found

    def count(self, heard: Sequence[Heard]) -> list[tuple[bool, bool]]:
        """Count what was said of requests, all or nothing.

        Returns:
            Of each, whether its label counted and whether its reward did: not when it had
            counted before, or is not remembered any more.
        """
        counted = [(False, False)] * len(heard)
        sums: dict[tuple[str, str], FeedbackTotals] = {}
        # In one order everywhere, or two transactions could wait for each other's rows.
        order = sorted(range(len(heard)), key=lambda n: (heard[n].model, heard[n].request))
        with self._engine.begin() as connection:
            for number in order:
                item = heard[number]
                key = item.model, item.version
                label = item.label is not None and _mark(connection, item, "labelled")
                reward = item.reward is not None and _mark(connection, item, "rewarded")
                counted[number] = label, reward
                for totals, counts in ((item.label, label), (item.reward, reward)):
                    if totals is not None and counts:
                        sums[key] = sums.get(key, FeedbackTotals()) + totals
            for key in sorted(sums):
                _add(connection, *key, sums[key])
        return counted

    def totals(self) -> Mapping[tuple[str, str], FeedbackTotals]:
        """What was said of each model's versions."""
        columns = [feedback_totals.c[name] for name in ("model", "version", *_TOTALS)]
        with self._engine.connect() as connection:
            rows = connection.execute(select(*columns))
            return {(model, version): FeedbackTotals(*sums) for model, version, *sums in rows}

    def prune(self, model: str, before_s: float, most: int) -> None:
        """Forget a model's oldest requests.

        Args:
            model: Whose.
            before_s: Those that were answered before, Unix time.
            most: How many are left at most.
        """
        table = remembered_requests
        newest = select(table.c.answered_at_s).where(table.c.model == model)
        newest = newest.order_by(table.c.answered_at_s.desc()).offset(most).limit(1)
        with self._engine.begin() as connection:
            beyond_s = connection.execute(newest).scalar()
            old = table.c.answered_at_s < before_s
            if beyond_s is not None:
                old |= table.c.answered_at_s <= beyond_s
            connection.execute(delete(table).where(table.c.model == model, old))


_TOTALS = tuple(field.name for field in fields(FeedbackTotals))


def _mark(connection: Connection, item: Heard, flag: str) -> bool:
    table = remembered_requests
    place = table.c.model == item.model, table.c.request == item.request
    statement = update(table).where(*place, table.c[flag].is_(False)).values({flag: True})
    return connection.execute(statement).rowcount == 1


def _add(connection: Connection, model: str, version: str, sums: FeedbackTotals) -> None:
    table = feedback_totals
    statement = insert_or(connection, table).values(model=model, version=version, **asdict(sums))
    values = {name: table.c[name] + statement.excluded[name] for name in _TOTALS}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["model", "version"], set_=values)
    )
