"""One real Ray cluster and one real fleet for the tests of this folder.

They stand on SQLite and folders, or, with `--stores production`, on PostgreSQL, S3 and Redis:
addresses in the environment are all the difference.

The cluster is started with `ray start --head` and the fleet with `serve deploy`, as on a
cluster of one's own, with HAProxy mode and Ray's token authentication as Ray ships it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.collecting import Collected, collecting
from tests.integration.hosting import (
    SERVED,
    SILENCE_S,
    Cluster,
    Fleet,
    Registering,
    answers,
    eventually,
    make_fleet,
    started_cluster,
)
from tests.integration.stores import Stores, started_stores


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the registry is."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="package")
def stores(home: Path, request: pytest.FixtureRequest) -> Iterator[Stores]:
    """What cluster and fleet stand on; nothing else here says so."""
    with started_stores(request.config.getoption("--stores"), home) as stores:
        yield stores


@pytest.fixture(scope="package")
def registering(stores: Stores, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registering]:
    """The models, which are being registered while the cluster starts."""
    with Registering(tmp_path_factory.mktemp("fleet"), stores.variables) as registering:
        yield registering


@pytest.fixture(scope="package")
def cluster(home: Path, stores: Stores) -> Iterator[Cluster]:
    variables = {**stores.variables, "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(SILENCE_S)}
    with started_cluster(home, variables, stores.redis) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collected]:
    """The spans of requests whose senders asked for them."""
    with collecting(tmp_path_factory.mktemp("collector")) as collected:
        yield collected


@pytest.fixture(scope="package")
def fleet(registering: Registering, cluster: Cluster, collected: Collected) -> Fleet:
    """A fleet of the three frameworks and of two troubled models, ready."""
    fleet = make_fleet(cluster, registering.folder, registering.models())
    fleet.more_args = {
        "logs": {"format": "json", "requests": "failed"},
        "traces": {"endpoint": collected.endpoint, "sampling": 0.0},
    }
    fleet.user_config = {name: {} for name in (*SERVED, "moody", "broken", "columns")}
    # Short for the others, so that a retired version goes soon; here a replica is killed,
    # and on a busy machine its replacement imports PyTorch for longer than that.
    fleet.user_config["digits"] = {"request_deadline_s": 60, "transport": "direct"}
    fleet.user_config["breast-cancer"] = {
        "traffic": {"champion": 90, "challenger": 10},
        "transport": "direct",
    }
    fleet.user_config["moody"] = {"transport": "direct"}
    fleet.deploy_by_command(fleet.user_config)
    # By our own cluster's word: on a port of loopback another one might answer, too.
    eventually("the fleet runs", lambda: fleet.status().get("fleet", {}).get("status") == "RUNNING")
    eventually("the fleet", lambda: answers(f"{fleet.url}/v2/health/ready"))
    return fleet
