"""The frames between a gateway and a replica on their own connection.

A connection begins with a handshake in which each side proves that it knows the replica's
key, and neither says it (`Handshake`). Then frames go both ways: a kind, a number that an
answer shares with its question, and one value, pickled with its arrays' bytes beside it.
Pickle runs code, as it does on every connection of Ray's own; that is why nothing is
unpickled before the other side has proved itself.
"""

import hmac
import pickle
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

HEAD = struct.Struct("!BIIH")
"""Kind, number, length of the pickle in bytes, and how many buffers follow it."""

LENGTH = struct.Struct("!Q")
"""Length of one buffer, bytes. All lengths stand between the head and the pickle."""

MAX_BYTES = 2**31 - 1
"""Of one frame; whoever announces more is out of step."""

NONCE_BYTES = 32
PROOF_BYTES = 32
ANSWER_BYTES = NONCE_BYTES + PROOF_BYTES


class Kind(IntEnum):
    """What a frame means."""

    ASK = 1
    """A batch to predict; from the gateway."""

    CANCEL = 2
    """Nobody waits for the batch of this number any more; from the gateway."""

    ANSWER = 3
    """The prediction for the batch of this number; from the replica."""

    FAILURE = 4
    """The error that the batch of this number met; from the replica."""

    LEAVING = 5
    """Send no more batches, those under way will be answered; from the replica."""


KINDS = frozenset(int(kind) for kind in Kind)


class FrameError(Exception):
    """The other side is out of step, or did not prove itself."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message."""

    kind: Kind
    number: int
    value: Any


def encode_frame(kind: Kind, number: int, value: Any = None) -> bytes:
    """Write a frame."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    try:
        raw = [buffer.raw() for buffer in buffers]
    except BufferError:  # not contiguous: inside the pickle, then
        body, raw = pickle.dumps(value, protocol=5), []
    head = HEAD.pack(kind, number, len(body), len(raw))
    return b"".join([head, *(LENGTH.pack(len(each)) for each in raw), body, *raw])


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take what arrived; yields each frame that is complete with it.

        Raises:
            FrameError: The bytes are no frames.
        """
        if self._kept:
            self._kept += data
            data = bytes(self._kept) if self._is_complete() else b""
            if not data:
                return
            self._kept.clear()
        view = memoryview(data)
        start = 0
        while True:
            frame, size = _read(view[start:])
            if frame is None:
                break
            start += size
            yield frame
        self._kept += view[start:]

    def _is_complete(self) -> bool:
        """Whether a first frame is whole: a large one is not looked through at every piece."""
        needed = _size(memoryview(self._kept))
        return needed is not None and len(self._kept) >= needed


class Handshake:
    """One side's part of the proof: HMAC-SHA256 over the other side's nonce and one's role."""

    def __init__(self, key: bytes, role: bytes) -> None:
        self._key = key
        self._role = role
        self.nonce = secrets.token_bytes(NONCE_BYTES)

    def prove(self, nonce: bytes) -> bytes:
        """Answer the other side's nonce."""
        return hmac.digest(self._key, self._role + nonce, "sha256")

    def check(self, role: bytes, proof: bytes) -> None:
        """Check the other side's answer to ours.

        Raises:
            FrameError: It does not know the key.
        """
        expected = hmac.digest(self._key, role + self.nonce, "sha256")
        if not hmac.compare_digest(proof, expected):
            raise FrameError("the other side does not know the key")


GATEWAY, REPLICA = b"gateway", b"replica"
"""Roles in the handshake."""


def _size(view: memoryview) -> int | None:
    """Length of the frame that begins here; None while its lengths have not arrived."""
    if len(view) < HEAD.size:
        return None
    kind, _, body, n_buffers = HEAD.unpack_from(view)
    if kind not in KINDS:
        raise FrameError(f"no frame begins with {kind}")
    start = HEAD.size + n_buffers * LENGTH.size
    if len(view) < start:
        return None
    lengths = (LENGTH.unpack_from(view, HEAD.size + n * LENGTH.size)[0] for n in range(n_buffers))
    size: int = start + body + sum(lengths)
    if size > MAX_BYTES:
        raise FrameError(f"a frame of {size} bytes, at most {MAX_BYTES} are read")
    return size


def _read(view: memoryview) -> tuple[Frame | None, int]:
    size = _size(view)
    if size is None or len(view) < size:
        return None, 0
    kind, number, body_bytes, n_buffers = HEAD.unpack_from(view)
    at = HEAD.size + n_buffers * LENGTH.size
    body, at = view[at : at + body_bytes], at + body_bytes
    buffers = []
    for n in range(n_buffers):
        (length,) = LENGTH.unpack_from(view, HEAD.size + n * LENGTH.size)
        # Copies: aligned, writable, and no reason to keep the rest of the stream.
        buffers.append(bytearray(view[at : at + length]))
        at += length
    try:
        value = pickle.loads(body, buffers=buffers)  # noqa: S301, from who knows the key
    except Exception as error:  # noqa: BLE001, whatever unpickling meets
        raise FrameError(f"cannot be read: {type(error).__name__}: {error}") from None
    return Frame(Kind(kind), number, value), size
