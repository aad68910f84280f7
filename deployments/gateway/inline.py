"""A copy of a light model in the gateway's own process, and the replicas where it is busy.

A lone client is spared the hop to a replica; a gateway that serves nothing else does without
one (DESIGN section 4). The copy stands in the gateway's event loop, so only small batches run
here, only of the stable version, and only of models for which that was asked: one that
crashes takes the gateway along. Everything else goes to the replicas, which scale with the
queue as for any other transport.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from deployments.gateway.direct import DirectTransport
from deployments.gateway.transport import Landed
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch
from deployments.traffic.table import Route, TransportKind

logger = logging.getLogger(__name__)

LARGE_BATCH_BYTES = 128 * 1024
"""A larger batch would hold up everybody else's requests."""

FIRST_RETRY_S, LAST_RETRY_S = 1.0, 60.0
"""Waits between attempts to load a copy; they double, seconds."""


class Copy(Protocol):
    """A loaded model, such as `predictor.Predictor`."""

    @property
    def is_busy(self) -> bool:
        """Whether a batch is under way."""
        ...

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        """Answer one batch."""
        ...


class InlineTransport:
    """The ways to one version that the table may choose from. One event loop owns it."""

    def __init__(
        self, gateway: str, otherwise: DirectTransport, load: Callable[[Route], Copy]
    ) -> None:
        """Begin without a copy.

        Args:
            gateway: Who asks.
            otherwise: Takes what no copy here can.
            load: Loads a version, in a thread; may take seconds and raise anything.
        """
        self._gateway = gateway
        self._otherwise = otherwise
        self._load = load
        self._copy: Copy | None = None
        self._runtime: str | None = None
        self._loading: asyncio.Task[None] | None = None

    @property
    def is_cheap(self) -> bool:
        """See `VersionTransport.is_cheap`."""
        return self._copy is not None or self._otherwise.is_direct

    @property
    def own_copies(self) -> int:
        """See `VersionTransport.own_copies`."""
        return 0 if self._copy is None else 1

    def update(self, route: Route | None) -> None:
        """See `VersionTransport.update`."""
        self._otherwise.update(route.endpoints if route is not None else ())
        is_inline = route is not None and route.transport is TransportKind.INLINE
        runtime = route.runtime if route is not None and is_inline else None
        if runtime == self._runtime:
            return
        self._runtime = runtime
        self._copy = None
        if self._loading is not None:
            self._loading.cancel()
            self._loading = None
        if route is not None and is_inline:
            self._loading = asyncio.get_running_loop().create_task(self._hold(route))

    def begin(
        self, batch: Batch, depth: int, timeout_s: float, landed: Landed
    ) -> Callable[[], object] | None:
        """See `VersionTransport.begin`."""
        if self._copy is not None:
            return None
        return self._otherwise.begin(batch, depth, timeout_s, landed)

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        """See `Transport.predict`."""
        copy = self._copy
        if copy is None or copy.is_busy or _size_bytes(batch) > LARGE_BATCH_BYTES:
            return await self._otherwise.predict(batch, depth, timeout_s)
        return await copy.predict(batch, self._gateway, depth)

    async def _hold(self, route: Route) -> None:
        """Load a copy, however often that takes; the replicas answer meanwhile."""
        retry_s = FIRST_RETRY_S
        while True:
            try:
                self._copy = await asyncio.to_thread(self._load, route)
            except Exception as error:  # noqa: BLE001, whatever a model or the network raises
                logger.warning(
                    "inline: no copy of %s, its replicas answer; again in %g s: %s: %s",
                    route.application, retry_s, type(error).__name__, error,
                )  # fmt: skip
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, LAST_RETRY_S)
            else:
                logger.info("inline: %s is in this process", route.application)
                return


def _size_bytes(batch: Batch) -> int:
    return sum(array.nbytes for array in batch.inputs.values())
