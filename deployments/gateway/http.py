"""The few words of ASGI that the gateway speaks: read a request whole, write an answer whole."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import msgspec

from deployments.errors import MalformedRequestError, RequestTooLargeError
from deployments.gateway.budget import Hold
from deployments.protocols.infer_envelope import MAX_DIGITS

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

Headers = MutableMapping[bytes, bytes]
"""By lower-case name; the last of several wins, as none that we read may repeat."""

JSON = b"application/json"

BLANKS = b" \t"
"""May stand before and behind a header's value, which the parser leaves behind it."""


class ClientGoneError(Exception):
    """The connection closed before the request was complete; there is nobody to answer."""


class Answer(msgspec.Struct, frozen=True):
    """A complete HTTP answer."""

    status: int
    body: bytes

    content_type: bytes | None = JSON
    """None where `headers` has it."""

    headers: tuple[tuple[bytes, bytes], ...] = ()


def header_text(headers: Headers, name: bytes) -> str | None:
    """A header as text; None when it is not there."""
    value = headers.get(name)
    return value.decode("latin-1") if value is not None else None


async def read_body(headers: Headers, receive: Receive, limit_bytes: int, hold: Hold) -> bytes:
    """Read a request's body.

    Args:
        headers: The request's.
        receive: ASGI's.
        limit_bytes: Longest that is read.
        hold: Grows with the body: at once where its length is declared.

    Raises:
        UnavailableError: There is no room for it now.
        RequestTooLargeError: It is longer than `limit_bytes`, or says so.
        MalformedRequestError: Its Content-Length is no number.
        ClientGoneError: The client left before the end.
    """
    hold.grow(_declared(headers, limit_bytes))
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > limit_bytes:
            raise RequestTooLargeError(size, limit_bytes)
        hold.grow(size)
        if not message.get("more_body", False):
            return b"".join([*chunks, chunk]) if chunks else chunk
        chunks.append(chunk)


def answer_head(
    status_line: bytes, lines: Iterable[tuple[bytes, bytes]], answer: Answer, *, ends: bool
) -> bytes:
    """Write an answer's head.

    Args:
        status_line: With its line end.
        lines: Headers beside the answer's own.
        answer: What follows.
        ends: Whether the connection ends with it.
    """
    own = answer.headers
    if answer.content_type is not None:
        own = (*own, (b"content-type", answer.content_type))
    length = b"content-length: %d\r\n" % len(answer.body)
    each = [b"%b: %b\r\n" % line for line in (*lines, *own)]
    return b"".join([status_line, length, *each, b"connection: close\r\n\r\n" if ends else b"\r\n"])


async def send_answer(send: Send, answer: Answer) -> None:
    """Write an answer; its length is always declared."""
    headers = [(b"content-length", b"%d" % len(answer.body)), *answer.headers]
    if answer.content_type is not None:
        headers.append((b"content-type", answer.content_type))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Say that all is well, until the server ends."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _declared(headers: Headers, limit_bytes: int) -> int:
    said = headers.get(b"content-length")
    if said is None:
        return 0
    declared = said.strip(BLANKS)
    if not declared.isdigit() or len(declared) > MAX_DIGITS:
        raise MalformedRequestError(f"Content-Length {declared[:40]!r} must be a whole number")
    if int(declared) > limit_bytes:
        raise RequestTooLargeError(int(declared), limit_bytes)
    return int(declared)
