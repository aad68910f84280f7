"""Join the requests for one version into batches, and take the answers apart again.

A batch goes out when a replica is free: an idle fleet adds no wait, a busy one gathers what
arrives meanwhile. Whether a free replica waits for company is learned (`window`), unless
`batch_wait_timeout_s` fixes it: a fixed millisecond doubles a forest's throughput and ruins
a linear model at one connection (DESIGN section 4).

A request is retried once, alone, when its replica died; and a batch in which the model
raised is run again in halves, so that one bad row fails only its own request, and a percent of
bad rows leaves the others most of what batching gives them.
"""

import asyncio
import logging
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from deployments.errors import (
    DeadlineExceededError,
    OverloadedError,
    PredictionError,
    ReplicaLostError,
    RequestTooLargeError,
)
from deployments.gateway.batch_counts import count_batch, count_time
from deployments.gateway.batch_limit import LARGEST_ROWS, BatchLimit, suited
from deployments.gateway.company import Company
from deployments.gateway.joining import AnyRequest, shape_of
from deployments.gateway.line import Line, join_waiting
from deployments.gateway.transport import Landed, ReplicaGoneError, VersionTransport
from deployments.gateway.waiting import (
    BatchAnswer,
    BatchTraces,
    Deadlines,
    Ending,
    Flight,
    Onlooker,
    Sender,
    Share,
    Waiting,
    note_time_with_model,
    settle,
)
from deployments.gateway.window import AdaptiveWindow
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch, Outputs, Request, has_nan
from deployments.telemetry import IN_FLIGHT, Cell, Counters, Labels
from deployments.traffic.table import Batching

logger = logging.getLogger(__name__)

CALLS_LEFT = 1.5
"""Typical calls that a request needs the time for, so that its answer is not in vain."""


@dataclass(slots=True, eq=False)
class VersionQueue:
    """The requests of one version at one gateway. One event loop owns it."""

    model: str
    version: str
    track: str
    transport: VersionTransport
    batching: Batching
    replicas: int
    counters: Counters
    clock: Callable[[], float]
    onlookers: tuple[Onlooker, ...] = ()
    traces: BatchTraces | None = None

    _window: AdaptiveWindow = field(default_factory=AdaptiveWindow)
    _limit: BatchLimit = field(default_factory=BatchLimit)
    _company: Company = field(default_factory=Company)
    _line: Line = field(default_factory=Line)
    _in_flight: int = 0
    _requests_in_flight: int = 0
    _pump_due: asyncio.Handle | None = None
    _pump_is_next: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _deadlines: Deadlines = field(init=False)
    _unanswered: Cell = field(init=False)

    def __post_init__(self) -> None:
        self._deadlines = Deadlines(self._expire, self.clock)
        self._unanswered = self._gauge()

    async def answer(
        self, request: Request, deadline_s: float, sender: Sender | None = None
    ) -> Outputs:
        """Queue a request and wait for its outputs.

        Args:
            request: Checked against the version's signature.
            deadline_s: Longest wait from now, seconds.
            sender: Whose it is, for onlookers.

        Raises:
            OverloadedError: The queue is full.
            DeadlineExceededError: No answer in time.
            PredictionError: The model raised for this request alone.
            ReplicaLostError: Two replicas died under it.
            ModelNotReadyError: The version is going away.
        """
        end: asyncio.Future[Outputs] = asyncio.get_running_loop().create_future()
        waiting = self.put(request, deadline_s, partial(settle, end), sender)
        try:
            return await end
        except asyncio.CancelledError as cancelled:
            note_time_with_model(cancelled, waiting, self.clock())
            raise
        finally:
            self.give_up(waiting)

    def put(
        self,
        request: AnyRequest,
        deadline_s: float,
        told: Callable[[Ending], None],
        sender: Sender | None = None,
    ) -> Waiting:
        """Queue a request.

        Args:
            request: As for `answer`.
            deadline_s: As above.
            told: Called once with how it ended, unless it is given up before: with what
                `answer` gives or raises. Must not raise.
            sender: As for `answer`.

        Raises:
            OverloadedError: The queue is full.
        """
        limit = self.batching.max_queued_requests
        if len(self._line) >= limit:
            raise OverloadedError(self.model, limit)
        now_s = self.clock()
        waiting = Waiting(request, shape_of(request), told, now_s, deadline_s, sender)
        self._line.join(waiting)
        self._deadlines.add(waiting)
        self._unanswered.value += 1
        self._window.arrived(len(self._line) + self._requests_in_flight)
        self._pump_soon()
        return waiting

    def give_up(self, waiting: Waiting) -> None:
        """Forget a request for whose answer nobody waits any more; nothing if it has ended."""
        if not waiting.ended:
            self._end(waiting)
            self._leave(waiting)

    @property
    def depth(self) -> int:
        """Requests waiting or in flight."""
        return len(self._line) + self._requests_in_flight

    @property
    def has_line(self) -> bool:
        """Whether requests wait to be sent."""
        return bool(self._line)

    def resize(self, track: str, batching: Batching, replicas: int) -> None:
        """Take new settings; requests that wait are judged by them from now on."""
        unanswered, self._unanswered.value = self._unanswered.value, 0.0
        self.track = track
        self._unanswered = self._gauge()
        self._unanswered.value += unanswered
        self.batching = batching
        self.replicas = replicas
        self._pump_soon()

    @property
    def _labels(self) -> Labels:
        return self.model, self.version, self.track

    def _gauge(self) -> Cell:
        return self.counters.cell(IN_FLIGHT, self._labels)

    def _end(self, waiting: Waiting) -> None:
        waiting.ended = True
        self._deadlines.discard(waiting)
        self._unanswered.value -= 1

    def _tell(self, waiting: Waiting, ending: Ending) -> None:
        if not waiting.ended:
            self._end(waiting)
            waiting.told(ending)

    def _expire(self, waiting: Waiting) -> None:
        self._leave(waiting)
        error = DeadlineExceededError(self.model, waiting.deadline_s)
        note_time_with_model(error, waiting, self.clock())
        self._tell(waiting, error)

    def _leave(self, waiting: Waiting) -> None:
        """Give up a place in the line, or the batch in flight that nobody else waits for."""
        flight = waiting.flight
        if flight is None:
            self._line.leave(waiting)
            return
        flight.waiting -= 1
        if flight.waiting == 0:
            flight.give_up()
            now_s = self.clock()
            if now_s - flight.started_s > self._window.typical_s:  # leaving early says nothing
                count_time(self.counters, self._labels, flight.batch, now_s)

    def _pump_soon(self, delay_s: float = 0.0) -> None:
        # On the next turn of the loop, so that requests read in this turn share a batch.
        if self._pump_due is not None:
            if delay_s or self._pump_is_next:
                return
            self._pump_due.cancel()
        loop = asyncio.get_running_loop()
        self._pump_is_next = delay_s == 0
        if delay_s:
            self._pump_due = loop.call_later(delay_s, self._pump)
        elif self._overlaps() and self._window.expects_company:
            self._pump_due = loop.call_soon(self._pump_in_the_next_turn)
        else:
            self._pump_due = loop.call_soon(self._pump)

    def _pump_in_the_next_turn(self) -> None:
        self._pump_due = asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = None
        self._pump_is_next = False
        slots = self._slots()
        while self._line and self._in_flight < slots:
            most_rows = self._most_rows(slots)
            wait_s = self._company_wait_s(slots, most_rows)
            if wait_s > 0:
                self._pump_soon(wait_s)
                return
            self._company.leave()
            passed = self.batching.max_batch_size or LARGEST_ROWS
            batch = self._line.take(most_rows, passed, self._hopeless_s())
            if batch:
                self._launch(batch)

    def _slots(self) -> int:
        """Batches that may be in flight at a time."""
        each = self.batching.max_concurrent_batches or (2 if self._overlaps() else 1)
        own = self.transport.own_copies
        # While scaled to zero, one batch goes ahead and wakes the version; where a copy in
        # this process answers, only once it leaves more in line than it takes at a time.
        wakes = own == 0 or len(self._line) >= self._most_rows(own)
        return own + max(self.replicas, int(wakes)) * each

    def _most_rows(self, slots: int) -> int:
        """Most rows that may share the next batch; a larger request goes alone."""
        batching = self.batching
        most = batching.max_batch_size or suited(self._line.rows, slots, self._window.predict_s)
        return self._limit.most_rows(most, batching.latency_target_s)

    def _overlaps(self) -> bool:
        """Whether the replica should have the next batch before it has answered this one."""
        return self.transport.is_cheap and self._window.is_quick

    def _company_wait_s(self, slots: int, most_rows: int) -> float:
        """How much longer the requests in line should wait for others, seconds."""
        first = self._line.first
        if first.group is not None or self._line.rows >= most_rows:
            return 0.0
        window_s = None if self._overlaps() else partial(self._window_s, slots)
        return self._company.wait_s(first.arrived_s, self.clock(), self.batching, window_s)

    def _window_s(self, slots: int) -> float:
        return self._window.length_s(len(self._line), self._requests_in_flight, slots)

    def _hopeless_s(self) -> float:
        """When a request must not expire before, to be worth a place in a batch, if another is.

        Where requests come faster than a version answers, and the line is longer than their
        deadlines, its head is always about to expire: every batch would be answered to nobody.
        """
        soon_s = self.clock() + CALLS_LEFT * self._window.typical_s
        # With nobody to prefer, the next call may be quicker than the typical one.
        return soon_s if self._line.last.expires_s >= soon_s else 0.0

    def _launch(self, batch: list[Waiting]) -> None:
        flight = Flight(batch, self.clock(), len(batch))
        for item in batch:
            item.flight = flight
        self._window.sent()
        depth = self.depth + len(batch)
        self._in_flight += 1
        self._requests_in_flight += len(batch)
        left_s = max(0.0, max([item.expires_s for item in batch]) - flight.started_s)
        landed: Landed = partial(self._landed, flight)
        try:
            joined = join_waiting(batch)
            if self.traces is not None:
                joined, landed = self.traces.launched(batch, joined, landed, self._labels)
            give_up = self.transport.begin(joined, depth, left_s, landed)
        except Exception as error:  # noqa: BLE001, a fault of ours must not leave callers waiting
            landed(error)
            return
        if give_up is None:
            # In a context of its own: Serve would take the call for a child of whichever
            # request woke the pump, and cancel everybody's when that client leaves.
            loop = asyncio.get_running_loop()
            task = loop.create_task(self._send(joined, depth, left_s, landed), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            # Not at once: cancelled before its first step, it would never land.
            give_up = partial(loop.call_soon, task.cancel)
        flight.give_up = give_up

    async def _send(self, batch: Batch, depth: int, left_s: float, landed: Landed) -> None:
        try:
            prediction = await self.transport.predict(batch, depth, left_s)
        except asyncio.CancelledError as cancelled:
            landed(cancelled)
            raise
        except Exception as error:  # noqa: BLE001, told to whom it concerns
            landed(error)
        else:
            landed(prediction)

    def _landed(self, flight: Flight, ending: Prediction | BaseException) -> None:
        """Take a batch's answer, or what became of it instead."""
        self._in_flight -= 1
        self._requests_in_flight -= len(flight.batch)
        try:
            if isinstance(ending, Prediction):
                self._hand_out(flight, ending)
            elif isinstance(ending, ReplicaGoneError):
                self._try_again(flight.batch)
            elif isinstance(ending, PredictionError | RequestTooLargeError):
                self._run_apart_or_fail(flight.batch, ending, self._line.come_back_halved)
            else:
                self._fail(flight.batch, ending)
        except Exception as error:  # a fault of ours must not leave callers waiting
            logger.exception("a batch's answer could not be handed out")
            self._fail(flight.batch, error)
        finally:
            flight.batch = []  # whose requests refer to it, and would wait for the collector
            if self._line:
                self._pump_soon()

    def _try_again(self, batch: list[Waiting]) -> None:
        """Send each request once more, alone: one that kills replicas takes no others along."""
        lost = [item for item in batch if item.lost]
        self._fail(lost, ReplicaLostError(self.model, self.version))
        for item in batch:
            item.lost = True
        self._line.come_back_alone(batch)

    def _run_apart_or_fail(
        self,
        batch: list[Waiting],
        error: PredictionError | RequestTooLargeError,
        apart: Callable[[list[Waiting]], None],
    ) -> None:
        if len(batch) == 1:
            self._fail(batch, error)
        else:
            apart(batch)

    def _hand_out(self, flight: Flight, prediction: Prediction) -> None:
        batch, started_s = flight.batch, flight.started_s
        took_s = self.clock() - started_s
        self._window.answered(took_s, prediction.predict_s)
        outputs = prediction.outputs
        if not has_nan(outputs):
            outputs = Outputs(outputs.arrays, outputs.form, may_have_nan=False)
        rows = sum([item.request.rows for item in batch])
        if self.batching.latency_target_s is not None:
            self._limit.answered(rows, took_s, self.batching.latency_target_s)
        alone = len(batch) == 1
        if not alone and any(len(a) != rows for a in map(np.atleast_1d, outputs.arrays.values())):
            # The model does not answer row by row, so its answer belongs to nobody.
            reason = f"answered {rows} rows with another number of rows"
            error = PredictionError(self.model, self.version, reason)
            self._run_apart_or_fail(batch, error, self._line.come_back_alone)
            return
        answer = BatchAnswer(outputs, rows, prediction.predict_s)
        sent_s = started_s + prediction.wait_s
        count_batch(self.counters, self._labels, batch, rows, sent_s, prediction.predict_s)
        start = 0
        for item in batch:
            stop = start + item.request.rows
            self._tell(item, Share(answer, start, stop, alone))
            start = stop
        for onlooker in self.onlookers:
            onlooker.saw(batch, answer)

    def _fail(self, batch: list[Waiting], error: BaseException) -> None:
        for item in batch:
            self._tell(item, error)
