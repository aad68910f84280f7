"""One connection to the express port: uvicorn's, and what it leaves out.

Uvicorn waits for ever for a first byte and for the rest of a request, takes heads of any
length, goes on with the work for a client that left, and takes what follows an `Upgrade` for
the next request. Serve has proxies before it that see to all that; here nobody else does.

Short inference requests leave out uvicorn's cycle, ASGI's messages and a task each
(`ShortCycle`); those that come in one piece with a head that has come before leave out the
parser, too (`heads`), and flat ones the general way to an answer (`flat_calls`).
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)
from uvicorn.server import ServerState

from deployments.gateway.cycles import Cycle, Door, ShortCycle
from deployments.gateway.heads import KnownHead, known_head
from deployments.gateway.http import Answer, Headers, Scope, answer_head
from deployments.gateway.http_call import Short
from deployments.gateway.refusals import MAX_HEAD_BYTES, TOO_LATE, TOO_LONG, without_upgrade

DISCARD_S = 0.5
"""How long the rest of a request that is answered already is read and dropped, seconds."""

ANSWERING = "rayfleet.answering"
"""Entry of a request's scope: its connection, and uvicorn's state of it."""

MOST_IN_A_ROW = 16
"""Requests of one connection that may wait for the one before them; no more are read."""

MOST_AT_ONCE = 256
"""As many of those that were read together are answered; then the connection ends."""


class Connection(HttpToolsProtocol):
    """Uvicorn's connection, and what it leaves out: bad senders, and clients that leave."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, read_timeout_s: float, door: Door
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._timeout_s = read_timeout_s
        self._door = door
        self._partial = False
        self._in_head = False
        self._is_deaf = False
        self._head_bytes = self._n_begun = 0
        self._piece: bytes | None = None
        self._idle_since_s: float | None = None
        self._work: tuple[Callable[[], object], Cycle] | None = None
        self._late: asyncio.TimerHandle | None = None
        self._ending: asyncio.TimerHandle | None = None

    def begin(self, cycle: RequestResponseCycle) -> None:
        """Remember who works on which request."""
        task = asyncio.current_task()
        if task is not None:
            self._work = task.cancel, cast("Cycle", cycle)

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

    async def deliver(self, cycle: Cycle, request_id: bytes, last: bool, answer: Answer) -> None:
        """Write an answer once the client reads."""
        if self.flow.write_paused and not cycle.disconnected:
            await self._until_it_reads()
        self._write(cycle, request_id, last, answer)

    def deliver_soon(self, cycle: Cycle, request_id: bytes, last: bool, answer: Answer) -> None:
        """Write the answer to a short request, or see to it that it will be written."""
        self._work = None
        if self.flow.write_paused and not cycle.disconnected:
            task = self.loop.create_task(self.deliver(cycle, request_id, last, answer))
            self._work = task.cancel, cycle
        else:
            self._write(cycle, request_id, last, answer)

    def write_flat(self, cycle: Cycle, request_id: bytes, lines: bytes, body: bytes) -> bool:
        """Write a good answer to a flat request, if the client reads and may go on asking.

        Args:
            cycle: The request.
            request_id: Goes back to the client.
            lines: What the head says of the answer beside its length.
            body: What to write.

        Returns:
            Whether it was written.
        """
        if self.flow.write_paused or cycle.disconnected or not cycle.keep_alive:
            return False
        first = self._door.first_lines(self.server_state.default_headers)
        self.transport.write(
            b"%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b"
            % (first, len(body), request_id, lines, body)
        )
        self._work = None
        cycle.response_complete = True
        if self.pipeline:
            self.on_response_complete()
        else:
            self._wait_for_request()
        return True

    def _write(self, cycle: Cycle, request_id: bytes, last: bool, answer: Answer) -> None:
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
        lines = [*self.server_state.default_headers, (b"x-request-id", request_id)]
        head = answer_head(STATUS_LINE[answer.status], lines, answer, ends=not cycle.keep_alive)
        has_body = cycle.scope["method"] != "HEAD"
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        self.transport.write(head + answer.body if has_body else head)
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
        self._n_begun += 1

    def on_headers_complete(self) -> None:
        """The parser found the end of a request's head."""
        self._in_head = False
        if self._is_deaf or self.parser.should_upgrade():
            return  # without the upgrade, `data_received` begins anew
        if len(self.pipeline) >= MOST_AT_ONCE:
            self.cycle.keep_alive = False
            self._is_deaf = True
            return
        short = self._short_target()
        if short is not None:
            keep_alive = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
            self._expect_short(self.url.decode("ascii"), short, dict(self.headers), keep_alive)
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
        elif not (self._is_deaf or self.parser.should_upgrade()):
            super().on_body(body)

    def on_message_complete(self) -> None:
        """The parser found the end of a request."""
        self._partial = False
        cycle: Any = self.cycle
        if isinstance(cycle, ShortCycle):
            if not cycle.response_complete:
                self._learn(cycle)
                self._begin_short(cycle)
        elif not (self._is_deaf or self.parser.should_upgrade()):
            super().on_message_complete()

    def _short_target(self) -> Short | None:
        """See `Door.short_target`."""
        if self.cycle is not None and not self.cycle.response_complete:
            return None  # an earlier one comes first
        if self.parser.get_method() != b"POST" or self.expect_100_continue:
            return None
        return self._door.short_target(self.url, self.headers)

    def _expect_short(
        self, path: str, short: Short, headers: Headers, keep_alive: bool
    ) -> ShortCycle:
        cycle = ShortCycle(path, short, headers, keep_alive, self.on_response_complete)
        self.cycle = cycle  # type: ignore[assignment]
        return cycle

    def _begin_short(self, cycle: ShortCycle) -> None:
        cycle.more_body = False
        give_up = self._door.answer_soon(self, cycle)
        if give_up is not None:
            self._work = give_up, cycle

    def _learn(self, cycle: ShortCycle) -> None:
        """Remember the head of a request that came alone and in one piece."""
        if self._piece is None or not cycle.keep_alive:
            return
        head = known_head(cycle.path, (cycle.model, cycle.version), cycle.headers)
        if head is not None:
            self._door.heads.learn(self._piece, cycle.body(), head)

    def _begin_known(self, head: KnownHead, body: bytes) -> None:
        """Answer a request whose head needs no parsing."""
        working = self._door.answer_flat(self, head, body)
        if working is None:
            short = head.target, None
            cycle = self._expect_short(head.path, short, dict(head.headers), keep_alive=True)
            cycle.parts.append(body)
            self._begin_short(cycle)
            return
        self.cycle = working  # type: ignore[assignment]
        if not working.response_complete:
            self._work = working.give_up, working

    def data_received(self, data: bytes) -> None:
        """Read on, and limit how long the rest may take."""
        if self._is_deaf:
            return
        self._idle_since_s = None
        is_new = not self._partial and (self.cycle is None or self.cycle.response_complete)
        if is_new:
            known = self._door.heads.find(data)
            if known is not None:
                self._begin_known(*known)
                return
        self._piece = data if is_new else None
        if self._parse(data):
            self._limit_the_rest()

    def _parse(self, data: bytes) -> bool:
        """Find the requests in it; returns whether there may be more to come."""
        self._n_begun = int(self._partial)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
            return False
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return False
        # Behind the end of an earlier request, nobody says where in it this one began.
        if self._in_head and self._n_begun == 1:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(TOO_LONG)
                return False
        return True

    def _limit_the_rest(self) -> None:
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
        cycle: Any = self.cycle
        if isinstance(cycle, ShortCycle):
            cycle.let_go()
        if self._work is not None:
            give_up, cycle = self._work
            if not cycle.response_complete:
                cycle.disconnected = True
                give_up()

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._wait_for_request()

    def timeout_keep_alive_handler(self) -> None:
        """Close what has been silent for too long; or look again, since one timer serves all."""
        self.timeout_keep_alive_task = None
        if self._idle_since_s is not None:
            left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
            if left_s <= 0:
                super().timeout_keep_alive_handler()
            else:
                self._look_after(left_s)

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
        head = without_upgrade(method, self.url, version, self.headers)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(head + rest)

    def _wait_for_request(self) -> None:
        """Limit the silence before a request; uvicorn does so only after an answer."""
        if self.cycle is None or self.cycle.response_complete:
            self._idle_since_s = self.loop.time()
            if self.timeout_keep_alive_task is None and not self.transport.is_closing():
                self._look_after(self.timeout_keep_alive)

    def _look_after(self, delay_s: float) -> None:
        handler = self.timeout_keep_alive_handler
        self.timeout_keep_alive_task = self.loop.call_later(delay_s, handler)

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
        cycle: Any = self.cycle
        if self._work is not None and (self._in_head or self._work[1] is not cycle):
            # An earlier request is still to be answered, in its turn.
            self._late = self.loop.call_later(self._timeout_s, self._give_up)
            return
        if self._in_head or not isinstance(cycle, ShortCycle) or cycle.response_complete:
            self._refuse(TOO_LATE)
        else:
            self._is_deaf = True
            self._door.too_late(self, cycle, self._timeout_s)

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
