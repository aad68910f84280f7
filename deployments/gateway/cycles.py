"""Between a connection of the express port and who answers: requests, and both sides' faces.

Uvicorn's own state of a request costs a scope, an event and messages back and forth. A short
request's body is there before anybody works on it, and its answer is written at once.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from deployments.gateway.budget import Hold
from deployments.gateway.heads import Heads, KnownHead
from deployments.gateway.http import Answer, Headers
from deployments.gateway.http_call import Short


class Nobody:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Happen."""


NOBODY = Nobody()


class ShortCycle:
    """Stands for uvicorn's state of a request, where the request is short.

    Its body is there before anybody works on it, and its answer is written at once, so that
    it needs no scope, no messages and no event.
    """

    __slots__ = (
        "disconnected", "headers", "hold", "keep_alive", "model", "more_body", "on_response",
        "parts", "path", "response_complete", "response_started", "version",
        "waiting_for_100_continue",
    )  # fmt: skip

    method = "POST"
    scope: Mapping[str, Any] = {"method": method}
    message_event = NOBODY

    def __init__(
        self,
        path: str,
        short: Short,
        headers: Headers,
        keep_alive: bool,
        on_response: Callable[[], None],
    ) -> None:
        self.path = path
        (self.model, self.version), self.hold = short
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

    def let_go(self) -> Hold | None:
        """Forget a large body, and what it took: the connection may be idle for long hereafter."""
        hold, self.hold, self.parts = self.hold, None, []
        return hold


class Cycle(Protocol):
    """What a connection has to do with a request, as uvicorn's own class has it."""

    scope: Mapping[str, Any]
    message_event: Any
    keep_alive: bool
    more_body: bool
    disconnected: bool
    response_started: bool
    response_complete: bool
    waiting_for_100_continue: bool

    def on_response(self) -> None:
        """Tell the connection that it has been answered."""
        ...


class Working(Cycle, Protocol):
    """A request that is being answered."""

    def give_up(self) -> None:
        """End the work on it."""
        ...


class Answered(Protocol):
    """The side of a connection that answers see."""

    flow: FlowControl

    def on_response_complete(self) -> None:
        """Go on with the next request."""
        ...

    def write_flat(self, cycle: Any, request_id: bytes, lines: bytes, body: bytes) -> bool:
        """Write a good answer, if the client reads; returns whether it does."""
        ...

    def deliver_soon(self, cycle: Any, request_id: bytes, last: bool, answer: Answer) -> None:
        """Write any answer, once the client reads."""
        ...


class Door(Protocol):
    """Who answers the requests of all connections to one port."""

    heads: Heads

    def short_target(self, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Short | None:
        """See `http_call.short_inference`."""
        ...

    def answer_soon(self, connection: Answered, cycle: "ShortCycle") -> Callable[[], object] | None:
        """Answer a short request; gives what ends the work on it, unless that is done."""
        ...

    def too_late(self, connection: Answered, cycle: "ShortCycle", timeout_s: float) -> None:
        """Answer a short request that did not arrive whole within its time, seconds."""
        ...

    def answer_flat(self, connection: Answered, head: KnownHead, body: bytes) -> Working | None:
        """Answer a flat request; None leaves it to `answer_soon`."""
        ...

    def first_lines(self, default_headers: list[tuple[bytes, bytes]]) -> bytes:
        """The first lines of good answers."""
        ...
