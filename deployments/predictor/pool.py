"""Many small models in one process: loaded when asked for, the least recently used out.

Whether memory is short is measured, not computed: the process's resident memory is compared
with the limit before and after each load and every second. What a version takes cannot be
known, so what the last loads took, and the size of its files, stand for it beforehand.
"""

import asyncio
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from deployments.errors import ModelNotReadyError
from deployments.predictor.autoscaling import QUEUE_METRIC, QueueDepths
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch
from deployments.schema import application_name

logger = logging.getLogger(__name__)

MIB = 1024 * 1024

LOADERS = 4
"""Versions that are loaded at the same time; one that hangs must not hold up all others."""

FILES_TO_MEMORY = 2.0
"""What a model may take in memory for each byte of its files, until it was seen."""

FORGETTING = 0.9
"""What a load leaves of the growth remembered before it, where it took less itself."""

MARGIN_BYTES = 24 * MIB
"""Kept free below the limit, for requests and for what estimates are off by."""

SPARE = 1 / 16
"""Part of the versions that goes at once, at least: giving memory back costs milliseconds."""

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
"""Waits before a version that could not be loaded is tried again; they double, seconds."""

MAX_REASON = 500
"""Characters of the reason that reach the caller."""

Target = tuple[str, str, str, int]
"""Model, version, runtime, and the size of its files in bytes, as a gateway names them."""

Key = tuple[str, str, str]
"""Model, version, and the runtime, which the fleet's config may change."""


class Held(Protocol):
    """A loaded version, such as `Predictor`."""

    def predict_at_once(self, batch: Batch, gateway: str, depth: int) -> Prediction | None:
        """Answer one batch without waiting; None where it takes too long for that."""
        ...

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        """Answer one batch."""
        ...


class Memory(Protocol):
    """See `memory.ProcessMemory`."""

    def resident_bytes(self) -> int:
        """What the process takes now."""
        ...

    def give_back(self) -> None:
        """Return to the system what was freed; called from a thread."""
        ...


@dataclass(slots=True, eq=False)
class _Resident:
    """One version in memory."""

    held: Held
    grown_bytes: int
    busy: int = 0


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a version could not be loaded, and when it is tried again."""

    reason: str
    attempts: int
    retry_at_s: float


class Pool:
    """The versions that this process holds. One event loop owns it."""

    def __init__(
        self,
        load: Callable[[Target], Held],
        memory: Memory,
        limit_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without a version.

        Args:
            load: Loads one; called in a thread, may take long and raise anything.
            memory: The process's.
            limit_bytes: What it should take at most.
            clock: Seconds.
        """
        self._load_now = load
        self._memory = memory
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._depths = QueueDepths(clock)
        # The least recently used first.
        self._residents: OrderedDict[Key, _Resident] = OrderedDict()
        self._loading: dict[Key, asyncio.Task[_Resident | str]] = {}
        self._awaited: Counter[Key] = Counter()
        self._failures: dict[Key, _Failure] = {}
        self._loaders = ThreadPoolExecutor(LOADERS, thread_name_prefix="load")
        self._slots = asyncio.Semaphore(LOADERS)
        self._evicting = asyncio.Lock()
        self._changed = asyncio.Event()
        self._reserved_bytes: list[int] = []
        self._growth_bytes = 0.0
        self._n_loads = 0

    @property
    def held(self) -> list[Key]:
        """The versions in memory, the least recently used first."""
        return list(self._residents)

    async def predict(self, batch: Batch, gateway: str, depth: int, target: Target) -> Prediction:
        """Have a version answer one batch; loads it first if it is not in memory.

        Args:
            batch: The joined rows of one or more requests.
            gateway: Who asks.
            depth: Requests that wait or are in flight for this pool at that gateway.
            target: The version.

        Raises:
            ModelNotReadyError: It could not be loaded.
            PredictionError: The model raised.
        """
        self._depths.heard(gateway, depth)
        key = target[:3]
        resident = self._residents.get(key)
        if resident is None:
            resident = await self._loaded(target)
        if key in self._residents:
            self._residents.move_to_end(key)
        resident.busy += 1
        try:
            return await resident.held.predict(batch, gateway, depth)
        finally:
            resident.busy -= 1
            self._changed.set()

    def predict_at_once(
        self, batch: Batch, gateway: str, depth: int, target: Target
    ) -> Prediction | None:
        """Have a version in memory answer without waiting, where it is quick; see `predict`."""
        key = target[:3]
        resident = self._residents.get(key)
        if resident is None:
            return None
        self._depths.heard(gateway, depth)
        self._residents.move_to_end(key)
        return resident.held.predict_at_once(batch, gateway, depth)

    async def prove(self, target: Target) -> str | None:
        """Load a version, if it is not in memory; returns why that fails, None if it does not."""
        if target[:3] not in self._residents:
            try:
                await self._loaded(target)
            except ModelNotReadyError as error:
                return error.reason
        return None

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Requests waiting at all gateways that have sent a batch lately."""
        return {QUEUE_METRIC: self._depths.total()}

    def keep_only(self, applications: Container[str]) -> None:
        """Drop the versions that the fleet has elsewhere or no longer, named as applications."""
        for key in list(self._residents):
            if application_name(*key[:2]) not in applications and not self._is_in_use(key):
                self._drop(key, "no longer hosted here")
        self._failures = {
            key: failure
            for key, failure in self._failures.items()
            if application_name(*key[:2]) in applications
        }

    async def keep_within(self, needed_bytes: int = 0) -> None:
        """Evict what is idle while the process takes more than it may.

        Args:
            needed_bytes: What it is about to take beside that.
        """
        async with self._evicting:
            while self._evict_some(self._excess_bytes(needed_bytes)):
                await asyncio.to_thread(self._memory.give_back)

    async def _loaded(self, target: Target) -> _Resident:
        key = target[:3]
        failure = self._failures.get(key)
        if failure is not None and self._clock() < failure.retry_at_s:
            raise ModelNotReadyError(key[0], failure.reason)
        loading = self._loading.get(key)
        if loading is None:
            loading = asyncio.get_running_loop().create_task(self._load(target))
            self._loading[key] = loading
            loading.add_done_callback(lambda _: self._loading.pop(key))
        self._awaited[key] += 1
        try:
            # Whoever gives up takes only itself away: the others wait for the same load.
            found = await asyncio.shield(loading)
        finally:
            self._awaited[key] -= 1
            self._awaited = +self._awaited
        if isinstance(found, str):
            raise ModelNotReadyError(key[0], found)
        return found

    async def _load(self, target: Target) -> _Resident | str:
        """Load a version; gives the reason where that fails."""
        key, size_bytes = target[:3], target[3]
        needed_bytes = int(max(FILES_TO_MEMORY * size_bytes, self._growth_bytes))
        async with self._slots:
            await self._admit(needed_bytes)
            self._n_loads += 1
            n_loads, before_bytes = self._n_loads, self._memory.resident_bytes()
            loaded: list[Held] = []
            try:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._loaders, self._load_into, loaded, target)
            except Exception as error:  # noqa: BLE001, whatever a model or the network raises
                return self._failed(key, f"{type(error).__name__}: {error}")
            finally:
                self._reserved_bytes.remove(needed_bytes)
                self._changed.set()
        grown_bytes = needed_bytes
        if not self._reserved_bytes and n_loads == self._n_loads:
            grown_bytes = max(0, self._memory.resident_bytes() - before_bytes)
        resident = self._residents[key] = _Resident(loaded.pop(), grown_bytes)
        await self.keep_within()
        if self._is_alone(key) and self._memory.resident_bytes() > self._limit_bytes:
            reason = self._too_large(grown_bytes)
            self._drop(key, "too large")
            del resident
            await asyncio.to_thread(self._memory.give_back)
            return self._failed(key, reason)
        self._growth_bytes = max(float(grown_bytes), FORGETTING * self._growth_bytes)
        self._failures.pop(key, None)
        return resident

    def _load_into(self, loaded: list[Held], target: Target) -> None:
        # Not returned: a thread keeps what it returns for a while after it has told so, and a
        # version that is evicted meanwhile would be freed only after memory was given back.
        loaded.append(self._load_now(target))

    async def _admit(self, needed_bytes: int) -> None:
        """Reserve memory for a load once it fits, or nothing is left that could make room."""
        while True:
            await self.keep_within(needed_bytes)
            in_use = any(map(self._is_in_use, self._residents))
            if self._excess_bytes(needed_bytes) <= 0 or not (in_use or self._reserved_bytes):
                self._reserved_bytes.append(needed_bytes)
                return
            self._changed.clear()
            await self._changed.wait()

    def _is_in_use(self, key: Key) -> bool:
        # Who waited for a load takes it up in a later turn of the loop.
        return self._residents[key].busy > 0 or self._awaited[key] > 0

    def _is_alone(self, key: Key) -> bool:
        return list(self._residents) == [key] and not self._reserved_bytes

    def _excess_bytes(self, needed_bytes: int) -> int:
        reserved_bytes = sum(self._reserved_bytes) + needed_bytes
        aim_bytes = self._limit_bytes - MARGIN_BYTES
        return self._memory.resident_bytes() + reserved_bytes - aim_bytes

    def _evict_some(self, excess_bytes: int) -> bool:
        """Drop the least recently used versions that are not answering, if there are any."""
        if excess_bytes <= 0:
            return False
        idle = [key for key in self._residents if not self._is_in_use(key)]
        fewest = 1 + int(SPARE * len(idle))
        freed_bytes = 0
        for n_dropped, key in enumerate(idle):
            if freed_bytes >= excess_bytes and n_dropped >= fewest:
                break
            freed_bytes += self._residents[key].grown_bytes
            self._drop(key, "least recently used")
        return bool(idle)

    def _drop(self, key: Key, reason: str) -> None:
        del self._residents[key]
        logger.info("dropped %s version %s: %s", *key[:2], reason)

    def _failed(self, key: Key, reason: str) -> str:
        model, version, _ = key
        before = self._failures.get(key)
        attempts = before.attempts + 1 if before is not None else 1
        wait_s = min(FIRST_RETRY_S * 2.0 ** min(attempts - 1, 16), LAST_RETRY_S)
        said = f"version {version} could not be loaded: {reason.strip().partition(chr(10))[0]}"
        said = said if len(said) <= MAX_REASON else said[: MAX_REASON - 1] + "…"
        self._failures[key] = _Failure(said, attempts, self._clock() + wait_s)
        logger.warning("%s %s; again in %g s", model, said, wait_s)
        return said

    def _too_large(self, grown_bytes: int) -> str:
        resident = self._memory.resident_bytes()
        return (
            f"MemoryError: the pool's process takes {resident / MIB:.0f} MiB with it alone,"
            f" {grown_bytes / MIB:.0f} of them its own, memory_mib is {self._limit_bytes / MIB:.0f}"
        )
