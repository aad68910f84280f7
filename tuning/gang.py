"""The workers of one trial: processes in one placement group that Ray Train joins.

A Train run of its own for each trial is what Ray proposes. It starts a controller and the
workers anew each time and imports the framework in each, seconds for every trial. Here
Tune's actor keeps its workers from trial to trial, as it keeps itself. Of Ray Train they are
the worker group, and the backend that joins its processes (Ray 2.60).
"""

import json
import os
import time
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.train._internal.base_worker_group import BaseWorkerGroup
from ray.train._internal.utils import get_address_and_port
from ray.train._internal.worker_group import WorkerGroup
from ray.train.backend import Backend, BackendConfig
from ray.util.placement_group import PlacementGroup, get_current_placement_group

from tuning.errors import WorkerLostError
from tuning.resources import ResourcesSpec
from tuning.trainers.trainer import Workers
from tuning.work import ERROR
from tuning.workload import Workload

GRACE_S = 10.0
"""How long the others may take once one has failed. When a worker dies, what the others see
is a broken connection, and only Ray says why; Ray notices a dead process within a second."""

LAST_WORDS_S = 2.0
"""How long worker 0 may take to send what is left when its trial's actor ends."""


class Seat:
    """Process of one worker."""

    def sit(
        self, make_work: Callable[[Workload, Workers], object], workload: Workload, workers: Workers
    ) -> None:
        """Build the work, once the workers are joined."""
        self._rank = workers.rank
        self._work = make_work(workload, workers)

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of the work; worker 0's answer counts, and everybody's errors."""
        answer = getattr(self._work, method)(*args)
        failed = isinstance(answer, dict) and ERROR in answer
        return answer if self._rank == 0 or failed else None


class Gang:
    """Workers that begin together, are called alike and end together."""

    def __init__(
        self,
        make_work: Callable[[Workload, Workers], object],
        workload: Workload,
        shared: Any,
        place: PlacementGroup,
    ) -> None:
        self._make_work = make_work
        self._resources = workload.resources
        self._backend = str(workload.make_trainer().backend)  # type: ignore[attr-defined]
        self._shared = shared
        self._place = place
        self._group: WorkerGroup | None = None

    def call(self, method: str, *args: Any) -> Any:
        """Call a method of everyone's work, and return what worker 0 returns.

        Raises:
            WorkerLostError: A process died. The others are ended, and later calls fail or,
                with `begin`, start with new ones.
        """
        group = self._group or self._assembled()
        shared = [ray.put(each) for each in args]
        return self._gathered([each.actor.call.remote(method, *shared) for each in group.workers])

    def close(self) -> None:
        """End the processes, once worker 0 has sent what is left."""
        if self._group is not None:
            teller = self._group.workers[0].actor
            ray.wait([teller.call.remote("close")], timeout=LAST_WORDS_S)
        self.disband()

    def disband(self) -> None:
        """End the processes, whatever they are doing."""
        group, self._group = self._group, None
        if group is not None:
            for worker in group.workers:
                ray.kill(worker.actor)

    def _assembled(self) -> WorkerGroup:
        resources = self._resources
        size = resources.num_workers
        try:
            self._group = group = WorkerGroup(
                size, resources.per_worker, Seat, placement_group=self._place
            )
            config = backend_config(self._backend, resources)
            config.backend_cls().on_start(group, config)
        except RayActorError as error:
            self.disband()
            raise WorkerLostError(None, size, str(error)) from None
        self._gathered(
            [
                worker.actor.sit.remote(self._make_work, self._shared, Workers(rank, size))
                for rank, worker in enumerate(group.workers)
            ]
        )
        return group

    def _gathered(self, answers: list[Any]) -> Any:
        """Await everybody; of several errors, the first one is the cause of the others."""
        pending = list(answers)
        first: tuple[int, Any] | None = None
        give_up_at_s = None
        while pending:
            wait_s = None if give_up_at_s is None else max(give_up_at_s - time.monotonic(), 0.0)
            done, pending = ray.wait(pending, num_returns=1, timeout=wait_s)
            if not done:
                break  # they wait for the one that failed
            rank = answers.index(done[0])
            try:
                answer = ray.get(done[0])
            except RayActorError as error:
                self.disband()
                raise WorkerLostError(rank, len(answers), str(error)) from None
            except Exception:
                self.disband()
                raise
            if isinstance(answer, dict) and ERROR in answer:
                first = first or (rank, answer)
                give_up_at_s = give_up_at_s or time.monotonic() + GRACE_S
        if first is None:
            return ray.get(answers[0])
        self.disband()
        rank, answer = first
        return {**answer, ERROR: f"worker {rank} of {len(answers)}: {answer[ERROR]}"}


class TensorflowConfig(BackendConfig):
    """Tells each worker where the others are; TensorFlow joins them when it is first used.

    Ray Train's own does no more, but imports TensorFlow here, where nobody trains, and has
    `tf.keras` be Keras 2.
    """

    @property
    def backend_cls(self) -> type[Backend]:
        """Return who acts on it."""
        return _TensorflowBackend


class _TensorflowBackend(Backend):
    def on_start(self, worker_group: BaseWorkerGroup, backend_config: BackendConfig) -> None:
        found: list[tuple[str, int]] = worker_group.execute(get_address_and_port)
        addresses = [
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in found
        ]
        for rank in range(len(addresses)):
            worker_group.execute_single(rank, _set_tf_config, addresses, rank)


def _set_tf_config(addresses: list[str], rank: int) -> None:
    cluster, task = {"worker": addresses}, {"type": "worker", "index": rank}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})


def this_placement_group() -> PlacementGroup:
    """Return the one that holds this actor and is to hold its workers."""
    found = get_current_placement_group()
    if found is None:
        raise RuntimeError("a gang needs an actor in a placement group")
    return found


def backend_config(backend: str, resources: ResourcesSpec) -> BackendConfig:
    """Say how Ray Train joins the workers; importing it imports the framework."""
    if backend == "tensorflow":
        return TensorflowConfig()
    from ray.train.torch.config import TorchConfig  # noqa: PLC0415, as above

    # NCCL refuses two processes on one GPU. Gloo takes tensors of GPUs, too, only slower.
    return TorchConfig(backend="nccl" if resources.gpu >= 1 else "gloo")
