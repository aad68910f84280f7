"""Fitting a winner where its trials ran, which may be another machine than the driver's."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from tuning.errors import WorkerLostError
from tuning.exploring import Segment
from tuning.fitted import Fit, Fitted
from tuning.resources import ResourcesSpec
from tuning.space import Params
from tuning.trainers.trainer import Workers
from tuning.work import FitWork, Team
from tuning.workload import Workload

ATTEMPTS = 3
"""Processes that a fit may lose, the last one included."""


def remote_fit(workload: Any, resources: ResourcesSpec) -> Fit:
    """Fit with a trial's resources, somewhere on the cluster; with a gang, if trials had one.

    Args:
        workload: Object reference of a `Workload`.
        resources: What Ray reserves.
    """
    return partial(_elsewhere, workload, resources)


@contextmanager
def _elsewhere(
    workload: Any, resources: ResourcesSpec, params: Params, segments: tuple[Segment, ...]
) -> Iterator[Fitted]:
    place = _reserved(resources) if resources.gang else None
    team: Team | None = None
    try:
        for attempt in range(1, ATTEMPTS + 1):
            team = _Elsewhere(workload, resources) if place is None else _gang(workload, place)
            try:
                team.call("fit", params, segments)
                break
            except (RayActorError, WorkerLostError):
                team.close()
                if attempt == ATTEMPTS:
                    raise
        assert team is not None  # noqa: S101, since it is tried once at least
        yield Fitted(team, is_here=False)
    finally:
        if team is not None:
            team.close()
        if place is not None:
            remove_placement_group(place)


def _reserved(resources: ResourcesSpec) -> PlacementGroup:
    bundles = [resources.per_worker] * resources.num_workers
    place: PlacementGroup = placement_group(bundles, strategy=resources.placement_strategy)
    return place


def _gang(workload: Any, place: PlacementGroup) -> Team:
    from tuning.gang import Gang  # noqa: PLC0415, Ray Train takes seconds

    ray.get(place.ready())
    return Gang(FitWork, ray.get(workload), workload, place)


class _Process:
    """What runs there."""

    def __init__(self, workload: Workload) -> None:
        self._work = FitWork(workload, Workers())

    def call(self, method: str, *args: Any) -> Any:
        return getattr(self._work, method)(*args)


class _Elsewhere:
    """A team of one, in a process of its own."""

    def __init__(self, workload: Any, resources: ResourcesSpec) -> None:
        remote: Any = ray.remote(_Process)
        options = remote.options(num_cpus=resources.cpu, num_gpus=resources.gpu)
        self._actor = options.remote(workload)

    def call(self, method: str, *args: Any) -> Any:
        return ray.get(self._actor.call.remote(method, *args))

    def close(self) -> None:
        ray.kill(self._actor)
