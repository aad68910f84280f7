"""Short requests at a port of the gateway's: what each connection asks of it (`cycles.Door`)."""

import itertools
import secrets
from collections.abc import Callable, Iterable
from functools import partial

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from deployments.errors import SlowRequestError
from deployments.gateway.app import GatewayApp
from deployments.gateway.calls import REQUEST_ID
from deployments.gateway.cycles import Answered, ShortCycle
from deployments.gateway.flat_calls import FlatCall, FlatCalls
from deployments.gateway.heads import Heads, KnownHead
from deployments.gateway.http import Answer
from deployments.gateway.http_call import HttpCall, Short, short_inference


class ShortDoor:
    """Answers the short requests of all connections to one port. One event loop owns it."""

    def __init__(self, app: GatewayApp, draining: Callable[[], bool]) -> None:
        """Begin with nothing known of clients.

        Args:
            app: What answers.
            draining: Whether connections end with the next answer.
        """
        self.heads = Heads()
        self._app = app
        self._draining = draining
        self._first_half = secrets.token_hex(8).encode()
        self._numbers = itertools.count(secrets.randbits(63))
        self._flat = FlatCalls(app, draining, self._new_id)
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._first_lines = b""

    def answer_soon(self, connection: Answered, cycle: ShortCycle) -> Callable[[], object] | None:
        """Answer a short request; returns what ends the work on it, if there is any left."""
        call, deliver = self._call(connection, cycle)
        return self._app.respond_soon(call, cycle.model, cycle.version, deliver)

    def too_late(self, connection: Answered, cycle: ShortCycle, timeout_s: float) -> None:
        """See `Door.too_late`."""
        call, deliver = self._call(connection, cycle)
        self._app.fail_soon(call, cycle.model, SlowRequestError(timeout_s), deliver)

    def short_target(self, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Short | None:
        """See `Door.short_target`."""
        return short_inference(url, headers, self._app.budget, self._app.max_body_bytes)

    def answer_flat(self, connection: Answered, head: KnownHead, body: bytes) -> FlatCall | None:
        """Answer a flat request; None leaves it to `answer_soon`."""
        return self._flat.begin(connection, head, body)

    def first_lines(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """The first lines of good answers; with the date in them, they change each second."""
        if default_headers is not self._default_headers:
            self._default_headers = default_headers
            lines = [b"%b: %b\r\n" % header for header in default_headers]
            self._first_lines = b"".join([STATUS_LINE[200], *lines])
        return self._first_lines

    def _call(
        self, connection: Answered, cycle: ShortCycle
    ) -> tuple[HttpCall, Callable[[Answer], None]]:
        call = HttpCall(
            method=cycle.method, path=cycle.path, headers=cycle.headers, body=cycle.body()
        )
        if cycle.hold is not None:
            call.hold = cycle.let_go()
        return call, partial(connection.deliver_soon, cycle, self.name(call), self._draining())

    def name(self, call: HttpCall) -> bytes:
        """The request's id: its own, or a new one."""
        request_id = call.headers.get(REQUEST_ID)
        if not request_id:
            request_id = call.headers[REQUEST_ID] = self._new_id()
        return request_id

    def _new_id(self) -> bytes:
        return b"%b%016x" % (self._first_half, next(self._numbers) % 2**64)
