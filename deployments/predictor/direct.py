"""A replica's own door: batches arrive here without Serve's work for each call.

The gateways learn of it through the routing table. Serve knows nothing of these batches, so
what it does for its own is done here: a batch that nobody waits for any more is dropped, and
a replica that leaves says so first and answers what it has.
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from deployments.errors import FleetError, PredictionError
from deployments.predictor.prediction import Prediction
from deployments.protocols.frames import (
    ANSWER_BYTES,
    GATEWAY,
    NONCE_BYTES,
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

PROOF_TIMEOUT_S = 5.0
"""A connection that has not proved itself by then is closed, seconds."""

POLL_S = 0.02

SUFFIX = ".replica"
"""Of the Unix sockets' names."""

PROBE_TIMEOUT_S = 1.0

Predict = Callable[..., Awaitable[Prediction]]
"""A batch, who asks, that gateway's queue depth, and in a pool also the version."""

PredictAtOnce = Callable[..., Prediction | None]
"""The same without waiting; None where it takes so long that the loop must go on meanwhile."""


def never_at_once(*_: Any) -> None:
    """Leave every batch to `Predict`."""


class DirectDoor:
    """The listening sockets of one replica. One event loop owns it."""

    def __init__(
        self,
        predict: Predict,
        model: str,
        version: str,
        at_once: PredictAtOnce = never_at_once,
    ) -> None:
        """Prepare, without listening yet.

        Args:
            predict: Answers a batch.
            model: For what is said of faults of ours.
            version: As above.
            at_once: Answers one without a task for it, where it can.
        """
        self._predict = predict
        self._at_once = at_once
        self._model = model
        self._version = version
        self._key = secrets.token_bytes(32)
        self._servers: list[asyncio.Server] = []
        self._peers: set[_Peer] = set()
        self._path: Path | None = None
        self._is_leaving = False

    async def open(
        self, replica: str, node: str, host: str, folder: Path, actor: str = ""
    ) -> Endpoint:
        """Listen on a Unix socket and on a TCP port of this node.

        Args:
            replica: Serve's id, unique on the node.
            node: Ray's id of the node.
            host: Its address as other nodes know it.
            folder: For the Unix socket; its path must be short.
            actor: Ray's id of the replica.

        Raises:
            OSError: One of them cannot be had.
        """
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(_remove_what_killed_ones_left, folder)
        path = folder / f"{replica}{SUFFIX}"
        self._servers.append(await loop.create_unix_server(self._peer, str(path)))
        self._path = path
        server = await loop.create_server(self._peer, host, 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return Endpoint(replica, node, str(path), host, port, self._key.hex(), actor)

    async def drain(self, timeout_s: float) -> None:
        """Leave: take no more batches, answer those under way, close.

        Args:
            timeout_s: How long those may take, seconds.
        """
        self._close_doors()
        self._is_leaving = True
        for peer in self._peers:
            peer.say_leaving()
        loop = asyncio.get_running_loop()
        due_s = loop.time() + timeout_s
        while any(peer.busy for peer in self._peers) and loop.time() < due_s:
            await asyncio.sleep(POLL_S)
        for peer in list(self._peers):
            peer.close()

    def welcome(self, peer: "_Peer") -> None:
        """Count a gateway that has proved itself."""
        self._peers.add(peer)
        if self._is_leaving:
            peer.say_leaving()

    def forget(self, peer: "_Peer") -> None:
        """Count no longer a gateway that is gone."""
        self._peers.discard(peer)

    def _close_doors(self) -> None:
        for server in self._servers:
            server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _peer(self) -> "_Peer":
        return _Peer(self, self._predict, self._at_once, self._key, self._model, self._version)


def _remove_what_killed_ones_left(folder: Path) -> None:
    for path in folder.glob(f"*{SUFFIX}"):
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.settimeout(PROBE_TIMEOUT_S)
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:  # nobody listens there any more
                path.unlink(missing_ok=True)


class _Peer(asyncio.BufferedProtocol):
    """One gateway's connection."""

    def __init__(
        self,
        door: DirectDoor,
        predict: Predict,
        at_once: PredictAtOnce,
        key: bytes,
        model: str,
        version: str,
    ) -> None:
        self._predict = predict
        self._at_once = at_once
        self._door = door
        self._model = model
        self._version = version
        self._handshake = Handshake(key, REPLICA)
        self._greeting = b""
        self._is_trusted = False
        self._frames = FrameReader()
        self._tasks: dict[int, asyncio.Task[None]] = {}

    @property
    def busy(self) -> bool:
        return bool(self._tasks)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._unproved = self._loop.call_later(PROOF_TIMEOUT_S, transport.abort)
        transport.write(self._handshake.nonce)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unproved.cancel()
        self._door.forget(self)
        for task in self._tasks.values():
            task.cancel()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._frames.room()

    def buffer_updated(self, nbytes: int) -> None:
        try:
            if self._is_trusted:
                frames = self._frames.took(nbytes)
            else:
                frames = self._frames.feed(self._check(bytes(self._frames.room()[:nbytes])))
            for frame in frames:
                self._take(frame)
        except FrameError as error:
            # Not a warning before it has proved itself: anybody on the network could flood us.
            level = logging.WARNING if self._is_trusted else logging.DEBUG
            logger.log(level, "direct: closing a connection: %s", error)
            self._transport.abort()

    def say_leaving(self) -> None:
        self._send(Kind.LEAVING, 0)

    def close(self) -> None:
        self._transport.close()

    def _check(self, data: bytes) -> bytes:
        """Take the gateway's nonce and proof; returns what came after them."""
        self._greeting += data
        if len(self._greeting) < ANSWER_BYTES:
            return b""
        nonce, proof = self._greeting[:NONCE_BYTES], self._greeting[NONCE_BYTES:ANSWER_BYTES]
        self._handshake.check(GATEWAY, proof)
        self._transport.write(self._handshake.prove(nonce))
        self._unproved.cancel()
        self._is_trusted = True
        self._door.welcome(self)
        return self._greeting[ANSWER_BYTES:]

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.ASK:
            self._ask(frame.number, *frame.value)
        elif frame.kind is Kind.CANCEL:
            task_or_none = self._tasks.get(frame.number)
            if task_or_none is not None:
                # Not at once: cancelled before its first step, it would be busy for ever.
                self._loop.call_soon(task_or_none.cancel)
        else:
            raise FrameError(f"{frame.kind.name} is not a gateway's to send")

    def _ask(
        self,
        number: int,
        plain: tuple[Any, ...],
        gateway: str,
        depth: int,
        timeout_s: float,
        *target: Any,
    ) -> None:
        batch = Batch.of(*plain)
        try:
            prediction = self._at_once(batch, gateway, depth, *target)
        except Exception as error:  # noqa: BLE001, the boundary: a fault of ours is answered, too
            self._fail(number, error)
            return
        if prediction is not None:
            self._send(Kind.ANSWER, number, prediction.plain())
            return
        answer = self._answer(number, timeout_s, batch, gateway, depth, *target)
        self._tasks[number] = self._loop.create_task(answer)

    async def _answer(self, number: int, timeout_s: float, *question: Any) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                prediction = await self._predict(*question)
            self._send(Kind.ANSWER, number, prediction.plain())
        except TimeoutError:
            return  # the gateway has given up as well
        except Exception as error:  # noqa: BLE001, as above
            self._fail(number, error)
        finally:
            self._tasks.pop(number, None)

    def _send(self, kind: Kind, number: int, value: Any = None) -> None:
        # Put together first: a model may write its next answer into the same memory.
        self._transport.write(encode_frame(kind, number, value))

    def _fail(self, number: int, error: Exception) -> None:
        if not isinstance(error, FleetError):
            logger.error("a batch could not be answered", exc_info=error)
            reason = f"{type(error).__name__}: {error}"
            error = PredictionError(self._model, self._version, reason)
        self._send(Kind.FAILURE, number, error)
