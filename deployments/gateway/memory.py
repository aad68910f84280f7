"""Remember which version answered which request, and what, until the controller has it.

Only models with `feedback` settings have a recorder; all others pay nothing.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import islice

from deployments.gateway.batching import VersionQueue
from deployments.gateway.waiting import BatchAnswer, Waiting
from deployments.telemetry import REMEMBERED, Counters
from deployments.traffic.feedback import Remembered, is_sampled, prediction_of
from deployments.traffic.table import Remembering, RoutingTable

MOST_HELD = 20_000
"""Answers that wait for the controller; what comes while there are so many is dropped."""

MOST_SHIPPED = 2_000
"""Answers in one call to the controller."""

SHIP_S = 0.5
"""Between two calls, seconds; labels that come sooner find nothing yet."""

MOST_ID_BYTES = 256
"""Of a request's id; a longer one is not remembered."""


class Memory:
    """The answers of one gateway that are to be remembered. One event loop owns it."""

    def __init__(self, counters: Counters, clock: Callable[[], float] = time.time) -> None:
        """Begin without any.

        Args:
            counters: This gateway's.
            clock: Unix time, seconds.
        """
        self._counters = counters
        self._clock = clock
        self._held: deque[Remembered] = deque()

    def follow(self, table: RoutingTable, queues: Mapping[str, VersionQueue]) -> None:
        """Have the queues of models with feedback tell what they answered.

        Args:
            table: In force.
            queues: Of the versions that are ready, by application; with no recorder yet.
        """
        for routes in table.models.values():
            for route in routes.routes:
                queue = queues.get(route.application)
                if queue is not None and routes.feedback is not None:
                    recorder = Recorder(self, queue, routes.feedback)
                    queue.onlookers = (*queue.onlookers, recorder)

    def note(self, queue: VersionQueue, request: str, prediction: bytes) -> None:
        """Remember one answer, if there is room."""
        kept = len(self._held) < MOST_HELD
        if kept:
            answer = Remembered(queue.model, request, queue.version, prediction, self._clock())
            self._held.append(answer)
        outcome = "kept" if kept else "dropped"
        self._counters.add(REMEMBERED, (queue.model, queue.version, queue.track, outcome))

    def due(self) -> list[Remembered]:
        """The oldest answers that the controller does not have."""
        return list(islice(self._held, MOST_SHIPPED))

    def shipped(self, count: int) -> None:
        """Forget so many of the oldest: the controller has them."""
        for _ in range(count):
            self._held.popleft()

    async def ship(self, send: Callable[[list[Remembered]], Awaitable[bool]]) -> None:
        """Hand over what there is.

        Args:
            send: Hands some over, and tells whether they were taken; what was not is sent
                again, so that nothing is lost while the controller or its store is away.
        """
        while rows := self.due():
            if not await send(rows):
                return
            self.shipped(len(rows))

    async def keep_shipping(self, send: Callable[[list[Remembered]], Awaitable[bool]]) -> None:
        """Hand over what there is, again and again."""
        while True:
            await asyncio.sleep(SHIP_S)
            await self.ship(send)


class Recorder:
    """Looks at the batches that one version has answered."""

    def __init__(self, memory: Memory, queue: VersionQueue, settings: Remembering) -> None:
        self._memory = memory
        self._queue = queue
        self._settings = settings

    def saw(self, batch: Sequence[Waiting], answer: BatchAnswer) -> None:
        """See `Onlooker.saw`."""
        settings, model = self._settings, self._queue.model
        stop = 0
        for item in batch:
            start, stop = stop, stop + item.request.rows
            sender = item.sender
            if sender is None:
                continue  # a copy, which nobody will hear of
            request = item.request.id or sender.given_id
            if len(request) > MOST_ID_BYTES or not is_sampled(model, request, settings.sample):
                continue
            prediction = prediction_of(answer.outputs.arrays, settings.output, start, stop)
            self._memory.note(self._queue, request, prediction)
