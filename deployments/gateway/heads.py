"""The heads of requests that clients send again and again, with what they were found to say.

A client that goes on asking sends the same bytes up to the body each time, but for its length,
which changes with every number in it. What the parser made of them once need not be found out
again: parsing 120 bytes takes eight calls back from it. Beside that length nothing is parsed here,
so nobody can be misled by a second parser: where a line of the head that the parser took for the
length is the same but for its digits, and all else is the same, these are the length.

While lengths were part of what is known, numbers of many digits sent to 500 models made more heads
than are kept, and all were parsed each time (`python -m benchmarks.pool`).
"""

import msgspec

from deployments.errors import MalformedRequestError
from deployments.gateway.calls import REQUEST_ID, REQUEST_TIMEOUT, ROUTING_KEY, timeout_s
from deployments.gateway.http import Headers, header_text
from deployments.gateway.http_call import HEADER_LENGTH, SHORT_BODY_BYTES

MOST_HEADS = 4096
"""Kept at a time; when there are more, all are forgotten. Who sends new ones each time, such
as an id for each request, gains nothing and costs little."""

LONGEST_HEAD_BYTES = 2048

END = b"\r\n\r\n"

LENGTHS = (b"\r\nContent-Length: ", b"\r\ncontent-length: ")
"""How the line with the length begins; written in another way, it is left to the parser."""


class KnownHead(msgspec.Struct, frozen=True):
    """What the head of a short inference request says."""

    target: tuple[str, str | None]
    """Model, and version where the path pins one."""

    path: str
    headers: Headers
    """Without the length."""

    request_id: bytes | None
    routing_key: str | None
    timeout_s: float

    accepts: bool
    """Whether a long answer might be compressed."""


def known_head(path: str, target: tuple[str, str | None], headers: Headers) -> KnownHead | None:
    """Say what a head says, for requests to come; None if they need a closer look each time."""
    if HEADER_LENGTH in headers or b"content-encoding" in headers:
        return None
    try:
        waits_s = timeout_s(header_text(headers, REQUEST_TIMEOUT))
    except MalformedRequestError:
        return None
    return KnownHead(
        target=target,
        path=path,
        headers={name: value for name, value in headers.items() if name != b"content-length"},
        request_id=headers.get(REQUEST_ID) or None,
        routing_key=header_text(headers, ROUTING_KEY) or None,
        timeout_s=waits_s,
        accepts=b"accept-encoding" in headers,
    )


class Heads:
    """What all connections to one port have seen. One event loop owns it."""

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, bytes], KnownHead] = {}

    def find(self, data: bytes) -> tuple[KnownHead, bytes] | None:
        """Split a request into its known head and its body; None if it is not just that."""
        end = data.find(END, 0, LONGEST_HEAD_BYTES)
        first, last = _digits(data, end)
        head = self._known.get((data[:first], data[last:end])) if first > 0 else None
        if head is None:
            return None
        digits, body = data[first:last], data[end + len(END) :]
        if not digits.isdigit() or len(body) != int(digits) or len(body) > SHORT_BODY_BYTES:
            return None
        return head, body

    def learn(self, data: bytes, body: bytes, head: KnownHead) -> None:
        """Remember the head of a request that the parser took for one with this body.

        Args:
            data: The whole request, in one piece and nothing behind it.
            body: What the parser says its body is.
            head: What it says.
        """
        end = data.find(END, 0, LONGEST_HEAD_BYTES)
        first, last = _digits(data, end)
        # The parser might have ended the head earlier, at two bare line feeds.
        if first <= 0 or data[end + len(END) :] != body or data[first:last] != b"%d" % len(body):
            return
        if len(self._known) >= MOST_HEADS:
            self._known.clear()
        self._known[data[:first], data[last:end]] = head


def _digits(data: bytes, end: int) -> tuple[int, int]:
    """Where the length of the body stands in a head, from and to; 0 and 0 where it does not."""
    if end <= 0:
        return 0, 0
    at = data.find(LENGTHS[0], 0, end)
    if at < 0:
        at = data.find(LENGTHS[1], 0, end)
    if at < 0:
        return 0, 0
    first = at + len(LENGTHS[0])
    last = data.find(b"\r", first, end)
    return first, last if last >= 0 else end
