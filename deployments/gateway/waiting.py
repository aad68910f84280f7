"""A request on its way through a queue: what it waits for, how long, and who is told the end.

Who asks is called, and waits for no future: making one, having it call back in a later turn
of the loop, and a timer for each request cost as much as decoding the request.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from deployments.gateway.joining import AnyRequest, Shape
from deployments.gateway.transport import Landed
from deployments.gateway.weighing import weight
from deployments.protocols.tensors import Batch, Outputs
from deployments.telemetry import Labels

if TYPE_CHECKING:
    from deployments.gateway.traces import RequestSpan

SWEEP_S = 0.001
"""Shortest time between two looks at what has expired, seconds."""


_WITH_MODEL = "time_with_model_s"


class BatchAnswer:
    """What a version answered to a batch; the requests in it share it."""

    __slots__ = ("outputs", "predict_s", "rows", "weight", "written")

    def __init__(self, outputs: Outputs, rows: int, predict_s: float) -> None:
        self.outputs = outputs
        self.rows = rows
        self.predict_s = predict_s
        self.weight = weight(outputs)
        """See `weighing`; for a batch once, so that its requests need not be weighed each."""
        self.written: Any = None
        """Whatever the first of its requests made of it for all of them."""


class Share(msgspec.Struct, gc=False):
    """One request's rows of a batch's answer."""

    batch: BatchAnswer
    start: int
    stop: int

    alone: bool
    """Whether it was the only one, so that all is its own, however many rows that is."""

    @property
    def outputs(self) -> Outputs:
        """Its rows."""
        whole = self.batch.outputs
        return whole if self.alone else whole.rows(self.start, self.stop)


Ending = Share | BaseException
"""How a wait ends: with an answer, an error, or `CancelledError` where the loop ends."""


def settle(end: "asyncio.Future[Outputs]", ending: Ending) -> None:
    """Tell who waits for a future."""
    if end.done():
        return  # cancelled in this turn of the loop
    if isinstance(ending, Share):
        end.set_result(ending.outputs)
    elif isinstance(ending, asyncio.CancelledError):
        end.cancel()
    else:
        end.set_exception(ending)


class Sender(Protocol):
    """Whose request it is, as far as anybody may want to know."""

    @property
    def routing_key(self) -> str | None:
        """The header's; None or empty without one."""
        ...

    @property
    def given_id(self) -> str:
        """Names the request where its body does not."""
        ...

    @property
    def logged_id(self) -> bytes:
        """Names the request in log lines; Latin-1."""
        ...

    @property
    def span(self) -> "RequestSpan | None":
        """Its span; None where it is not traced."""
        ...


class Onlooker(Protocol):
    """Sees every batch that a version has answered."""

    def saw(self, batch: "Sequence[Waiting]", answer: BatchAnswer) -> None:
        """Look at a batch whose requests have been told. Must be quick."""
        ...


class BatchTraces(Protocol):
    """Makes the spans of batches, such as `traces.RequestTraces`."""

    def launched(
        self, items: "Sequence[Waiting]", batch: Batch, landed: Landed, labels: Labels
    ) -> tuple[Batch, Landed]:
        """Note that a batch is sent; gives what to send, and who is to hear of its end."""
        ...


def _nothing() -> None:
    pass


class Flight(msgspec.Struct, eq=False):
    """A batch on its way."""

    batch: "list[Waiting]"
    started_s: float

    waiting: int
    """How many still wait for it."""

    give_up: Callable[[], object] = _nothing
    """Ends it; to be called when nobody waits for it any more."""


class Waiting:
    """One request on its way through a queue."""

    __slots__ = (
        "arrived_s", "deadline_s", "ended", "expires_s", "flight", "group", "lost", "request",
        "sender", "shape", "told",
    )  # fmt: skip

    def __init__(
        self,
        request: AnyRequest,
        shape: Shape,
        told: Callable[[Ending], None],
        arrived_s: float,
        deadline_s: float,
        sender: Sender | None = None,
    ) -> None:
        self.request = request
        self.sender = sender
        self.shape = shape
        self.told = told
        self.arrived_s = arrived_s
        self.deadline_s = deadline_s
        self.expires_s = arrived_s + deadline_s
        self.lost = self.ended = False
        self.group: object = None
        """Of those that must be sent again together, and with no others; None for all others."""
        self.flight: Flight | None = None


def note_time_with_model(error: BaseException, waiting: Waiting, now_s: float) -> None:
    """Write down how long a request was at a replica when it was given up, for `time_with_model_s`.

    Beside the error's own fields: whoever else raises it knows of no replica.
    """
    if waiting.flight is not None:
        error.__dict__[_WITH_MODEL] = now_s - waiting.flight.started_s


def time_with_model_s(error: BaseException) -> float:
    """How long the request was at a replica; 0 where it was not, or nobody knows."""
    seconds: float = error.__dict__.get(_WITH_MODEL, 0.0)
    return seconds


class Deadlines:
    """Finds what has expired, with one timer for all. One event loop owns it."""

    def __init__(self, expire: Callable[[Waiting], None], clock: Callable[[], float]) -> None:
        """Begin without a request.

        Args:
            expire: Called once for each request that is still here when its time is over, at
                most `SWEEP_S` late.
            clock: Seconds.
        """
        self._expire = expire
        self._clock = clock
        self._pending: set[Waiting] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0

    def add(self, waiting: Waiting) -> None:
        """Watch over a request."""
        self._pending.add(waiting)
        # Most have the same time, so that the first one's timer comes early enough for all.
        if self._timer is None or waiting.expires_s < self._due_s:
            self._arm(waiting.expires_s)

    def discard(self, waiting: Waiting) -> None:
        """Watch over a request no longer."""
        self._pending.discard(waiting)

    def _arm(self, due_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._due_s = due_s
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(max(0.0, due_s - self._clock()), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now_s = self._clock()
        for waiting in [each for each in self._pending if each.expires_s <= now_s]:
            self._expire(waiting)
        if self._pending and self._timer is None:
            first_s = min(each.expires_s for each in self._pending)
            self._arm(max(first_s, now_s + SWEEP_S))
