"""One connection to a replica: it proves itself, then carries batches and their answers."""

import asyncio
import itertools
import logging
import math
import pickle
import struct
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from deployments.errors import FleetError, RequestTooLargeError
from deployments.gateway.transport import Landed, ReplicaGoneError
from deployments.predictor.prediction import Prediction
from deployments.protocols.frames import (
    GATEWAY,
    MAX_BYTES,
    NONCE_BYTES,
    PROOF_BYTES,
    REPLICA,
    Frame,
    FrameError,
    FrameReader,
    Handshake,
    Kind,
    Part,
    send_frame,
)

logger = logging.getLogger(__name__)

OVERDUE, LEAST_OVERDUE_S = 0.25, 1.0
"""Share of a batch's time, and no less than so many seconds, after which its replica must show
that it is still there: it greets a new connection, however long the model computes."""

MOST_FAILURES, SPARED_S = 16, 2.0
"""A replica that failed so many batches in a row is spared for so long where another is not: one
that fails at once always has the fewest batches, and would be sent nearly all. A row that its model
cannot take fails about 9 in a row, while it is searched for in a batch of 256."""

MAX_NUMBER = 2**32


class Bounded:
    """Sends no frame that the other side would refuse: it would look like the replica's death."""

    __slots__ = ("_transport",)

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """See `frames.Writer`: what comes here is short."""
        self._transport.write(data)

    def writelines(self, list_of_data: Iterable[Part]) -> None:
        """See `frames.Writer`.

        Raises:
            RequestTooLargeError: The parts are too long for one frame.
        """
        parts = list(list_of_data)
        size_bytes = sum([len(part) for part in parts])
        if size_bytes > MAX_BYTES:
            raise RequestTooLargeError(size_bytes, MAX_BYTES)
        self._transport.writelines(parts)


class InBand:
    """Becomes its value where it is unpickled, with every array inside the pickle."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return pickle.loads, (pickle.dumps(self._value, protocol=5),)


class Wire(asyncio.BufferedProtocol):
    """The gateway's side of it."""

    def __init__(self, key: bytes) -> None:
        self.trusted = asyncio.Event()
        """Set once both sides have proved themselves, or the connection is lost."""
        self.lost = asyncio.Event()
        self.waiting: dict[int, Landed] = {}
        self.wait_s = 0.0
        self._failures = 0
        self._spared_until_s = 0.0
        self._overdue_at_s: dict[int, float] = {}
        self._handshake = Handshake(key, GATEWAY)
        self._greeting = b""
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader()
        self._numbers = itertools.count()
        self.is_leaving = False
        """Whether one of the sides has said that it goes."""

    @property
    def is_open(self) -> bool:
        """Whether it takes batches."""
        return self.trusted.is_set() and not self.is_leaving and not self.lost.is_set()

    @property
    def is_failing(self) -> bool:
        """Whether it has failed so often of late that another replica should be asked.

        After a while it is sent one batch to see whether it still does.
        """
        if self._failures < MOST_FAILURES:
            return False
        return bool(self.waiting) or self._loop.time() < self._spared_until_s

    @property
    def is_overdue(self) -> bool:
        """Whether a batch has waited so long that the replica may hang."""
        now_s = asyncio.get_running_loop().time()
        return any(at_s < now_s for at_s in self._overdue_at_s.values())

    def begin(self, question: tuple[Any, ...], landed: Landed) -> Callable[[], object]:
        """Send a batch; see `VersionTransport.begin`.

        Raises:
            RequestTooLargeError: It does not fit a frame.
        """
        number = next(self._numbers) % MAX_NUMBER
        self._send(Kind.ASK, number, question)
        self.waiting[number] = landed
        _, _, _, timeout_s, *_ = question  # a pool's say also which version is meant
        self._overdue_at_s[number] = self._loop.time() + max(LEAST_OVERDUE_S, OVERDUE * timeout_s)
        return partial(self._give_up, number)

    def _give_up(self, number: int) -> None:
        overdue_at_s = self._overdue_at_s.get(number)
        landed = self._settled(number)
        if landed is not None:
            overdue_s = self._loop.time() - (overdue_at_s or math.inf)
            if overdue_s > 0:
                # Its thread may hang, and an empty line there would invite the next batch, which
                # would wait as long.
                self._failed(MOST_FAILURES, spared_s=2 * overdue_s)
            self._send(Kind.CANCEL, number)
            self._loop.call_soon(landed, asyncio.CancelledError())

    def _settled(self, number: int) -> Landed | None:
        """Wait for this answer no longer; returns who did, if anybody."""
        landed = self.waiting.pop(number, None)
        self._overdue_at_s.pop(number, None)
        if self.is_leaving:
            self.close_when_answered()
        return landed

    def _failed(self, times: int, spared_s: float = 0.0) -> None:
        self._failures += times
        self._spared_until_s = self._loop.time() + max(SPARED_S, spared_s)

    def close_when_answered(self) -> None:
        """Take no more batches, and close once those under way are answered."""
        self.is_leaving = True
        if not self.waiting and self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def _send(self, kind: Kind, number: int, value: Any = None) -> None:
        if self._transport is None or self.lost.is_set():
            return
        bounded = self._bounded
        try:
            send_frame(bounded, kind, number, value)
        except struct.error:  # a head has no room for so many arrays
            send_frame(bounded, kind, number, InBand(value))

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the replica's greeting."""
        self._transport = transport
        self._bounded = Bounded(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for an answer."""
        self.lost.set()
        self.trusted.set()  # whoever waits for it looks at `lost`, too
        for number in list(self.waiting):
            landed = self._settled(number)
            if landed is not None:
                landed(ReplicaGoneError("its connection was lost"))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where the next bytes go."""
        return self._frames.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take the greeting, then answers."""
        try:
            if self.trusted.is_set():
                frames = self._frames.took(nbytes)
            else:
                frames = self._frames.feed(self._check(bytes(self._frames.room()[:nbytes])))
            for frame in frames:
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
            if self._transport is not None:
                self._transport.write(self._handshake.nonce + proof)
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
        if frame.kind is Kind.ANSWER:
            ending: Prediction | FleetError = Prediction.of(*frame.value)
        elif frame.kind is Kind.FAILURE and isinstance(frame.value, FleetError):
            ending = frame.value
        else:
            raise FrameError(f"{frame.kind.name} is not a replica's to send")
        landed = self._settled(frame.number)
        if landed is None:
            return  # given up meanwhile
        if isinstance(ending, Prediction):
            self.wait_s = ending.wait_s
            self._failures = 0
        else:
            self._failed(1)
        landed(ending)
