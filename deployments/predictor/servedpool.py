"""A pool as Serve runs it: with a door of its own, which the controller hears of."""

import asyncio
import gc
import importlib.util
import itertools
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakValueDictionary

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from deployments.errors import ConfigError
from deployments.interpreter import ignore_warnings, take_short_turns
from deployments.predictor.announcing import AnnouncedDoor
from deployments.predictor.direct import DirectDoor
from deployments.predictor.memory import ProcessMemory
from deployments.predictor.pool import MIB, Pool, Target
from deployments.predictor.prediction import Prediction
from deployments.predictor.predictor import Predictor
from deployments.predictor.runtimes.nvidia import hide_gpus
from deployments.predictor.runtimes.runtime import RUNTIMES, RuntimeOptions
from deployments.predictor.servedfiles import VersionFiles
from deployments.predictor.tracing import open_replica_traces
from deployments.protocols.tensors import Batch
from tuning.probes import first_line
from tuning.tracespec import TracesSpec

logger = logging.getLogger(__name__)

WATCH_S = 1.0
"""Between two looks at the process's memory, seconds."""

THREADS = 4
"""For models too slow for the event loop; each version keeps to one of them."""


class ServedPool:
    """One replica of a pool. `controller.applications` turns it into a deployment."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        *,
        pool: str,
        memory_mib: int,
        tracking_uri: str,
        registry_uri: str,
        fleet: str,
        deadline_s: float,
        traces: TracesSpec | None = None,
    ) -> None:
        """Open the door; versions are loaded when they are asked for.

        Args:
            pool: Its name.
            memory_mib: Most resident memory of this process, MiB.
            tracking_uri: See `Predictor`, as the next.
            registry_uri: As above.
            fleet: See `AnnouncedDoor`, as the next.
            deadline_s: As above.
            traces: Where spans go; None makes none.

        Raises:
            ConfigError: The process takes more than that before it holds a version.
        """
        hide_gpus()
        # MLflow waits minutes for a dead server by default; whoever asks again tries again.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._traces = open_replica_traces(traces)
        memory = ProcessMemory()
        await asyncio.to_thread(_prepare, tracking_uri, registry_uri)
        memory.give_back()
        taken_mib = memory.resident_bytes() / MIB
        if taken_mib > memory_mib:
            raise ConfigError(
                f"pool {pool!r}: memory_mib {memory_mib}: the process takes {taken_mib:.0f} MiB"
                " before it holds a model"
            )
        # What is there now stays, so looking for garbage among it would only cost time.
        gc.freeze()
        take_short_turns()
        self._uris = tracking_uri, registry_uri
        self._deadline_s = deadline_s
        self._loaded: WeakValueDictionary[int, Predictor] = WeakValueDictionary()
        self._files = VersionFiles(
            lambda uri, folder: download_artifacts(artifact_uri=uri, dst_path=folder)
        )
        self._removing: asyncio.Task[None] | None = None
        self._computing = threading.Lock()
        self._threads = itertools.cycle(
            [ThreadPoolExecutor(1, thread_name_prefix="predict") for _ in range(THREADS)]
        )
        self._pool = Pool(self._load, memory, memory_mib * MIB)
        door = DirectDoor(self._pool.predict, pool, "", self._pool.predict_at_once)
        self._door = AnnouncedDoor(door, fleet, deadline_s, self._hear)
        await self._door.open()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def predict(self, batch: Batch, gateway: str, depth: int, target: Target) -> Prediction:
        """See `Pool.predict`; this is what Serve's handle calls."""
        return await self._pool.predict(batch, gateway, depth, target)

    async def prove(self, target: Target) -> str | None:
        """See `Pool.prove`."""
        return await self._pool.prove(target)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """See `Pool.record_autoscaling_stats`."""
        return self._pool.record_autoscaling_stats()

    def check_health(self) -> None:
        """Serve replaces a replica that no longer watches its memory, or of which a model hangs.

        Versions share threads, so one that hangs takes others along.
        """
        if self._watching.done():
            raise RuntimeError("the pool no longer watches its memory")
        for found in self._loaded.valuerefs():  # a list: threads load others meanwhile
            predictor = found()
            if predictor is not None:
                predictor.check_thread(self._deadline_s)

    async def __del__(self) -> None:
        """Serve awaits it once its own calls are answered."""
        await self._door.leave()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)

    def _load(self, target: Target) -> Predictor:
        model, version, runtime, _ = target
        options = RuntimeOptions(files=self._files.of(model, version))
        # One at a time: beside the network's part, loading is Python's work, and so is answering.
        with self._computing:
            predictor = Predictor(model, version, runtime, *self._uris, options=options)
            predictor.share(next(self._threads))
            predictor.trace(self._traces)
            self._loaded[id(predictor)] = predictor
            ignore_warnings()
        return predictor

    def _hear(self, applications: frozenset[str] | None) -> None:
        if applications is not None:
            self._pool.keep_only(applications)
            removing = asyncio.to_thread(self._files.keep_only, applications)
            self._removing = asyncio.get_running_loop().create_task(removing)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            await self._pool.keep_within()


def _prepare(tracking_uri: str, registry_uri: str) -> None:
    """Import what nearly every pool needs, and open the registry.

    Else the first model would be charged 90 MiB for it, and its caller kept waiting for 3 s.
    """
    if importlib.util.find_spec("sklearn") is not None:
        importlib.import_module(RUNTIMES["sklearn"].partition(":")[0])
        importlib.import_module("sklearn.ensemble")
    try:
        # `models:/` addresses resolve through the process-wide setting only.
        mlflow.set_tracking_uri(tracking_uri)
        mlflow.set_registry_uri(registry_uri)
        MlflowClient(tracking_uri, registry_uri).search_registered_models(max_results=1)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        logger.warning("the model registry cannot be reached: %s", first_line(error))
