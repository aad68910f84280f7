"""What every test file may rely on."""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

from tests.properties import BRIEF

# What is imported and collected lives as long as the tests: the garbage collector need not
# look through it again and again, nor at the end.
gc.disable()

settings.register_profile(BRIEF, max_examples=20, deadline=None)

ON_ONE_CLUSTER = "tests/integration/fleet/"
"""Folder of the tests that share a cluster and the fleet on it, which take a minute to start."""

LONGEST = (
    ON_ONE_CLUSTER,
    "tests/integration/test_sweeps.py",
    "tests/integration/test_sweep_recovery.py",
    "tests/integration/test_kubernetes.py",
    "tests/integration/test_server.py",
    "tests/deployments/predictor/runtimes/test_torch.py",
    "tests/tuning/test_registry.py",
    "tests/deployments/test_openapi.py",
    "tests/deployments/store/test_store.py",
)
"""What to begin with, so that no process is left alone with one of them at the end."""

HERE = Path(__file__).parent

SOAK = HERE / "soak"

SERVING = tuple(
    HERE / name
    for name in (
        "configs",
        "deployments/gateway",
        "deployments/protocols",
        "deployments/rollout",
        "deployments/traffic",
        "deployments/validation",
        "kuberay",
        "test_readme.py",
    )
)
"""About half of the fast tests, by what they take; none that imports Ray Tune."""

SHARE = os.environ.get("FAST_TESTS")
"""Which of the fast tests this process collects: "serving" or "others"; unset for all."""


class FilesTogether(LoadScopeScheduling):
    """Hands out whole files to the processes that share the tests, or all of one cluster."""

    def _split_scope(self, nodeid: str) -> str:
        return ON_ONE_CLUSTER if nodeid.startswith(ON_ONE_CLUSTER) else nodeid.partition("::")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take what the integration tests of fleet and sweeps stand on."""
    parser.addoption(
        "--stores",
        choices=("embedded", "production"),
        default="embedded",
        help="of the integration tests: SQLite and folders, or PostgreSQL, an MLflow "
        "server with S3, and Redis",
    )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FilesTogether:
    """Replace pytest-xdist's own: its groups by mark say nothing to pytest 9.2."""
    return FilesTogether(config, log)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave alone what others collect, since imports are much of what the fast tests cost.

    The soak is collected only where it is asked for.
    """
    if collection_path == SOAK and config.option.markexpr != "soak":
        return True
    if SHARE is None or collection_path.suffix != ".py":
        return None
    serving = any(collection_path.is_relative_to(path) for path in SERVING)
    return True if serving != (SHARE == "serving") else None


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
