"""Batches over connections of our own to a version's replicas, past Serve's handle.

Serve's handle costs 1.7 ms a call on two cores, a frame on a Unix socket a tenth of that
(DESIGN section 4). Serve still starts, places, scales and replaces the replicas; where no
replica's connection stands (scaled to zero, just started, just died), its handle is taken.
"""

import asyncio
import itertools
import logging
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from deployments.errors import FleetError
from deployments.gateway.transport import ReplicaGoneError, Transport
from deployments.predictor.prediction import Prediction
from deployments.protocols.frames import (
    GATEWAY,
    NONCE_BYTES,
    PROOF_BYTES,
    REPLICA,
    Frame,
    FrameError,
    FrameReader,
    Handshake,
    Kind,
    encode_frame,
)
from deployments.protocols.tensors import Batch
from deployments.traffic.table import Endpoint

logger = logging.getLogger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0
"""Waits between attempts to connect; they double, seconds."""

CONNECT_TIMEOUT_S = 5.0

OVERDUE, LEAST_OVERDUE_S = 0.25, 1.0
"""Share of a batch's time, and no less than so many seconds, after which its replica must show
that it is still there: it greets a new connection, however long the model computes."""

LOOK_S = 0.25
"""Between two looks at whether a batch is overdue, seconds."""

GREETING_TIMEOUT_S = 2.0

UNAWARE_S = 10.0
"""How long Serve may go on to believe in a replica that has died, seconds."""

ASK_AGAIN_S = 0.05
"""Wait before Serve's handle is asked again, which has heard of the death meanwhile, seconds."""

MAX_NUMBER = 2**32


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

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        """See `Transport.predict`."""
        ready = self.ready
        link = min(ready, key=_load) if ready else None
        return await self.send(link, self._otherwise, batch, depth, timeout_s)

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
        return await link.ask(batch.plain(), self._gateway, depth, timeout_s, *target)

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
        self._wire: _Wire | None = None
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

    async def ask(self, *question: Any) -> Prediction:
        """Send a batch and wait for its answer."""
        if self._wire is None:
            raise ReplicaGoneError("there is no connection to it")
        return await self._wire.ask(question)

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

    async def _watch(self, wire: "_Wire") -> None:
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

    async def _connect(self, timeout_s: float = CONNECT_TIMEOUT_S) -> "_Wire":
        loop = asyncio.get_running_loop()
        wire = _Wire(bytes.fromhex(self._endpoint.key))
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


class _Wire(asyncio.Protocol):
    """One connection: it proves itself, then carries batches and their answers."""

    def __init__(self, key: bytes) -> None:
        self.trusted = asyncio.Event()
        """Set once both sides have proved themselves, or the connection is lost."""
        self.lost = asyncio.Event()
        self.waiting: dict[int, asyncio.Future[Prediction]] = {}
        self.wait_s = 0.0
        self._overdue_at_s: dict[int, float] = {}
        self._handshake = Handshake(key, GATEWAY)
        self._greeting = b""
        self._transport: asyncio.Transport | None = None
        self._frames = FrameReader()
        self._numbers = itertools.count()
        self.is_leaving = False
        """Whether one of the sides has said that it goes."""

    @property
    def is_open(self) -> bool:
        return self.trusted.is_set() and not self.is_leaving and not self.lost.is_set()

    @property
    def is_overdue(self) -> bool:
        """Whether a batch has waited so long that the replica may hang."""
        now_s = asyncio.get_running_loop().time()
        return any(at_s < now_s for at_s in self._overdue_at_s.values())

    async def ask(self, question: tuple[Any, ...]) -> Prediction:
        loop = asyncio.get_running_loop()
        number = next(self._numbers) % MAX_NUMBER
        answer: asyncio.Future[Prediction] = loop.create_future()
        self.waiting[number] = answer
        _, _, _, timeout_s, *_ = question  # a pool's say also which version is meant
        self._overdue_at_s[number] = loop.time() + max(LEAST_OVERDUE_S, OVERDUE * timeout_s)
        self._write(encode_frame(Kind.ASK, number, question))
        try:
            return await answer
        except asyncio.CancelledError:
            self._write(encode_frame(Kind.CANCEL, number))
            raise
        finally:
            self.waiting.pop(number, None)
            self._overdue_at_s.pop(number, None)
            if self.is_leaving:
                self.close_when_answered()

    def close_when_answered(self) -> None:
        self.is_leaving = True
        if not self.waiting and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _write(self, frame: bytes) -> None:
        if self._transport is not None and not self.lost.is_set():
            self._transport.write(frame)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        self.trusted.set()  # whoever waits for it looks at `lost`, too
        for answer in self.waiting.values():
            if not answer.done():
                answer.set_exception(ReplicaGoneError("its connection was lost"))

    def data_received(self, data: bytes) -> None:
        try:
            if not self.trusted.is_set():
                data = self._check(data)
            for frame in self._frames.feed(data):
                self._take(frame)
        except FrameError as error:
            logger.warning("direct: closing a connection: %s", error)
            self.abort()

    def _check(self, data: bytes) -> bytes:
        """Prove ourselves to the replica's nonce, then check its proof; returns what follows."""
        before = len(self._greeting)
        self._greeting += data
        if before < NONCE_BYTES <= len(self._greeting):
            proof = self._handshake.prove(self._greeting[:NONCE_BYTES])
            self._write(self._handshake.nonce + proof)
        end = NONCE_BYTES + PROOF_BYTES
        if len(self._greeting) < end:
            return b""
        self._handshake.check(REPLICA, self._greeting[NONCE_BYTES:end])
        self.trusted.set()
        return self._greeting[end:]

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.LEAVING:
            self.close_when_answered()
            return
        answer = self.waiting.get(frame.number)
        if answer is None or answer.done():
            return  # cancelled meanwhile
        if frame.kind is Kind.ANSWER:
            prediction = Prediction.of(*frame.value)
            self.wait_s = prediction.wait_s
            answer.set_result(prediction)
        elif frame.kind is Kind.FAILURE and isinstance(frame.value, FleetError):
            answer.set_exception(frame.value)
        else:
            raise FrameError(f"{frame.kind.name} is not a replica's to send")


def _load(link: Link) -> tuple[int, float]:
    return link.in_flight, link.wait_s
