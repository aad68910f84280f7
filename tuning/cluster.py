"""The Ray that a sweep runs on: the one it was sent to, or one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray.exceptions import AuthenticationError

from tuning.authentication import ADDRESS_VARIABLE, LOCAL
from tuning.errors import ConfigError
from tuning.quiet import muted_stderr
from tuning.spec import ResourcesSpec

OBJECT_STORE_BYTES = 512 * 1024**2
"""Of a Ray of our own. It holds one copy of the rows; Ray would take 30 % of the memory."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray that this process is connected to."""

    capacity: int
    """Trials that fit at one time, at least 1."""

    own: bool
    """Whether it consists of this machine alone, and ends with this process."""


@contextmanager
def ray_cluster(resources: ResourcesSpec) -> Iterator[Cluster]:
    """Connect to Ray.

    Raises:
        ConfigError: There is no Ray at the address, or no trial fits on one's own.
    """
    address = os.environ.get(ADDRESS_VARIABLE) or LOCAL
    own = address == LOCAL
    if not own:
        with muted_stderr():
            _connect(address)
    else:
        ray.init(
            address=LOCAL,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
        )
    try:
        # A cluster of somebody else's may grow when asked; our own will not.
        yield Cluster(_capacity(resources, refuse=own), own=own)
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, AuthenticationError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{ADDRESS_VARIABLE}: {address!r}: no Ray there: {reason}") from None


def _capacity(resources: ResourcesSpec, *, refuse: bool) -> int:
    available: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    capacity = int(available.get("CPU", 0.0) // resources.cpu)
    if resources.gpu:
        capacity = min(capacity, int(available.get("GPU", 0.0) // resources.gpu))
    if capacity < 1 and refuse:
        cpus, gpus = available.get("CPU", 0.0), available.get("GPU", 0.0)
        raise ConfigError(
            f"resources: cpu {resources.cpu:g}, gpu {resources.gpu:g}: no trial fits, "
            f"allowed: up to cpu {cpus:g}, gpu {gpus:g}"
        )
    return max(capacity, 1)
