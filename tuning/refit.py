"""Fitting a winner where its trials ran, which may be another machine than the driver's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import ray
from ray.util.placement_group import placement_group, remove_placement_group

from tuning.data import Labels, Rows
from tuning.exploring import Segment
from tuning.resources import ResourcesSpec
from tuning.space import Params
from tuning.trainers.trainer import Metrics
from tuning.work import FitWork
from tuning.workload import fit_winner

Fit = Callable[[Params, Rows, Labels, tuple[Segment, ...]], tuple[Any, Metrics]]
"""Fits all training rows with these parameters, or these by epoch; scores these hold-out rows."""


def remote_fit(workload: Any, resources: ResourcesSpec) -> Fit:
    """Fit with a trial's resources, somewhere on the cluster; with a gang, if trials had one.

    Args:
        workload: Object reference of a `Workload`.
        resources: What Ray reserves.
    """
    if resources.gang:
        return partial(_fit_together, workload, resources)
    remote = ray.remote(fit_winner).options(num_cpus=resources.cpu, num_gpus=resources.gpu)

    def fit(
        params: Params, rows: Rows, labels: Labels, segments: tuple[Segment, ...]
    ) -> tuple[Any, Metrics]:
        fitted: tuple[Any, Metrics] = ray.get(
            remote.remote(workload, params, rows, labels, segments)
        )
        return fitted

    return fit


def _fit_together(
    workload: Any,
    resources: ResourcesSpec,
    params: Params,
    rows: Rows,
    labels: Labels,
    segments: tuple[Segment, ...],
) -> tuple[Any, Metrics]:
    from tuning.gang import Gang  # noqa: PLC0415, Ray Train takes seconds

    place = placement_group(
        [resources.per_worker] * resources.num_workers, strategy=resources.placement_strategy
    )
    gang = None
    try:
        ray.get(place.ready())
        gang = Gang(FitWork, ray.get(workload), workload, place)
        fitted: tuple[Any, Metrics] = gang.call("fit", params, rows, labels, segments)
        return fitted
    finally:
        if gang is not None:
            gang.disband()
        remove_placement_group(place)
