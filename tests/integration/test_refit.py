"""Where a winner's model goes from the process that fitted it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sweeping import TIMEOUT_S, Bench, Head
from tests.soak.dependencies import MlflowServer

pytestmark = [pytest.mark.ray, pytest.mark.thorough]


@pytest.fixture
def writers(tmp_path: Path) -> Path:
    folder = tmp_path / "writers"
    folder.mkdir()
    return folder


@pytest.fixture
def served_bench(tmp_path: Path, head: Head) -> Iterator[Bench]:
    """Where MLflow is a server that takes artifacts, too."""
    (tmp_path / "server").mkdir()
    with MlflowServer(tmp_path / "server") as server:
        yield replace(Bench(tmp_path, head.folder).on(head), tracking_uri=server.url)


def swept(bench: Bench, **options: Any) -> tuple[int, str]:
    """Run a small sweep to its end; its process, and what it said."""
    path = bench.write(name="small", n_trials=2, max_concurrent=1, options=options)
    with bench.started(path) as process:
        said, fault = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == 0, fault
    assert fault == ""
    (version,) = bench.client.search_model_versions("name = 'small'")
    files = bench.client.list_logged_model_artifacts(str(version.source).removeprefix("models:/"))
    assert {"MLmodel", "model.skops"} <= {file.path for file in files}
    return process.pid, said


def pids(folder: Path, what: str) -> set[int]:
    return {int(path.name.partition("-")[2]) for path in folder.glob(f"{what}-*")}


def test_a_server_gets_it_straight_from_there(served_bench: Bench, writers: Path) -> None:
    driver, said = swept(served_bench, writers=str(writers))

    assert len(pids(writers, "wrote")) == 1
    assert driver not in pids(writers, "wrote")
    assert "fetching the model" not in said


def test_a_file_gets_it_by_way_of_the_sweep_s_own_process(
    shared_bench: Bench, writers: Path
) -> None:
    driver, said = swept(shared_bench, writers=str(writers))

    assert driver in pids(writers, "wrote")
    assert "fetching the model, to upload it from here" in said


def test_a_fit_outlives_two_lost_processes(served_bench: Bench, writers: Path) -> None:
    driver, _ = swept(served_bench, writers=str(writers), refit_dies=2)

    assert len(pids(writers, "died")) == 2
    assert pids(writers, "wrote").isdisjoint({driver, *pids(writers, "died")})
