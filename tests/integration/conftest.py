"""Clusters for sweeps, and homes of their own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.stores import Servers, started_servers
from tests.integration.sweeping import Bench, Head, ray_head
from tests.stores import new_mlflow


@contextmanager
def short_folder() -> Iterator[Path]:
    # Ray's sockets lie below this folder, and their paths may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="rf", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Where every sweep starts a Ray of its own."""
    with short_folder() as ray_folder:
        yield Bench(tmp_path, ray_folder)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with short_folder() as folder, ray_head(folder) as head:
        yield head


@pytest.fixture(scope="module")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers | None]:
    """What MLflow stands on; None where that is a file."""
    if request.config.getoption("--stores") == "embedded":
        yield None
        return
    with started_servers() as servers:
        yield servers


@pytest.fixture
def shared_bench(tmp_path: Path, head: Head, servers: Servers | None) -> Iterator[Bench]:
    """Where sweeps run on a cluster that is already there."""
    bench = Bench(tmp_path, head.folder).on(head)
    if servers is None:
        new_mlflow(tmp_path / "home")
        yield bench
        return
    with servers.mlflow() as url:
        yield replace(bench, tracking_uri=url)
