"""Two clusters with one fleet store: one of them judges, and the other goes on without it."""

import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import psutil
import pytest
from sklearn.linear_model import LinearRegression
from sqlalchemy import create_engine, select

from deployments.controller.rollouts import LEASE
from deployments.store.rollouts import LEASE_S
from deployments.store.schema import leases
from tests.integration.hosting import Cluster, eventually, make_fleet, started_cluster
from tests.integration.load import Load, Outcome
from tests.integration.releases import Releases, Traffic, has_share
from tests.soak.dependencies import Database, MlflowServer
from tests.soak.scene import Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

MODEL = "twice"

STEPS: list[dict[str, Any]] = [
    {"setWeight": 20}, {"pause": {}}, {"analysis": {}},
    {"setWeight": 50}, {"analysis": {"at_least_s": 8}},
]  # fmt: skip

SPEC = {
    "rollout": {
        "steps": STEPS,
        "analysis": {"signals": {"errors": {"kind": "errors", "allowed": 0.02}}},
    }
}

LOG = [
    ("created", "version 2"),
    ("started", "progressing, 0 %, step 1 of 5: setWeight 20"),
    ("step", "progressing, 20 %, step 2 of 5: pause until approved"),
    ("paused", "paused, 20 %, step 2 of 5: pause until approved"),
    ("approved", "paused, 20 %, step 2 of 5: pause until approved"),
    ("step", "progressing, 20 %, step 3 of 5: analysis"),
    ("step", "progressing, 20 %, step 4 of 5: setWeight 50"),
    ("step", "progressing, 50 %, step 5 of 5: analysis"),
    ("step", "progressing, 50 %"),
    ("promoting", "promoting, 100 %"),
    ("promoted", "successful, 100 %"),
]
"""Kind and outcome of each of the rollout's events."""

TAKEOVER_S = LEASE_S + 10.0
"""Longest time until the other cluster judges, seconds."""


@dataclass
class Side:
    """One of the clusters, with clients of its own."""

    cluster: Cluster
    releases: Releases
    traffic: Traffic
    load: Load

    @property
    def session(self) -> str:
        """By which its controller signs the lease."""
        latest = next(self.cluster.ray_tmpdir.rglob("session_latest"))
        return latest.resolve().name

    def kill(self) -> None:
        """SIGKILL all of its processes."""
        eventually("the cluster is dead", lambda: not self._kill())

    def _kill(self) -> int:
        mine = str(self.cluster.ray_tmpdir)
        killed = 0
        for process in psutil.process_iter(["environ", "status"]):
            environment = process.info["environ"] or {}
            alive = process.info["status"] != psutil.STATUS_ZOMBIE
            if alive and environment.get("RAY_TMPDIR") == mine:
                process.kill()
                killed += 1
        return killed


@pytest.fixture(scope="module")
def store() -> Iterator[Database]:
    """Of these two fleets alone: on another's, one controller would judge for both."""
    with (
        tempfile.TemporaryDirectory(prefix="rf-", dir="/tmp", ignore_cleanup_errors=True) as folder,
        Database(Path(folder)) as database,
    ):
        yield database


@pytest.fixture(scope="module")
def registry(registry_server: MlflowServer) -> mlflow.MlflowClient:
    """With two versions of a model that doubles numbers, the first of them champion."""
    mlflow.set_tracking_uri(registry_server.url)
    mlflow.set_registry_uri(registry_server.url)
    model = LinearRegression().fit([[0.0], [1.0]], [[0.0], [2.0]])
    model.coef_, model.intercept_ = np.array([[2.0]]), np.zeros(1)  # to the last digit
    number = np.zeros((1, 1))
    for _ in range(2):
        mlflow.sklearn.log_model(
            model, name=MODEL, registered_model_name=MODEL, pip_requirements=[],
            serialization_format="cloudpickle",
            signature=mlflow.models.infer_signature(number, number),
        )  # fmt: skip
    client = mlflow.MlflowClient(registry_server.url, registry_server.url)
    client.set_registered_model_alias(MODEL, "champion", "1")
    return client


@pytest.fixture(scope="module")
def sides(
    registry_server: MlflowServer,
    registry: mlflow.MlflowClient,
    store: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[list[Side]]:
    """Both clusters, with the same fleet on each, ready."""
    addresses = {"tracking_uri": registry_server.url, "store_url": store.url}
    with ExitStack() as stack:

        def start(name: str) -> Side:
            folder = tmp_path_factory.mktemp(name)
            variables = {"MLFLOW_TRACKING_URI": registry_server.url}
            cluster = stack.enter_context(started_cluster(folder, variables))
            return side_on(cluster, folder, addresses, registry)

        with ThreadPoolExecutor(2) as threads:
            yield list(threads.map(start, ("one", "two")))


def side_on(
    cluster: Cluster, folder: Path, addresses: Mapping[str, str], registry: mlflow.MlflowClient
) -> Side:
    fleet = make_fleet(cluster, folder, {}, more_args=dict(addresses), n_gateways=1)
    fleet.deploy({MODEL: {"transport": "direct", **SPEC}})
    releases = Releases(fleet, registry, MODEL)
    eventually("its model is ready", lambda: is_ready(releases))
    traffic = Traffic(MODEL)
    return Side(
        cluster, releases, traffic, Load({"express": fleet.express_url}, traffic.questions())
    )


def is_ready(releases: Releases) -> bool:
    try:
        status, _, _ = releases.fleet.call(f"/v2/models/{MODEL}/ready")
    except OSError:
        return False
    return status == 200


def test_the_cluster_that_judges_is_lost(
    soak: Soak, sides: list[Side], store: Database, registry: mlflow.MlflowClient
) -> None:
    name = "loss of the cluster that judges, beside another on the same store"
    with soak.scene(name) as scene:
        judge = next(side for side in sides if side.session == holder(store))
        other = next(side for side in sides if side is not judge)
        scene.tally = other.load.tally
        with other.load:
            with judge.load:
                registry.set_registered_model_alias(MODEL, "challenger", "2")
                for side in sides:
                    eventually("it begins", lambda: side.releases.versions_tried() == ["2"])  # noqa: B023
                    side.releases.reaches("paused", weight=20)
                    side.releases.in_force(v1=80, v2=20)
                require_share(sides, 20)
                # Whom people ask is all the same.
                other.releases.ask("/rollout/approve", {}, expected=200)
                for side in sides:
                    side.releases.reaches("progressing", weight=50)
                    side.releases.in_force(v1=50, v2=50)
                scene.require("judges", holder(store) == judge.session, "==", True)
            scene.mark("the judge is killed")
            judge.kill()
            killed_s = time.monotonic()
            eventually("the other judges", lambda: holder(store) == other.session, TAKEOVER_S)
            scene.figures["takeover, s"] = round(time.monotonic() - killed_s, 1)
            scene.mark("the other judges")
            ended = other.releases.reaches("successful")
            other.releases.in_force(v2=100)
            other.load.wait_for_answers(50)
        for side in sides:
            failed = side.load.tally.failed + side.load.tally.count(Outcome.CUT)
            scene.require("failed requests", failed, "==", 0)
        events = other.releases.ask(f"/rollouts/{ended['id']}/events")["events"]
        log = [(event["kind"], event["after"]) for event in events]
        assert log == LOG
        assert other.releases.versions_tried() == ["2"]
        assert other.releases.champion() == "2"


def require_share(sides: list[Side], percent: int) -> None:
    """Both clusters give the version its share."""
    began_s = time.monotonic()
    for side in sides:
        side.load.wait_for_answers(200)
    for side in sides:
        counted: Counter[str] = side.traffic.since(began_s)
        assert has_share(counted, "2", percent), counted


def holder(store: Database) -> str:
    """Session of the cluster whose controller judges."""
    engine = create_engine(store.url)
    with engine.connect() as connection:
        found = connection.execute(select(leases.c.holder).where(leases.c.name == LEASE))
        name = str(found.scalar_one())
    engine.dispose()
    return name
