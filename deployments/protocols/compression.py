"""Content codings of request and response bodies: gzip, deflate and identity.

Source:
    RFC 9110, sections 8.4.1 (codings) and 12.5.3 (Accept-Encoding).
"""

import gzip
import zlib
from collections.abc import Iterator

from deployments.errors import (
    MalformedRequestError,
    RequestTooLargeError,
    UnsupportedMediaError,
)

LEVEL = 1
"""Effort of compression; more costs a multiple of the time for a few percent of the size."""

MIN_BYTES = 1024
"""Shortest body that is worth compressing: below, it fits a packet anyway."""


def decompress(body: bytes, content_encoding: str | None, limit_bytes: int) -> bytes:
    """Undo the coding of a request body.

    Args:
        body: As received.
        content_encoding: The header's value; None if there is none.
        limit_bytes: Largest result, so that a small bomb cannot fill the memory.

    Raises:
        UnsupportedMediaError: The coding is none of ours, or there is more than one.
        RequestTooLargeError: The result would be larger than `limit_bytes`.
        MalformedRequestError: The body is not what the header says.
    """
    codings = [coding.strip().lower() for coding in (content_encoding or "").split(",")]
    applied = [coding for coding in codings if coding not in ("", "identity")]
    if len(applied) > 1:
        raise UnsupportedMediaError(
            f"content encoding {content_encoding!r:.80} names {len(applied)} codings, expected one"
        )
    if applied:
        body = _decompress_one(body, applied[0], limit_bytes)
    if len(body) > limit_bytes:
        raise RequestTooLargeError(len(body), limit_bytes)
    return body


def compress(body: bytes, accept_encoding: str | None) -> tuple[bytes, str | None]:
    """Compress a response body if the caller prefers that and it is long enough.

    Returns:
        The body and the value of `Content-Encoding`, None where the body is unchanged.
    """
    coding = preferred_coding(accept_encoding) if len(body) >= MIN_BYTES else None
    match coding:
        case "gzip":
            return gzip.compress(body, LEVEL, mtime=0), coding
        case "deflate":
            return zlib.compress(body, LEVEL), coding
        case _:
            return body, None


def preferred_coding(accept_encoding: str | None) -> str | None:
    """Choose gzip or deflate by the caller's q-values; None for neither.

    Equal values go to gzip, which nobody misreads: some take deflate for a bare stream.
    """
    weights = dict(_weights(accept_encoding or ""))
    anything = weights.get("*", 0.0)
    best = max(("gzip", "deflate"), key=lambda coding: weights.get(coding, anything))
    weight = weights.get(best, anything)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def _decompress_one(body: bytes, coding: str, limit_bytes: int) -> bytes:
    match coding:
        case "gzip" | "x-gzip":
            return _inflate(body, coding, limit_bytes, 16 + zlib.MAX_WBITS)
        case "deflate":
            # The RFC wants a zlib header; clients exist that send the bare stream.
            bare = len(body) < 2 or body[0] & 0x0F != 8 or (body[0] << 8 | body[1]) % 31
            return _inflate(body, coding, limit_bytes, -zlib.MAX_WBITS if bare else zlib.MAX_WBITS)
        case _:
            raise UnsupportedMediaError(
                f"content encoding {coding[:40]!r} is not supported, "
                "expected gzip, deflate or identity"
            )


def _inflate(body: bytes, coding: str, limit_bytes: int, window_bits: int) -> bytes:
    inflater = zlib.decompressobj(window_bits)
    try:
        inflated = inflater.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise _corrupt(coding) from None
    if len(inflated) > limit_bytes:
        raise RequestTooLargeError(len(inflated), limit_bytes)
    # One gzip member only: reading thousands of empty ones in a row costs quadratic time.
    if not inflater.eof or inflater.unused_data:
        raise _corrupt(coding)
    return inflated


def _corrupt(coding: str) -> MalformedRequestError:
    return MalformedRequestError(
        f"body is corrupt or cut off, expected what content encoding {coding!r} names"
    )


def _weights(accept_encoding: str) -> Iterator[tuple[str, float]]:
    for entry in accept_encoding.lower().split(","):
        coding, _, parameter = entry.partition(";")
        name, _, value = parameter.partition("=")
        try:
            weight = float(value) if name.strip() == "q" else 1.0
        except ValueError:
            weight = 0.0
        if coding.strip():
            yield coding.strip(), weight
