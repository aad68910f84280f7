"""Empty fleet stores, migrated once a process: to migrate takes as long as a hundred ticks."""

import functools
import tempfile
from pathlib import Path

from deployments.store.store import FleetStore


def migrated(path: Path) -> str:
    """Put an empty store there; returns its address."""
    path.write_bytes(_empty())
    return f"sqlite:///{path}"


@functools.cache
def _empty() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        store = FleetStore(f"sqlite:///{path}", "test")
        store.migrate()
        store.close()
        return path.read_bytes()
