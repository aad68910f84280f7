"""What Serve's own port leaves out: senders that take for ever, and headers that are no text.

It is also where a gateway hears that it may take a connection over from Serve (`past_serve`).

Behind Ray Serve 2.60's port a body may take as long as it likes, and holds one of the requests
that a gateway may have in flight; HAProxy ends only connections that are silent (`haproxy`).
And a request's id that is not UTF-8 makes Serve fail before it asks the gateway.
"""

import asyncio
from collections.abc import Callable, Iterable

from starlette.middleware import Middleware
from starlette.types import ASGIApp

from deployments.errors import SlowRequestError
from deployments.gateway.http import Message, Receive, Scope, Send

READ_TIMEOUT_S = 60.0
"""Longest time for a request's body to arrive where no express port says how long, seconds."""

DECODED = {
    b"x-request-id", b"x-request-timeout-seconds", b"x-request-disconnect-disabled",
    b"x-session-id", b"x_session_id", b"serve_multiplexed_model_id", b"serve-multiplexed-model-id",
    b"traceparent", b"tracestate",
}  # fmt: skip
"""Headers that Serve takes for UTF-8, in lower case."""


def limited(receive: Receive, timeout_s: float) -> Receive:
    """Limit how long the rest of a request may take.

    Args:
        receive: ASGI's; the request's head was read just now.
        timeout_s: Longest time until the last byte of the body, seconds.

    Returns:
        The same, which raises a SlowRequestError once the time is over.
    """
    due_s = asyncio.get_running_loop().time() + timeout_s

    async def receive_in_time() -> Message:
        try:
            async with asyncio.timeout_at(due_s):
                return await receive()
        except TimeoutError:
            raise SlowRequestError(timeout_s) from None

    return receive_in_time


def middlewares() -> list[Middleware]:
    """What Serve puts before its own; `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names this."""
    return [Middleware(TextHeaders), Middleware(Handover)]


class Heir:
    """Who is told of connections at Serve's port, in a process that has a gateway."""

    told: Callable[[Receive], None] | None = None
    """Called with ASGI's `receive` of a request that Serve has answered."""


class Handover:
    """Tells the heir of each request that Serve has answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI."""
        await self._app(scope, receive, send)
        if Heir.told is not None and scope["type"] == "http":
            Heir.told(receive)


class TextHeaders:
    """Escapes what is not UTF-8 in headers that Serve takes for it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI."""
        headers = scope.get("headers", ())
        if not all(value.isascii() for _, value in headers):
            scope["headers"] = _as_text(headers)
        await self._app(scope, receive, send)


def _as_text(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [
        (name, value.decode(errors="backslashreplace").encode() if name in DECODED else value)
        for name, value in headers
    ]
