"""What every test file may rely on."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# What is imported and collected lives as long as the tests: the garbage collector need not
# look through it again and again, nor at the end.
gc.disable()

ON_ONE_CLUSTER = "tests/integration/fleet/"
"""Folder of the tests that share a cluster and the fleet on it, which take a minute to start."""

LONGEST = (
    ON_ONE_CLUSTER,
    "tests/integration/test_sweeps.py",
    "tests/integration/test_kubernetes.py",
    "tests/integration/test_server.py",
)
"""What to begin with, so that no process is left alone with one of them at the end."""


SOAK = Path(__file__).with_name("soak")


class FilesTogether(LoadScopeScheduling):
    """Hands out whole files to the processes that share the tests, or all of one cluster."""

    def _split_scope(self, nodeid: str) -> str:
        return ON_ONE_CLUSTER if nodeid.startswith(ON_ONE_CLUSTER) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    """Replace pytest-xdist's own: its groups by mark say nothing to pytest 9.2."""
    return FilesTogether(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the soak alone unless it is asked for: what it imports takes every process seconds."""
    return True if collection_path == SOAK and config.option.markexpr != "soak" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest."""

    def place(item: pytest.Item) -> int:
        starts = [item.nodeid.startswith(start) for start in LONGEST]
        return starts.index(True) if any(starts) else len(starts)

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """Collect garbage from here on, and only what the tests leave."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="module")
def addresses_of_mlflow() -> Iterator[None]:
    """Forget the addresses that a file gave MLflow.

    MLflow writes them into the environment too, where the processes that later files start
    would find another file's registry.
    """
    yield
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None:
        mlflow.set_tracking_uri("")
        mlflow.set_registry_uri("")
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        os.environ.pop(name, None)
