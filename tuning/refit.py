"""Fitting a winner where its trials ran, which may be another machine than the driver's."""

from collections.abc import Callable
from typing import Any

import ray

from tuning.data import Labels, Rows
from tuning.exploring import Segment
from tuning.space import Params
from tuning.spec import ResourcesSpec
from tuning.trainers.trainer import Metrics
from tuning.workload import fit_winner

Fit = Callable[[Params, Rows, Labels, tuple[Segment, ...]], tuple[Any, Metrics]]
"""Fits all training rows with these parameters, or these by epoch; scores these hold-out rows."""


def remote_fit(workload: Any, resources: ResourcesSpec) -> Fit:
    """Fit with a trial's resources, somewhere on the cluster.

    Args:
        workload: Object reference of a `Workload`.
        resources: What Ray reserves.
    """
    remote = ray.remote(fit_winner).options(num_cpus=resources.cpu, num_gpus=resources.gpu)

    def fit(
        params: Params, rows: Rows, labels: Labels, segments: tuple[Segment, ...]
    ) -> tuple[Any, Metrics]:
        fitted: tuple[Any, Metrics] = ray.get(
            remote.remote(workload, params, rows, labels, segments)
        )
        return fitted

    return fit
