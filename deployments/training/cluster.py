"""The sweeps of the cluster that this process belongs to."""

import os
from dataclasses import replace

import ray

from deployments.settings import Settings
from deployments.training.jobs import RayJobs
from deployments.training.training import Training
from tuning.home import resolve_home


def own_training(settings: Settings) -> Training:
    """Submit to the Ray of this process, with the fleet's MLflow."""
    # Every look at a sweep reads its spec, and would draw a progress bar into the log.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    home = replace(
        resolve_home(create=False),
        tracking_uri=settings.tracking_uri,
        registry_uri=settings.registry_uri,
        store_url=settings.store_url,
    )
    address = ray.get_runtime_context().gcs_address
    return Training(RayJobs(address, home.environment()), home)
