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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

HEAD = struct.Struct("!BIIH")
"""Kind, number, length of the pickle in bytes, and how many buffers follow it."""

LENGTH = struct.Struct("!Q")
"""Length of one buffer, bytes. All lengths stand between the head and the pickle."""

LARGE_BYTES = 128 * 1024
"""A frame this long is not gathered piece by piece, nor put together by `send_frame`: each
copy of a megabyte into fresh memory costs as much as a cheap model's prediction."""

PIECE_BYTES = 64 * 1024
"""Most that is read of a stream at once where no large frame is on its way."""

ALIGNMENT = 16
"""Of a large frame's arrays where possible, bytes: what NumPy's own memory has."""

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


Part = bytes | memoryview
"""Of a frame."""


class Writer(Protocol):
    """Where frames go, such as `asyncio.Transport`."""

    def write(self, data: bytes) -> None:
        """Send bytes, now or later."""
        ...

    def writelines(self, list_of_data: Iterable[Part]) -> None:
        """Send parts one after the other."""
        ...


def encode_frame(kind: Kind, number: int, value: Any = None) -> bytes:
    """Write a frame."""
    return b"".join(_parts(kind, number, value))


def send_frame(to: Writer, kind: Kind, number: int, value: Any = None) -> None:
    """Write a frame, and send it.

    Args:
        to: May keep a large frame's arrays until they are sent.
        kind: The frame's.
        number: The frame's.
        value: Its arrays must not change from now on.
    """
    parts = _parts(kind, number, value)
    if sum([len(part) for part in parts]) < LARGE_BYTES:
        to.write(b"".join(parts))
    else:
        to.writelines(parts)


def _parts(kind: Kind, number: int, value: Any) -> list[Part]:
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    try:
        raw = [buffer.raw() for buffer in buffers]
    except BufferError:  # not contiguous: inside the pickle, then
        body, raw = pickle.dumps(value, protocol=5), []
    head = HEAD.pack(kind, number, len(body), len(raw))
    return [head, *[LENGTH.pack(len(each)) for each in raw], body, *raw]


class FrameReader:
    """Cuts a stream of bytes into frames. What arrives is written where `room` says."""

    def __init__(self) -> None:
        self._piece = memoryview(bytearray(PIECE_BYTES))
        self._kept = b""
        self._large: memoryview | None = None
        self._n_taken = 0
        """Of the large frame, bytes."""

    def room(self) -> memoryview:
        """Where the next bytes go; never empty."""
        return self._piece if self._large is None else self._large[self._n_taken :]

    def took(self, size: int) -> Iterator[Frame]:
        """Learn how many bytes were written there; yields each frame complete with them.

        Raises:
            FrameError: The bytes are no frames.
        """
        if self._large is None:
            yield from self._cut(self._kept + self._piece[:size])
            return
        self._n_taken += size
        if self._n_taken == len(self._large):
            whole, self._large = self._large, None
            frame, _ = _read(whole, in_place=True)
            if frame is not None:
                yield frame

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take what arrived elsewhere; yields as `took` does."""
        rest = memoryview(data)
        while rest:
            room = self.room()[: len(rest)]
            room[:] = rest[: len(room)]
            rest = rest[len(room) :]
            yield from self.took(len(room))

    def _cut(self, data: bytes) -> Iterator[Frame]:
        view = memoryview(data)
        start = 0
        while True:
            frame, size = _read(view[start:], in_place=False)
            if frame is None:
                break
            start += size
            yield frame
        size = _size(view[start:]) or 0
        if size < LARGE_BYTES:
            self._kept = data[start:]
            return
        self._kept = b""
        _, _, body_bytes, n_buffers = HEAD.unpack_from(view, start)
        padding = -(HEAD.size + n_buffers * LENGTH.size + body_bytes) % ALIGNMENT
        self._large = memoryview(bytearray(padding + size))[padding:]
        self._n_taken = len(view) - start
        self._large[: self._n_taken] = view[start:]


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


def _read(view: memoryview, *, in_place: bool) -> tuple[Frame | None, int]:
    """Read the frame that begins here; None while it is not complete.

    Args:
        view: With nothing else where the next says so.
        in_place: Whether its arrays may stay where they are.
    """
    size = _size(view)
    if size is None or len(view) < size:
        return None, 0
    kind, number, body_bytes, n_buffers = HEAD.unpack_from(view)
    at = HEAD.size + n_buffers * LENGTH.size
    body, at = view[at : at + body_bytes], at + body_bytes
    first = at
    buffers: list[bytearray | memoryview] = []
    for n in range(n_buffers):
        (length,) = LENGTH.unpack_from(view, HEAD.size + n * LENGTH.size)
        stays = in_place and (at - first) % ALIGNMENT == 0
        # Else copies: aligned, writable, and no reason to keep the rest of the stream.
        buffers.append(view[at : at + length] if stays else bytearray(view[at : at + length]))
        at += length
    try:
        value = pickle.loads(body, buffers=buffers)  # noqa: S301, from who knows the key
    except Exception as error:  # noqa: BLE001, whatever unpickling meets
        raise FrameError(f"cannot be read: {type(error).__name__}: {error}") from None
    return Frame(Kind(kind), number, value), size
