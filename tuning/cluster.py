"""The Ray that a sweep runs on: the one it was sent to, or one of its own."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import ray
from ray._private.resource_and_label_spec import ResourceAndLabelSpec
from ray.exceptions import AuthenticationError

from tuning.authentication import ADDRESS_VARIABLE, LOCAL
from tuning.errors import ConfigError
from tuning.quiet import muted_stderr
from tuning.resources import ResourcesSpec

OBJECT_STORE_BYTES = 512 * 1024**2
"""Of a Ray of our own. It holds one copy of the rows; Ray would take 30 % of the memory."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray that this process is connected to."""

    capacity: int
    """Trials that fit at one time, at least 1."""

    lacks: str | None
    """What there is too little of for even one trial, until nodes join; None if one fits."""

    job_id: str
    """By which Ray's own log lines name this process's work."""

    own: bool
    """Whether it consists of this machine alone, and ends with this process."""

    def side_by_side(self, wanted: int | None) -> int:
        """Say how many trials may run or wait for room at one time.

        A cluster of somebody else's may grow, and grows only for what waits for it.

        Args:
            wanted: The spec's `max_concurrent`; None is as many as fit now.
        """
        if wanted is None:
            return self.capacity
        return min(wanted, self.capacity) if self.own else wanted


def require_room(resources: ResourcesSpec) -> None:
    """Refuse trials that a Ray of one's own, which is yet to start, could never hold.

    A cluster of somebody else's is not asked: it may grow.

    Raises:
        ConfigError: Not even one fits.
    """
    if not _starts_own():
        return
    # What Ray itself will find; starting it to hear so takes seconds (Ray 2.60 has no other way).
    found = ResourceAndLabelSpec().resolve(is_head=True)
    cpus, gpus = found.num_cpus or 0, found.num_gpus or 0
    if resources.gang and resources.placement_strategy == "STRICT_SPREAD":
        raise ConfigError(
            f"resources.placement_strategy: 'STRICT_SPREAD': {resources.num_workers} workers on "
            "as many nodes, but without RAY_ADDRESS there is one, allowed: PACK, SPREAD, "
            "STRICT_PACK"
        )
    if not resources.trials_in([(cpus, gpus)]):
        whole = " in all" if resources.gang else ""
        raise ConfigError(
            f"resources: {resources}: no trial fits, "
            f"allowed: up to cpu {cpus:g}, gpu {gpus:g}{whole}"
        )


@contextmanager
def ray_cluster(resources: ResourcesSpec) -> Iterator[Cluster]:
    """Connect to Ray.

    Raises:
        ConfigError: There is no Ray at the address.
    """
    own = _starts_own()
    if own:
        ray.init(
            address=LOCAL,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=OBJECT_STORE_BYTES,
            # A process for each core, of which Tune's actors, with an environment of their
            # own, would use none (Ray 2.60).
            _system_config={"prestart_worker_first_driver": False},
        )
    else:
        with muted_stderr():
            _connect(os.environ[ADDRESS_VARIABLE])
    try:
        yield _measured(resources, own=own)
    finally:
        ray.shutdown()


def _starts_own() -> bool:
    return (os.environ.get(ADDRESS_VARIABLE) or LOCAL) == LOCAL


def _connect(address: str) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError, AuthenticationError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"{ADDRESS_VARIABLE}: {address!r}: no Ray there: {reason}") from None


def _measured(resources: ResourcesSpec, *, own: bool) -> Cluster:
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    nodes = [(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in found]
    capacity = resources.trials_in(nodes)
    cpus, gpus = map(sum, zip(*nodes, strict=True))
    lacks = (
        None
        if capacity
        else f"no trial fits yet: it takes {resources}, and the cluster has cpu {cpus:g}, "
        f"gpu {gpus:g} on {len(nodes)} nodes; waiting for more"
    )
    job_id: str = ray.get_runtime_context().get_job_id()
    return Cluster(max(capacity, 1), lacks, job_id, own)
