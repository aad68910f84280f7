"""What the express port does not take from clients, and what it says to them."""

import json
from collections.abc import Iterable

MAX_HEAD_BYTES = 64 * 1024
"""Longest request line with its headers; whatever sends more is no client."""

UNWANTED = {b"upgrade", b"http2-settings"}
"""Headers by which clients offer another protocol; we go on with this one, as Serve does."""


def without_upgrade(
    method: bytes, url: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """Write a request's head anew without the offer of another protocol."""
    lines = [b"%b %b HTTP/%b" % (method, url, version)]
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            kept = b", ".join(token for token in tokens if token.lower() not in UNWANTED)
            lines.append(b"connection: %b" % kept)
        elif name not in UNWANTED:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])


def _refusal(status: bytes, message: str) -> bytes:
    body = json.dumps({"error": message}).encode()
    head = b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-type: application/json\r\n" % status
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


TOO_LATE = _refusal(b"408 Request Timeout", "the request did not arrive whole in time")
TOO_LONG = _refusal(
    b"431 Request Header Fields Too Large",
    f"the request's head is longer than {MAX_HEAD_BYTES} bytes",
)
