"""Batches over connections of our own to a version's replicas, past Serve's handle.

Serve's handle costs 1.7 ms a call on two cores, a frame on a Unix socket a tenth of that
(DESIGN section 4). Serve still starts, places, scales and replaces the replicas; where no
replica's connection stands (scaled to zero, just started, just died), its handle is taken.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from deployments.gateway.transport import Landed, ReplicaGoneError, Transport
from deployments.gateway.wire import LEAST_OVERDUE_S, Wire
from deployments.predictor.prediction import Prediction
from deployments.protocols.frames import FrameError
from deployments.protocols.tensors import Batch
from deployments.traffic.table import Endpoint

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0
"""Waits between attempts to connect; they double, seconds."""

CONNECT_TIMEOUT_S = 5.0

LOOK_S = 0.25
"""Between two looks at whether a batch is overdue, seconds."""

GREETING_TIMEOUT_S = 2.0

UNAWARE_S = 10.0
"""How long Serve may go on to believe in a replica that has died, seconds."""

ASK_AGAIN_S = 0.05
"""Wait before Serve's handle is asked again, which has heard of the death meanwhile, seconds."""


class DirectTransport:
    """The connections of one gateway to the replicas of one version. One event loop owns it."""

    def __init__(self, gateway: str, node: str, otherwise: Transport) -> None:
        """Begin without a replica.

        Args:
            gateway: Who asks.
            node: Ray's id of this node.
            otherwise: Takes what no connection can.
        """
        self._gateway = gateway
        self._node = node
        self._otherwise = otherwise
        self._links: dict[str, Link] = {}
        self._lost_at_s: dict[str, float] = {}

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Use these replicas' doors and no others; what is in flight there is still answered."""
        wanted = {endpoint.replica: endpoint for endpoint in endpoints}
        for replica in set(self._links) - set(wanted):
            self._links.pop(replica).retire()
        for replica, endpoint in wanted.items():
            if replica not in self._links:
                self._links[replica] = Link(endpoint, self._node, self._note_lost)

    @property
    def is_direct(self) -> bool:
        """Whether the next batch would go past Serve's handle."""
        return any(link.is_ready for link in self._links.values())

    def begin(
        self, batch: Batch, depth: int, timeout_s: float, landed: Landed
    ) -> Callable[[], object] | None:
        """See `VersionTransport.begin`."""
        link = self._idlest()
        if link is None:
            return None
        return link.begin(self.question(batch, depth, timeout_s), landed)

    def question(self, batch: Batch, depth: int, timeout_s: float, *target: Any) -> tuple[Any, ...]:
        """What is sent of a batch: see `Transport.predict`, and `send` for the target."""
        return (batch.plain(), self._gateway, depth, timeout_s, *target)

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        """See `Transport.predict`."""
        return await self.send(self._idlest(), self._otherwise, batch, depth, timeout_s)

    def _idlest(self) -> "Link | None":
        ready = self.ready
        if len(ready) > 1:
            return min(ready, key=_load)
        return ready[0] if ready else None

    @property
    def replicas(self) -> Collection[str]:
        """Those that the table has, connected or not."""
        return self._links.keys()

    @property
    def ready(self) -> "list[Link]":
        """The connections that stand."""
        return [link for link in self._links.values() if link.is_ready]

    async def send(
        self,
        link: "Link | None",
        otherwise: Transport,
        batch: Batch,
        depth: int,
        timeout_s: float,
        *target: Any,
    ) -> Prediction:
        """Send a batch over one of the connections.

        Args:
            link: Which; None where none stands.
            otherwise: Takes the batch in that case.
            batch: See `Transport.predict`, as the next two.
            depth: As above.
            timeout_s: As above.
            target: Tells a replica of several versions which.

        Raises:
            FleetError: What `Transport.predict` raises.
            ReplicaGoneError: As there.
        """
        if link is None:
            return await self._by_handle(otherwise, batch, depth, timeout_s)
        return await link.ask(self.question(batch, depth, timeout_s, *target))

    async def _by_handle(
        self, otherwise: Transport, batch: Batch, depth: int, timeout_s: float
    ) -> Prediction:
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            try:
                return await otherwise.predict(batch, depth, timeout_s)
            except ReplicaGoneError as error:
                lost_at_s = self._lost_at_s.get(error.actor or "", math.inf)
                if not began_s - UNAWARE_S < lost_at_s < began_s:
                    raise
            # Serve did not know yet what our connection had told us before, and sent it to the
            # dead one: the batch has reached nobody.
            await asyncio.sleep(ASK_AGAIN_S)

    def _note_lost(self, actor: str) -> None:
        now_s = asyncio.get_running_loop().time()
        recent = {name: at_s for name, at_s in self._lost_at_s.items() if at_s > now_s - UNAWARE_S}
        self._lost_at_s = {**recent, actor: now_s}


class Link:
    """One replica and the connection to it, which is made anew whenever it is lost."""

    def __init__(self, endpoint: Endpoint, node: str, note_lost: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._note_lost = note_lost
        self._is_near = endpoint.node == node
        self._wire: Wire | None = None
        self._retired = False
        self._connecting = asyncio.get_running_loop().create_task(self._stay_connected())

    @property
    def replica(self) -> str:
        """Serve's id of it."""
        return self._endpoint.replica

    @property
    def is_ready(self) -> bool:
        """Whether it takes batches."""
        wire = self._wire
        return wire is not None and wire.is_open and not self._retired

    @property
    def in_flight(self) -> int:
        """Batches of this gateway that it has."""
        return len(self._wire.waiting) if self._wire is not None else 0

    @property
    def wait_s(self) -> float:
        """How long the last batch waited inside the replica, for other gateways' mostly."""
        return self._wire.wait_s if self._wire is not None else 0.0

    @property
    def is_failing(self) -> bool:
        """See `Wire.is_failing`."""
        return self._wire is not None and self._wire.is_failing

    async def ask(self, question: tuple[Any, ...]) -> Prediction:
        """Send a batch and wait for its answer."""
        answer: asyncio.Future[Prediction] = asyncio.get_running_loop().create_future()

        def landed(ending: Prediction | BaseException) -> None:
            if answer.done():
                return  # cancelled in this turn of the loop
            if isinstance(ending, Prediction):
                answer.set_result(ending)
            elif not isinstance(ending, asyncio.CancelledError):
                answer.set_exception(ending)

        give_up = self.begin(question, landed)
        try:
            return await answer
        except asyncio.CancelledError:
            give_up()
            raise

    def begin(self, question: tuple[Any, ...], landed: Landed) -> Callable[[], object]:
        """Send a batch; see `VersionTransport.begin`."""
        if self._wire is None:
            asyncio.get_running_loop().call_soon(landed, ReplicaGoneError("it is not connected"))
            return lambda: None
        return self._wire.begin(question, landed)

    def retire(self) -> None:
        """Send no more batches there."""
        self._retired = True
        self._connecting.cancel()
        if self._wire is not None:
            self._wire.close_when_answered()

    async def _stay_connected(self) -> None:
        retry_s = FIRST_RETRY_S
        while True:
            try:
                wire = await self._connect()
            except (OSError, FrameError) as error:
                logger.debug("direct: no connection to %s: %s", self._endpoint.replica, error)
            else:
                if not wire.lost.is_set():
                    self._wire = wire
                    retry_s = FIRST_RETRY_S
                    await self._watch(wire)
                    if not wire.is_leaving:
                        self._note_lost(self._endpoint.actor)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, LAST_RETRY_S)

    async def _watch(self, wire: "Wire") -> None:
        """Return once the connection is lost, and cut it when the replica hangs."""
        look_s = LOOK_S
        while not wire.lost.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(look_s):
                    await wire.lost.wait()
            look_s = LOOK_S
            # One that leaves has closed its doors, and still answers what it has.
            if wire.is_overdue and not wire.is_leaving:
                look_s = LEAST_OVERDUE_S
                if not await self._greets():
                    logger.warning("direct: leaving %s, which hangs", self._endpoint.replica)
                    wire.abort()  # so that what waits there goes to another one

    async def _greets(self) -> bool:
        try:
            wire = await self._connect(GREETING_TIMEOUT_S)
        except (OSError, FrameError):
            return False
        wire.abort()
        return True

    async def _connect(self, timeout_s: float = CONNECT_TIMEOUT_S) -> "Wire":
        loop = asyncio.get_running_loop()
        wire = Wire(bytes.fromhex(self._endpoint.key))
        try:
            async with asyncio.timeout(timeout_s):
                # Without the file, which a cleaner may have removed, there is still the port.
                if self._is_near and Path(self._endpoint.path).exists():
                    await loop.create_unix_connection(lambda: wire, self._endpoint.path)
                else:
                    place = self._endpoint.host, self._endpoint.port
                    await loop.create_connection(lambda: wire, *place)
                await wire.trusted.wait()
        except BaseException:
            wire.abort()
            raise
        return wire


def _load(link: Link) -> tuple[bool, int, float]:
    # Where all of them fail, it is the version or what it is asked, and they share as ever.
    return link.is_failing, link.in_flight, link.wait_s
