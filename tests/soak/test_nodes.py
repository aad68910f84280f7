"""What lasts longer than a machine: a node dies under load, and a whole fleet starts again.

Each on a cluster of its own, since what is broken here is the cluster.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.haproxy import free_port
from deployments.processes import ProcessTree, tree
from tests.integration.hosting import (
    BIN,
    Cluster,
    Fleet,
    HostedModel,
    Registering,
    answers,
    eventually,
    make_fleet,
    pids_of,
    replica_pids,
    started_cluster,
)
from tests.integration.load import Load, questions_for
from tests.integration.sweeping import kill_all
from tests.soak.scene import Soak

pytestmark = [pytest.mark.ray, pytest.mark.soak]

CAPACITY_WITHIN_S = 30.0

MODEL = "breast-cancer"

AS_MANIFESTS_SAY = {
    "RAY_timeout_ms_task_wait_for_death_info": "0",
    "RAY_gcs_server_request_timeout_seconds": "5",
    "RAY_SERVE_KV_TIMEOUT_S": "5",
}
"""What KubeRay's pods are told for the day on which a machine dies."""

JSON = {"Content-Type": "application/json"}

ON_TWO_NODES = {
    "fleet#Gateway": 2,
    f"{MODEL}--v1#Predictor": 2,
    "by-handle--v1#Predictor": 2,
}
"""Replicas by deployment; half of each is on the node that dies."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def registered(
    home: Path, tmp_path_factory: pytest.TempPathFactory, soak: Soak
) -> dict[str, HostedModel]:
    """Models that outlive the clusters of this file."""
    soak.tell("registering models")
    variables = {"RAYFLEET_HOME": str(home)}
    with Registering(tmp_path_factory.mktemp("models"), variables) as registering:
        return registering.models()


@contextmanager
def joined_node(cluster: Cluster) -> Iterator[int]:
    """`ray start --address`: one more node on this machine; gives its first process."""
    command = [
        str(BIN / "ray"), "start", f"--address={cluster.gcs_address}", "--block", "--num-cpus=4",
        "--node-ip-address=127.0.0.1",
        f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}",
    ]  # fmt: skip
    with (
        (cluster.ray_tmpdir / "node.log").open("wb") as log,
        ProcessTree(command, cluster.environment, log) as node,
    ):
        eventually("two nodes", lambda: n_nodes(cluster) == 2)
        yield node.pid


def n_nodes(cluster: Cluster) -> int:
    """Nodes that the head believes to live."""
    finished = subprocess.run(
        [str(BIN / "ray"), "list", "nodes", "--format=json", "--filter=state=ALIVE"],
        env={**os.environ, **cluster.environment, "RAY_API_SERVER_ADDRESS": cluster.dashboard},
        capture_output=True,
        text=True,
        check=False,
    )
    # It says so in words that there is none yet.
    return len(json.loads(finished.stdout)) if finished.stdout.startswith("[") else 0


def deployed(fleet: Fleet, models: Mapping[str, Any]) -> None:
    """Deploy, and wait until all of it runs."""
    fleet.user_config = dict(models)
    fleet.deploy(models)
    eventually("the fleet", lambda: answers(f"{fleet.url}/v2/health/ready"))
    eventually("all applications", lambda: all_run(fleet))


def all_run(fleet: Fleet) -> bool:
    return all(each["status"] == "RUNNING" for each in fleet.status().values())


def test_a_node_dies(
    soak: Soak, home: Path, registered: dict[str, HostedModel], tmp_path: Path
) -> None:
    with started_cluster(home, AS_MANIFESTS_SAY) as cluster, joined_node(cluster) as node:
        registry = cluster.registry
        registry.copy_model_version(f"models:/{MODEL}/1", "by-handle")
        registry.set_registered_model_alias("by-handle", "champion", "1")
        models = {**registered, "by-handle": registered[MODEL]}
        fleet = make_fleet(cluster, tmp_path, models)
        deployed(
            fleet,
            {
                MODEL: {"transport": "direct", "num_replicas": 2},
                "by-handle": {"transport": "handle", "num_replicas": 2},
            },
        )
        there = {each.pid for each in tree(node)}
        for name, count in ON_TWO_NODES.items():
            pids = pids_of(fleet, name)
            assert (len(pids), len(pids & there)) == (count, count // 2), name
        questions = [
            each for name in (MODEL, "by-handle") for each in questions_for(name, models[name])
        ]

        with soak.loaded("loss of a node", fleet, questions, cuts=True) as (scene, load):
            load.wait_for_answers(100)
            scene.mark("node killed")
            killed_at_s = time.monotonic()
            kill_all(node)
            eventually("all replicas are back", lambda: capacity(fleet, there) and all_run(fleet))
            back_s = time.monotonic() - killed_at_s
            scene.mark("all replicas are back")
            load.wait_for_answers(200)
            scene.require("seconds until all replicas are back", back_s, "<=", CAPACITY_WITHIN_S)
            scene.figures["longest answer, s"] = load.tally.longest_s
            scene.rounds_done = 1


def capacity(fleet: Fleet, gone: set[int]) -> bool:
    """Whether there are as many replicas as before, and none of those that are gone."""
    found: dict[str, int] = dict.fromkeys(ON_TWO_NODES, 0)
    for name, pid in replica_pids(fleet):
        if name in found and pid not in gone:
            found[name] += 1
    return found == ON_TWO_NODES


ROLLOUTS = "/api/v1/deployments/fickle"

ROLLOUT = {
    "steps": [{"setWeight": 25}, {"pause": {}}, {"setWeight": 50}, {"pause": {}}],
    "keep_previous_s": 600,
}


def test_the_whole_fleet_starts_again(
    soak: Soak, home: Path, registered: dict[str, HostedModel], tmp_path: Path
) -> None:
    config = {
        MODEL: {"transport": "direct"},
        "fickle": {"transport": "direct", "rollout": ROLLOUT},
    }
    with soak.scene("restart of everything") as scene:
        with started_cluster(home) as cluster:
            fleet = make_fleet(cluster, tmp_path, registered)
            deployed(fleet, config)
            add = json.dumps({"name": "moody", "spec": {}}).encode()
            eventually("the control API", lambda: listens(fleet))
            assert control(fleet, "/api/v1/deployments", add)[0] == 201
            begin = json.dumps({"version": "2"}).encode()
            assert control(fleet, f"{ROLLOUTS}/rollouts", begin)[0] == 201
            eventually("a quarter of the traffic", lambda: paused_at(fleet, 25))
            eventually("the added model", lambda: fleet.infer("moody", [[1.0]])[0] == 200)
            before = state(fleet)
            everything = replica_pids(fleet)
            scene.mark("all of it killed")
            kill_everything(cluster)
        scene.tell("restart of everything: all processes are gone")
        began_s = time.monotonic()
        with started_cluster(home) as cluster:
            again = make_fleet(cluster, tmp_path, registered)
            deployed(again, config)
            eventually("the control API", lambda: listens(again))
            eventually("the added model", lambda: again.infer("moody", [[1.0]])[0] == 200)
            scene.figures["seconds until all of it answers"] = time.monotonic() - began_s
            eventually("a quarter of the traffic", lambda: paused_at(again, 25))
            after = state(again)
            with Load(again.doors, questions_for(MODEL, registered[MODEL])) as load:
                load.wait_for_answers(100)
            scene.tally = load.tally
            scene.require_no_failures()
            assert not everything.keys() & replica_pids(again).keys()
            differing = {key for key in before if before[key] != after.get(key)}
            scene.require("differences in what is known", len(differing), "==", 0)
            # It goes on from where it was.
            approved, _ = control(again, f"{ROLLOUTS}/rollout/approve", b"{}")
            scene.require("status of going on", approved, "==", 200)
            eventually("half of the traffic", lambda: paused_at(again, 50))
            scene.rounds_done = 1


def control(fleet: Fleet, path: str, body: bytes | None = None) -> tuple[int, Any]:
    """Call the control API; returns status and body."""
    status, _, text = fleet.call(path, body, JSON, door=fleet.control_url)
    return status, json.loads(text)


def listens(fleet: Fleet) -> bool:
    """Whether the control API answers."""
    try:
        return control(fleet, "/api/v1/fleet")[0] == 200
    except OSError:
        return False


def paused_at(fleet: Fleet, weight: int) -> bool:
    """Whether the rollout waits there, and the gateways act on it."""
    _, rollout = control(fleet, f"{ROLLOUTS}/rollout")
    return (rollout["phase"], rollout["weight"]) == ("paused", weight) and weights(
        fleet, "fickle"
    ).get("2") == weight


def weights(fleet: Fleet, model: str) -> dict[str, int]:
    """Percent by version."""
    _, shown = control(fleet, f"/api/v1/deployments/{model}")
    return {each["version"]: each["weight"] for each in shown["versions"]}


def state(fleet: Fleet) -> dict[str, Any]:
    """What must outlive the fleet: models with their origin, versions, weights, rollouts."""
    _, listed = control(fleet, "/api/v1/deployments")
    _, rollouts = control(fleet, f"{ROLLOUTS}/rollouts")
    known: dict[str, Any] = {}
    for each in listed["deployments"]:
        known[f"{each['name']}: origin"] = each["origin"]
        known[f"{each['name']}: spec"] = each["spec"]
        for version in each["versions"]:
            known[f"{each['name']} {version['version']}"] = [version["track"], version["weight"]]
    for each in rollouts["rollouts"]:
        kept = ("version", "stable", "strategy", "phase", "actor", "step", "weight", "started_at_s")
        known[f"rollout {each['id']}"] = {key: each[key] for key in kept}
    assert {"moody: origin", "fickle 1", "fickle 2", f"{MODEL} 1"} <= known.keys(), known
    return known


def kill_everything(cluster: Cluster) -> None:
    """SIGKILL every process of a cluster, as when the power fails."""
    ours = [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("RAY_TMPDIR") == str(cluster.ray_tmpdir)
    ]
    for process in ours:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    _, alive = psutil.wait_procs(ours, timeout=30)
    assert not alive
