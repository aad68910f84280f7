"""One connection to the express port: uvicorn's, and what it leaves out.

Uvicorn waits for ever for a first byte and for the rest of a request, takes heads of any
length, goes on with the work for a client that left, and takes what follows an `Upgrade` for
the next request. Serve has proxies before it that see to all that; here nobody else does.

Short inference requests leave out uvicorn's cycle, ASGI's messages and a task each
(`ShortCycle`). A linear model's request with 32 connections and a replica of its own costs the
gateway 89 to 100 µs of CPU instead of 110 to 125; bare uvicorn with the model inside takes 48.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from deployments.gateway.http import Answer, Headers, Scope
from deployments.gateway.http_call import inference_path
from deployments.protocols.infer_envelope import MAX_DIGITS

DISCARD_S = 0.5
"""How long the rest of a request that is answered already is read and dropped, seconds."""

ANSWERING = "rayfleet.answering"
"""Entry of a request's scope: its connection, and uvicorn's state of it."""

MAX_HEAD_BYTES = 64 * 1024
"""Longest request line with its headers; whatever sends more is no client."""

MOST_IN_A_ROW = 16
"""Requests of one connection that may wait for the one before them; no more are read."""

UNWANTED = {b"upgrade", b"http2-settings"}
"""Headers by which clients offer another protocol; we go on with this one, as Serve does."""


SHORT_BODY_BYTES = 64 * 1024
"""A body this long is read before anybody works on its request."""


class _Nobody:
    """An event that nobody waits for."""

    def set(self) -> None:
        pass


NOBODY = _Nobody()


class ShortCycle:
    """Stands for uvicorn's state of a request, where the request is short.

    Its body is there before anybody works on it, and its answer is written at once, so that
    it needs no scope, no messages and no event.
    """

    __slots__ = (
        "disconnected", "headers", "keep_alive", "model", "more_body", "on_response", "parts",
        "path", "response_complete", "response_started", "version", "waiting_for_100_continue",
    )  # fmt: skip

    method = "POST"
    scope: Mapping[str, Any] = {"method": method}
    message_event = NOBODY

    def __init__(
        self,
        path: str,
        target: tuple[str, str | None],
        headers: Headers,
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        self.path = path
        self.model, self.version = target
        self.on_response = on_response
        self.waiting_for_100_continue = False
        self.headers = headers
        self.keep_alive = keep_alive
        self.parts: list[bytes] = []
        self.more_body = True
        self.disconnected = False
        self.response_started = self.response_complete = False

    def body(self) -> bytes:
        """All of it."""
        return self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)


AnyCycle = RequestResponseCycle | ShortCycle

Work = Callable[["Connection", ShortCycle], asyncio.Future[Any] | None]
"""Answers a short request; gives what ends the work on it, unless that is done."""


def _refusal(status: bytes, message: str) -> bytes:
    body = json.dumps({"error": message}).encode()
    head = b"HTTP/1.1 %b\r\nconnection: close\r\ncontent-type: application/json\r\n" % status
    return head + b"content-length: %d\r\n\r\n%b" % (len(body), body)


TOO_LATE = _refusal(b"408 Request Timeout", "the request did not arrive whole in time")
TOO_LONG = _refusal(
    b"431 Request Header Fields Too Large",
    f"the request's head is longer than {MAX_HEAD_BYTES} bytes",
)


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, and what it leaves out: bad senders, and clients that leave."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, read_timeout_s: float, work: Work
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._timeout_s = read_timeout_s
        self._work_on = work
        self._partial = False
        self._in_head = False
        self._is_deaf = False
        self._head_bytes = 0
        self._work: tuple[asyncio.Future[Any], AnyCycle] | None = None
        self._late: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None

    def begin(self, cycle: RequestResponseCycle) -> None:
        """Remember who works on which request."""
        task = asyncio.current_task()
        if task is not None:
            self._work = task, cycle

    def end(self) -> None:
        """Nobody works on a request."""
        self._work = None

    def announce_end(self) -> None:
        """Let the answer to a request in flight say that the connection ends with it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def abort(self) -> None:
        """Close without waiting for a client that does not read."""
        self.transport.abort()

    async def deliver(self, cycle: AnyCycle, request_id: bytes, last: bool, answer: Answer) -> None:
        """Write an answer once the client reads."""
        if self.flow.write_paused and not cycle.disconnected:
            await self._until_it_reads()
        self._write(cycle, request_id, last, answer)

    def deliver_soon(
        self, cycle: ShortCycle, request_id: bytes, last: bool, answer: Answer
    ) -> None:
        """Write the answer to a short request, or see to it that it will be written."""
        self._work = None
        if self.flow.write_paused and not cycle.disconnected:
            task = self.loop.create_task(self.deliver(cycle, request_id, last, answer))
            self._work = task, cycle
        else:
            self._write(cycle, request_id, last, answer)

    def _write(self, cycle: AnyCycle, request_id: bytes, last: bool, answer: Answer) -> None:
        """Write an answer whole, and do what uvicorn's `send` does around that.

        Its way, header by header, took a fifth of a cheap request's time in the gateway. Our
        own headers are well-formed, and the request's id has been through the parser.

        Args:
            cycle: Uvicorn's state of the request that is answered.
            request_id: Goes back to the client.
            last: Whether the connection ends with this answer.
            answer: What to write.
        """
        if cycle.disconnected:
            return
        unread = cycle.more_body  # answered before it was read whole
        if last or unread:
            cycle.keep_alive = False
        lines = [
            STATUS_LINE[answer.status],
            *(b"%b: %b\r\n" % header for header in self.server_state.default_headers),
            b"content-length: %d\r\nx-request-id: %b\r\n" % (len(answer.body), request_id),
            *(b"%b: %b\r\n" % header for header in answer.headers),
        ]
        if answer.content_type is not None:
            lines.append(b"content-type: %b\r\n" % answer.content_type)
        lines.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            lines.append(answer.body)
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"".join(lines))
        cycle.message_event.set()
        if unread:
            # Closed at once, the kernel would reset the connection under a client that has
            # not read its answer.
            self._end_after(DISCARD_S, self._close)
        elif not cycle.keep_alive:
            self._close()
        cycle.on_response()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait_for_request()

    def on_message_begin(self) -> None:
        """The parser found the first byte of a request."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._partial = self._in_head = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """The parser found the end of a request's head."""
        self._in_head = False
        if self.parser.should_upgrade():
            return  # `data_received` begins anew without it
        target = self._short_target()
        if target is not None:
            keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
            path = self.url.decode("ascii")
            self.cycle = ShortCycle(  # type: ignore[assignment]
                path, target, dict(self.headers), keep_alive, self.on_response_complete
            )
            return
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()  # makes a scope
        self.url, self.headers, self.expect_100_continue = url, headers, expects
        self.scope["headers"] = headers
        super().on_headers_complete()
        if 0 < len(self.pipeline) < MOST_IN_A_ROW:
            self.flow.resume_reading()  # else nobody would notice that the client leaves
        scope: Scope = self.scope  # type: ignore[assignment]
        # With requests in a row, the cycle at hand is not always the one to answer.
        scope[ANSWERING] = self, self.cycle

    def on_body(self, body: bytes) -> None:
        """The parser found a part of a request's body."""
        cycle: Any = self.cycle
        if isinstance(cycle, ShortCycle):
            cycle.parts.append(body)
        elif not self.parser.should_upgrade():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser found the end of a request."""
        self._partial = False
        cycle: Any = self.cycle
        if isinstance(cycle, ShortCycle):
            if not cycle.response_complete:
                self._begin_short(cycle)
        elif not self.parser.should_upgrade():
            super().on_message_complete()

    def _short_target(self) -> tuple[str, str | None] | None:
        """The model and version that a short request asks; None if it goes the longer way."""
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # an earlier one comes first
        if self.parser.get_method() != b"POST" or self.expect_100_continue:
            return None
        if not self.url.isascii() or b"%" in self.url or b"?" in self.url or b"#" in self.url:
            return None
        length = next((value for name, value in self.headers if name == b"content-length"), b"")
        if not length.isdigit() or len(length) > MAX_DIGITS or int(length) > SHORT_BODY_BYTES:
            return None
        return inference_path(self.url.decode("ascii"))

    def _begin_short(self, cycle: ShortCycle) -> None:
        cycle.more_body = False
        work = self._work_on(self, cycle)
        if work is not None:
            self._work = work, cycle

    def data_received(self, data: bytes) -> None:
        """Read on, and limit how long the rest may take."""
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(TOO_LONG)
                return
        if not self._partial:
            self._forget(self._late)
            self._late = None
            self._wait_for_request()
        elif self._late is None:
            self._late = self.loop.call_later(self._timeout_s, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up what nobody waits for any more."""
        self._forget(self._late)
        self._forget(self._ending)
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        if self._work is not None:
            task, cycle = self._work
            if not cycle.response_complete:
                cycle.disconnected = True
                task.cancel()

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read the same request again as if it had not offered another protocol.

        The parser takes all that follows such a head for the other protocol's, so that a
        body would become the next request.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("Invalid HTTP request received.")
            return
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                kept = b", ".join(token for token in tokens if token.lower() not in UNWANTED)
                lines.append(b"connection: %b" % kept)
            elif name not in UNWANTED:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join([*lines, b"", b""]) + rest)

    def _wait_for_request(self) -> None:
        """Limit the silence before a request; uvicorn does so only after an answer."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if is_idle and self.timeout_keep_alive_task is None and not self.transport.is_closing():
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    async def _until_it_reads(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self.flow.drain()
        except TimeoutError:
            self.abort()

    def _give_up(self) -> None:
        self._late = None
        if self.transport.is_closing():
            return
        if self._work is not None and (self._in_head or self._work[1] is not self.cycle):
            # An earlier request is still to be answered, in its turn.
            self._late = self.loop.call_later(self._timeout_s, self._give_up)
            return
        self._refuse(TOO_LATE)

    def _refuse(self, answer: bytes) -> None:
        if self._in_head or self.cycle is None or not self.cycle.response_complete:
            self.transport.write(answer)
        self._is_deaf = True
        self._end_after(DISCARD_S, self._close)

    def _close(self) -> None:
        self.transport.close()
        # Which waits for a client to read what is left.
        self._end_after(self._timeout_s, self.transport.abort)

    def _end_after(self, delay_s: float, how: Callable[[], None]) -> None:
        self._forget(self._ending)
        self._ending = self.loop.call_later(delay_s, how)

    @staticmethod
    def _forget(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()
