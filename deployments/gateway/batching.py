"""Join the requests for one version into batches, and take the answers apart again.

A batch goes out when a replica is free: an idle fleet adds no wait, a busy one gathers what
arrives meanwhile. Whether a free replica waits for company is learned (`window`), unless
`batch_wait_timeout_s` fixes it: a fixed millisecond doubles a forest's throughput and ruins
a linear model at one connection (DESIGN section 4).

A request is retried once, alone, when its replica died; and a batch in which the model
raised is run again one request at a time, so that one bad row fails only its own request.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field

import numpy as np

from deployments.errors import (
    DeadlineExceededError,
    FleetError,
    OverloadedError,
    PredictionError,
    ReplicaLostError,
)
from deployments.gateway.batch_limit import SHARE, BatchLimit
from deployments.gateway.joining import Shape, batch_shape, join
from deployments.gateway.transport import ReplicaGoneError, VersionTransport
from deployments.gateway.window import AdaptiveWindow
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Outputs, Request, has_nan
from deployments.telemetry import BATCH, IN_FLIGHT, LAST_ANSWER, PREDICT, QUEUE, Counters
from deployments.traffic.table import Batching

TIMER_RESOLUTION_S = 1e-6
"""A shorter wait is none, seconds."""

CALLS_LEFT = 1.5
"""Typical calls that a request needs the time for, so that its answer is not in vain."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A batch on its way, and how many still wait for it."""

    task: asyncio.Task[None]
    waiting: int


@dataclass(slots=True, eq=False)
class Waiting:
    """One request on its way through a queue."""

    request: Request
    shape: Shape
    answer: asyncio.Future[Outputs]
    arrived_s: float
    expires_s: float

    timer: asyncio.TimerHandle
    """Fires when it expires."""

    alone: bool = False
    lost: bool = False
    flight: _Flight | None = None


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

    _window: AdaptiveWindow = field(default_factory=AdaptiveWindow)
    _limit: BatchLimit = field(default_factory=BatchLimit)
    _held_since_s: float | None = None
    _waiting: deque[Waiting] = field(default_factory=deque)
    _in_flight: int = 0
    _requests_in_flight: int = 0
    _pump_due: asyncio.Handle | None = None
    _pump_is_next: bool = False
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def answer(self, request: Request, deadline_s: float) -> Outputs:
        """Queue a request and wait for its outputs.

        Args:
            request: Checked against the version's signature.
            deadline_s: Longest wait from now, seconds.

        Raises:
            OverloadedError: The queue is full.
            DeadlineExceededError: No answer in time.
            PredictionError: The model raised for this request alone.
            ReplicaLostError: Two replicas died under it.
            ModelNotReadyError: The version is going away.
        """
        waiting = self.put(request, deadline_s)
        try:
            return await waiting.answer
        finally:
            self.settle(waiting)

    def put(self, request: Request, deadline_s: float) -> Waiting:
        """Queue a request without waiting for it; `settle` is due once its answer is done.

        Args:
            request: As for `answer`, which says also what the answer may raise.
            deadline_s: As above.

        Raises:
            OverloadedError: The queue is full.
        """
        limit = self.batching.max_queued_requests
        if len(self._waiting) >= limit:
            raise OverloadedError(self.model, limit)
        now_s = self.clock()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outputs] = loop.create_future()
        # A timer and the bare future: wait_for would wrap both in a task.
        timer = loop.call_later(deadline_s, _expire, answer, self.model, deadline_s)
        waiting = Waiting(request, batch_shape(request), answer, now_s, now_s + deadline_s, timer)
        self._waiting.append(waiting)
        self._window.arrived(self.depth)
        self._pump_soon()
        self.counters.add(IN_FLIGHT, (self.model, self.version, self.track))
        return waiting

    def settle(self, waiting: Waiting) -> None:
        """Forget a request that was answered, or that nobody waits for any more."""
        waiting.timer.cancel()
        answer = waiting.answer
        if not answer.done():
            answer.cancel()
        if answer.cancelled() or isinstance(answer.exception(), DeadlineExceededError):
            self._leave(waiting)
        self.counters.add(IN_FLIGHT, (self.model, self.version, self.track), -1)

    @property
    def depth(self) -> int:
        """Requests waiting or in flight."""
        return len(self._waiting) + self._requests_in_flight

    def resize(self, batching: Batching, replicas: int) -> None:
        """Take new settings; requests that wait are judged by them from now on."""
        self.batching = batching
        self.replicas = replicas
        self._pump_soon()

    def _leave(self, waiting: Waiting) -> None:
        """Give up a place in the line, or the batch in flight that nobody else waits for."""
        flight = waiting.flight
        if flight is None:
            with suppress(ValueError):  # it may be about to fly
                self._waiting.remove(waiting)
            return
        flight.waiting -= 1
        if flight.waiting == 0:
            # Not at once: cancelled before its first step, it would never give its slot back.
            asyncio.get_running_loop().call_soon(flight.task.cancel)

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
        else:
            self._pump_due = loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = None
        self._pump_is_next = False
        slots = self._slots()
        while self._waiting and self._in_flight < slots:
            wait_s = self._company_wait_s(slots)
            if wait_s > 0:
                self._pump_soon(wait_s)
                return
            self._held_since_s = None
            batch = self._take()
            if batch:
                self._window.sent()
                self._in_flight += 1
                self._requests_in_flight += len(batch)
                # In a context of its own: Serve would take the call for a child of whichever
                # request woke the pump, and cancel everybody's when that client leaves.
                loop = asyncio.get_running_loop()
                task = loop.create_task(self._send(batch), context=Context())
                flight = _Flight(task, len(batch))
                for item in batch:
                    item.flight = flight
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _slots(self) -> int:
        """Batches that may be in flight at a time."""
        each = self.batching.max_concurrent_batches or (2 if self._overlaps() else 1)
        own = self.transport.own_copies
        # While scaled to zero, one batch goes ahead and wakes the version; where a copy in
        # this process answers, only once it leaves more in line than it takes at a time.
        wakes = own == 0 or len(self._waiting) >= self._most_rows()
        return own + max(self.replicas, int(wakes)) * each

    def _most_rows(self) -> int:
        """Most rows that may share the next batch; a larger request goes alone."""
        batching = self.batching
        return self._limit.most_rows(batching.max_batch_size, batching.latency_target_s)

    def _overlaps(self) -> bool:
        """Whether the replica should have the next batch before it has answered this one."""
        return self.transport.is_cheap and self._window.is_quick

    def _company_wait_s(self, slots: int) -> float:
        """How much longer the requests in line should wait for others, seconds."""
        first = self._waiting[0]
        rows = sum(item.request.rows for item in self._waiting)
        if first.alone or rows >= self._most_rows():
            return 0.0
        now_s = self.clock()
        fixed_s = self.batching.batch_wait_timeout_s
        if fixed_s is not None:
            left_s = first.arrived_s + fixed_s - now_s
        elif self._overlaps():
            return 0.0
        else:
            # From when a replica was free, and once for each batch, however often another
            # replica becomes free meanwhile.
            since_s = now_s if self._held_since_s is None else self._held_since_s
            self._held_since_s = since_s
            window_s = self._window.length_s(len(self._waiting), self._requests_in_flight, slots)
            left_s = since_s + window_s - now_s
        target_s = self.batching.latency_target_s
        if target_s is not None:
            left_s = min(left_s, first.arrived_s + SHARE * target_s - now_s)
        # Rounding leaves a rest that no timer can wait for.
        return left_s if left_s > TIMER_RESOLUTION_S else 0.0

    def _hopeless_s(self) -> float:
        """When a request must not expire before, to be worth a place in a batch, if another is.

        Where requests come faster than a version answers, and the line is longer than their
        deadlines, its head is always about to expire: every batch would be answered to nobody.
        """
        soon_s = self.clock() + CALLS_LEFT * self._window.typical_s
        # With nobody to prefer, the next call may be quicker than the typical one.
        return soon_s if self._waiting[-1].expires_s >= soon_s else 0.0

    def _take(self) -> list[Waiting]:
        """Remove the next batch from the line: the first request and all that fit to it."""
        batch: list[Waiting] = []
        passed: list[Waiting] = []
        rows = 0
        most = self._most_rows()
        hopeless_s = self._hopeless_s()
        while self._waiting:
            item = self._waiting.popleft()
            if item.answer.done() or item.expires_s < hopeless_s:
                continue  # its deadline passed or is about to, or nobody waits any more
            if not batch:
                batch.append(item)
                rows = item.request.rows
                if item.alone:
                    break
            elif (
                not item.alone and item.shape == batch[0].shape and rows + item.request.rows <= most
            ):
                batch.append(item)
                rows += item.request.rows
            else:
                passed.append(item)
                if len(passed) > self.batching.max_batch_size:
                    break
            if rows >= most:
                break
        self._waiting.extendleft(reversed(passed))
        return batch

    async def _send(self, batch: list[Waiting]) -> None:
        try:
            await self._send_within_deadline(batch)
        except asyncio.CancelledError:
            for item in batch:
                item.answer.cancel()
            raise
        except Exception as error:  # a fault of ours must not leave callers waiting
            _fail(batch, error)
            raise
        finally:
            self._in_flight -= 1
            self._requests_in_flight -= len(batch)
            if self._waiting:
                self._pump_soon()

    async def _send_within_deadline(self, batch: list[Waiting]) -> None:
        started_s = self.clock()
        last_s = max(item.expires_s for item in batch)
        left_s = max(0.0, last_s - started_s)
        limit = asyncio.timeout(left_s)
        try:
            async with limit:
                prediction = await self.transport.predict(
                    join([item.request for item in batch]), self.depth, left_s
                )
        except TimeoutError:
            if not limit.expired():
                raise  # the transport's own
            # Otherwise every caller has had its DeadlineExceededError by now.
        except ReplicaGoneError:
            self._try_again(batch)
        except PredictionError as error:
            self._run_alone_or_fail(batch, error)
        except FleetError as error:
            _fail(batch, error)
        else:
            self._hand_out(batch, prediction, started_s)

    def _try_again(self, batch: list[Waiting]) -> None:
        """Send each request once more, alone: one that kills replicas takes no others along."""
        again = [item for item in batch if not item.lost]
        _fail([item for item in batch if item.lost], ReplicaLostError(self.model, self.version))
        for item in reversed(again):
            item.lost = item.alone = True
            item.flight = None
            self._waiting.appendleft(item)

    def _run_alone_or_fail(self, batch: list[Waiting], error: FleetError) -> None:
        if len(batch) == 1:
            _fail(batch, error)
            return
        for item in reversed(batch):
            item.alone = True
            item.flight = None
            self._waiting.appendleft(item)

    def _hand_out(self, batch: list[Waiting], prediction: Prediction, started_s: float) -> None:
        took_s = self.clock() - started_s
        self._window.answered(took_s, prediction.predict_s)
        outputs = prediction.outputs
        if not has_nan(outputs):
            outputs = Outputs(outputs.arrays, outputs.form, may_have_nan=False)
        rows = sum(item.request.rows for item in batch)
        if self.batching.latency_target_s is not None:
            self._limit.answered(rows, took_s, self.batching.latency_target_s)
        labels = (self.model, self.version, self.track)
        if len(batch) > 1 and any(
            len(a) != rows for a in map(np.atleast_1d, outputs.arrays.values())
        ):
            # The model does not answer row by row, so its answer belongs to nobody.
            reason = f"answered {rows} rows with another number of rows"
            self._run_alone_or_fail(batch, PredictionError(self.model, self.version, reason))
            return
        self.counters.observe(PREDICT, labels, prediction.predict_s)
        self.counters.observe(BATCH, labels, rows)
        self.counters.set(LAST_ANSWER, labels, time.time())
        start = 0
        for item in batch:
            stop = start + item.request.rows
            if not item.answer.done():
                item.answer.set_result(outputs if len(batch) == 1 else outputs.rows(start, stop))
            waited_s = started_s - item.arrived_s + prediction.wait_s
            self.counters.observe(QUEUE, labels, waited_s)
            start = stop


def _expire(answer: asyncio.Future[Outputs], model: str, deadline_s: float) -> None:
    if not answer.done():
        answer.set_exception(DeadlineExceededError(model, deadline_s))


def _fail(batch: list[Waiting], error: Exception) -> None:
    for item in batch:
        if not item.answer.done():
            item.answer.set_exception(error)
