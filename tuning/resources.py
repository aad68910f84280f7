"""What Ray reserves for a trial: one bundle for each of its workers, all or none."""

from collections.abc import Iterable
from typing import Annotated, Literal, Self

from annotated_types import Ge, Gt, Le
from pydantic import model_validator

from tuning.configfile import Spec

Strategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
"""Ray's words for where the bundles of one placement group may lie."""

Node = tuple[float, float]
"""A node's cores and GPUs."""

UNIT = 10_000
"""Ray counts resources in units of 1/10000; binary fractions would lose one in 0.1."""


class ResourcesSpec(Spec):
    """What Ray reserves for each worker of a trial, and how many workers a trial has."""

    cpu: Annotated[float, Gt(0)] = 1.0
    """Cores; frameworks are told to keep to this many threads."""

    gpu: Annotated[float, Ge(0)] = 0.0
    """GPUs; a fraction shares one."""

    num_workers: Annotated[int, Gt(0), Le(1024)] = 1
    """Processes that train each trial together, each on a part of every batch."""

    placement_strategy: Strategy = "PACK"
    """Where a trial's workers lie: on few nodes or on many, strictly or where possible."""

    @model_validator(mode="after")
    def _gpus_can_be_had(self) -> Self:
        if self.gpu > 1 and self.gpu != int(self.gpu):
            raise ValueError(f"gpu: {self.gpu:g}, allowed: a fraction of one GPU, or whole GPUs")
        if 0 < self.gpu < 1 / UNIT:
            raise ValueError(f"gpu: {self.gpu:g}, allowed: 0, or {1 / UNIT:g} and more")
        if self.cpu < 1 / UNIT:
            raise ValueError(f"cpu: {self.cpu:g}, allowed: {1 / UNIT:g} and more")
        return self

    @property
    def gang(self) -> bool:
        """Whether a trial is more than one process."""
        return self.num_workers > 1

    @property
    def total_cpu(self) -> float:
        """Cores of a whole trial."""
        return self.cpu * self.num_workers

    @property
    def total_gpu(self) -> float:
        """GPUs of a whole trial."""
        return self.gpu * self.num_workers

    @property
    def per_worker(self) -> dict[str, float]:
        """The bundle of one worker, in Ray's words."""
        return {"CPU": self.cpu} | ({"GPU": self.gpu} if self.gpu else {})

    def trials_in(self, nodes: Iterable[Node]) -> int:
        """Count the trials that nodes hold at one time, if nothing else runs there."""
        workers = [self._workers_in(node) for node in nodes]
        most = sum(workers) // self.num_workers
        if self.placement_strategy == "STRICT_PACK":
            return sum(each // self.num_workers for each in workers)
        if self.placement_strategy == "STRICT_SPREAD":
            # Of each trial, a node holds one worker.
            while sum(min(each, most) for each in workers) < most * self.num_workers:
                most -= 1
        return most

    def _workers_in(self, node: Node) -> int:
        cpus, gpus = node
        workers = _units(cpus) // max(_units(self.cpu), 1)
        if self.gpu:
            one = _units(self.gpu)
            # Parts of a GPU do not add up: two GPUs hold two workers of 0.6 each, not three.
            on_gpus = int(gpus) * (UNIT // one) if self.gpu < 1 else _units(gpus) // one
            workers = min(workers, on_gpus)
        return workers

    def __str__(self) -> str:
        """Say what one trial takes."""
        workers = f"num_workers {self.num_workers} of " if self.gang else ""
        return f"{workers}cpu {self.cpu:g}, gpu {self.gpu:g}"


def _units(amount: float) -> int:
    return round(amount * UNIT)
