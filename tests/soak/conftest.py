"""A cluster, a fleet and what it depends on, all for breaking; run by `make soak` alone."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from rich.console import Console

from tests.integration.hosting import (
    REPOSITORY,
    SERVED,
    Cluster,
    Fleet,
    Registering,
    answers,
    eventually,
    make_fleet,
    started_cluster,
)
from tests.integration.load import Question, questions_for
from tests.soak import report
from tests.soak.dependencies import Database, MlflowServer
from tests.soak.scene import Soak

RESULTS = REPOSITORY / "benchmarks" / "results"

MINUTES, SEED, KILLS = 20.0, 1, 50

DEADLINE_S = 10.0
"""Of every request to the fleet, seconds."""

READ_TIMEOUT_S = 3.0
"""Longest time from a request's first byte to its last at the express port, seconds."""

SOAK = pytest.StashKey[Soak]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take how long and with which faults."""
    parser.addoption("--minutes", type=float, default=MINUTES, help="for all scenes together")
    parser.addoption("--seed", type=int, default=SEED, help="of the faults' order and moments")
    parser.addoption("--kills", type=int, default=KILLS, help="of a controller amid rollouts")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Divide the time among the scenes that are played."""
    config = session.config
    began_s = time.monotonic()

    def tell(line: str) -> None:
        print(f"[{time.monotonic() - began_s:6.0f} s] {line}", flush=True)

    config.stash[SOAK] = Soak(
        config.getoption("--minutes", MINUTES),
        config.getoption("--seed", SEED),
        max(1, len(session.items)),
        tell,
    )


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Show the table, and write everything down."""
    soak = config.stash.get(SOAK, None)
    if soak is None or not soak.scenes:
        return
    Console(width=110).print(report.table(soak.scenes))
    RESULTS.mkdir(exist_ok=True)
    report.write_json(RESULTS / "soak.json", soak)
    report.draw(RESULTS / "soak.png", soak)
    terminalreporter.write_line(f"results: {RESULTS / 'soak.json'}, soak.png")


@pytest.fixture(scope="session")
def soak(request: pytest.FixtureRequest) -> Soak:
    return request.config.stash[SOAK]


@pytest.fixture(scope="session")
def registry_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with MlflowServer(tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def database() -> Iterator[Database]:
    # Not in pytest's folder, which any other pytest closes to the user that PostgreSQL runs as.
    with (
        tempfile.TemporaryDirectory(prefix="rf-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        Database(Path(folder)) as database,
    ):
        yield database


@pytest.fixture(scope="session")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, registry_server: MlflowServer, soak: Soak
) -> Iterator[Cluster]:
    soak.tell("starting Ray")
    variables = {"MLFLOW_TRACKING_URI": registry_server.url}
    with started_cluster(tmp_path_factory.mktemp("home"), variables) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def whole(
    cluster: Cluster,
    registry_server: MlflowServer,
    database: Database,
    tmp_path_factory: pytest.TempPathFactory,
    soak: Soak,
) -> Fleet:
    """A fleet on an MLflow server and PostgreSQL, ready."""
    soak.tell("registering models")
    folder: Path = tmp_path_factory.mktemp("fleet")
    with Registering(folder, cluster.environment) as registering:
        fleet = make_fleet(cluster, folder, registering.models())
    registry = mlflow.MlflowClient(registry_server.url, registry_server.url)
    registry.copy_model_version("models:/breast-cancer/1", "by-handle")
    registry.set_registered_model_alias("by-handle", "champion", "1")
    fleet.models["by-handle"] = fleet.models[SERVED[0]]
    express = {**fleet.args["express"], "read_timeout_s": READ_TIMEOUT_S}
    fleet.more_args = {
        "tracking_uri": registry_server.url,
        "store_url": database.url,
        "request_deadline_s": DEADLINE_S,
        "express": express,
    }
    fleet.user_config = {
        "breast-cancer": {"transport": "direct", "num_replicas": 2},
        "by-handle": {"transport": "handle", "num_replicas": 2},
        "moody": {
            "transport": "direct",
            "max_batch_size": 4,
            "max_concurrent_batches": 1,
            "max_queued_requests": 300,
        },
        "wine": {"transport": "direct"},
    }
    soak.tell("deploying the fleet")
    fleet.deploy(fleet.user_config)
    eventually("the fleet", lambda: answers(f"{fleet.url}/v2/health/ready"))
    return fleet


@pytest.fixture
def fleet(whole: Fleet) -> Fleet:
    """The fleet, as whole as it was before the last fault."""
    eventually("the fleet is well", lambda: is_well(whole))
    return whole


def is_well(fleet: Fleet) -> bool:
    """Whether every application runs, and all doors answer."""
    well = all(each["status"] == "RUNNING" for each in fleet.status().values())
    return well and all(answers(f"{door}/v2/health/ready") for door in fleet.doors.values())


@pytest.fixture
def questions(fleet: Fleet) -> list[Question]:
    """For both transports, in both protocols."""
    by_model = [questions_for(name, fleet.models[name]) for name in ("breast-cancer", "by-handle")]
    return [each for pair in zip(*by_model, strict=True) for each in pair]
