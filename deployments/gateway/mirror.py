"""Send one version what stable has answered, and count how its answers compare.

Copies never delay anybody: they are taken once stable's answer has been told, gather for a
moment so that the version is asked once for many, go one bundle at a time, wait while
requests of clients wait for the version, and are dropped where there is no room for them.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from random import Random

import numpy as np

from deployments.errors import FleetError, OverloadedError, PredictionError
from deployments.gateway.batching import VersionQueue
from deployments.gateway.copies import (
    Bundle,
    Copy,
    Group,
    Piece,
    array_bytes,
    bundle,
    copy_of,
    output_shape,
    piece_of,
)
from deployments.gateway.fitting import fit, is_alike
from deployments.gateway.joining import Shape
from deployments.gateway.waiting import BatchAnswer, Ending, Share, Waiting
from deployments.protocols.tensors import Outputs, Request, Signature
from deployments.telemetry import MIRROR_DIFFERENCE, MIRROR_SECONDS, MIRRORED, Counters
from deployments.traffic.agreement import (
    Agreement,
    by_request,
    compare,
    has_numbers,
    is_same,
)
from deployments.traffic.differences import MOST_ROWS, Difference, Reservoir, shown_rows
from deployments.traffic.split import is_mirrored
from deployments.traffic.table import ModelRoutes, Route

logger = logging.getLogger(__name__)

GATHER_S = 0.1
"""Longest time that a copy waits for others to share its call, seconds."""

BUNDLE_ROWS = 128
"""Most rows of a bundle where nobody has fixed the size of batches: what a call costs by itself
is little to so many, and the loop is not held up for long while they are joined."""

REST_S = 0.005
"""Longest pause after a bundle, seconds. It pauses for as long as it took, so that copies which
have piled up leave half of the version's time, and of the gateway's, to others."""

HELD_ROWS = 8192
HELD_BATCHES = 8
HELD_BYTES = 64 * 1024 * 1024
"""Most that wait or are under way: so many rows, or batches' worth if that is more, and bytes."""

PAIR_EVERY_S = 1.0
"""Between two of stable's batches that are sent as they were, to compare predict times, seconds."""

LARGE_BYTES = 128 * 1024
"""Comparing answers this large takes about a millisecond, so it leaves the event loop."""


class Mirror:
    """The copies for one version at one gateway. One event loop owns it."""

    def __init__(self, counters: Counters, clock: Callable[[], float], random: Random) -> None:
        """Begin without copies; `follow` is due before the first.

        Args:
            counters: Where outcomes are counted.
            clock: Seconds.
            random: Decides which differences are kept.
        """
        self.differences = Reservoir(random)
        self._counters = counters
        self._clock = clock
        self._gathering: dict[Shape, Group] = {}
        self._ready: deque[Bundle | Group] = deque()
        self._held_rows = 0
        self._held_bytes = 0
        self._busy = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self._next_pair_s = 0.0
        self._sent_s = 0.0
        self._rests_until_s = 0.0

    def follow(
        self, queue: VersionQueue, stable: Signature, route: Route, routes: ModelRoutes
    ) -> None:
        """Take what a routing table says.

        Args:
            queue: Of the version that gets the copies.
            stable: Signature of the version whose answers are copied.
            route: Of the version that gets the copies.
            routes: Of the model.
        """
        self._queue = queue
        self._percent = route.mirror
        self._labels = (self._queue.model, route.version, str(route.track))
        self._mirroring = routes.mirroring
        self._deadline_s = routes.deadline_s
        self._most_rows = routes.batching.max_batch_size or BUNDLE_ROWS
        self._room_rows = max(HELD_ROWS, HELD_BATCHES * self._most_rows)
        self._signatures = stable, route.signature
        self._fits = is_alike(stable, route.signature)

    @property
    def held(self) -> tuple[int, int]:
        """Rows and bytes that wait or are under way."""
        return self._held_rows, self._held_bytes

    def close(self) -> None:
        """Forget all copies."""
        self._closed = True
        self._gathering.clear()
        self._ready.clear()
        if self._timer is not None:
            self._timer.cancel()

    def saw(self, batch: Sequence[Waiting], answer: BatchAnswer) -> None:
        """Copy what is to be mirrored of a batch that stable has answered."""
        try:
            piece = self._piece(batch, answer)
            if piece is not None:
                self._gather(piece, batch[0].shape)
        except Exception:  # the boundary: whatever is wrong with a copy is nobody else's business
            logger.exception("requests could not be copied for %s", self._labels)

    def _piece(self, batch: Sequence[Waiting], answer: BatchAnswer) -> Piece | None:
        copies = [copy_of(item) for item in batch]
        spans = None
        if self._percent < 100:
            copies, spans = self._chosen(copies)
            if not copies:
                return None
        piece = piece_of(copies, answer, spans)
        full = self._held_rows + piece.rows > self._room_rows and self._held_rows
        if full or self._held_bytes + piece.size_bytes > HELD_BYTES:
            self._count("dropped", len(copies))
            return None
        return piece

    def _chosen(self, copies: list[Copy]) -> tuple[list[Copy], list[tuple[int, int]] | None]:
        """Those to mirror, and where their rows are; None if these are all rows."""
        model, percent = self._queue.model, self._percent
        chosen = [is_mirrored(model, percent, copy.routing_key) for copy in copies]
        if all(chosen):
            return copies, None
        spans = [span for span, yes in zip(_spans(copies), chosen, strict=True) if yes]
        return [copy for copy, yes in zip(copies, chosen, strict=True) if yes], spans

    def _gather(self, piece: Piece, requests: Shape) -> None:
        self._held_rows += piece.rows
        self._held_bytes += piece.size_bytes
        outputs = output_shape(piece.answer)
        now_s = self._clock()
        if outputs is None or (piece.spans is None and now_s >= self._next_pair_s):
            self._next_pair_s = now_s + PAIR_EVERY_S
            self._ready.append(bundle([piece]))
            self._send_in(0.0)
            return
        key = requests, outputs
        group = self._gathering.get(key)
        if group is not None and group.rows + piece.rows > self._most_rows:
            self._close_group(key)
            group = None
        if group is None:
            group = self._gathering[key] = Group(now_s)
        group.add(piece)
        if group.rows >= self._most_rows:
            self._close_group(key)
        elif self._timer is None:
            self._send_in(GATHER_S)

    def _close_group(self, key: Shape) -> None:
        self._ready.append(self._gathering.pop(key))
        self._send_in(0.0)

    def _send_in(self, delay_s: float) -> None:
        """Look for what is to be sent, not in this turn of the loop."""
        if self._busy or self._closed:
            return
        delay_s = max(delay_s, self._rests_until_s - self._clock())
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            if self._timer.when() <= loop.time() + delay_s:
                return
            self._timer.cancel()
        self._timer = loop.call_later(delay_s, self._send)

    def _send(self) -> None:
        self._timer = None
        if self._busy or self._closed:
            return
        if self._queue.has_line:
            self._send_in(GATHER_S)
            return
        if not self._ready and self._gathering:
            self._ready.append(self._gathering.pop(next(iter(self._gathering))))  # the oldest
        if self._ready:
            due = self._ready.popleft()
            self._begin(due if isinstance(due, Bundle) else bundle(due.pieces))

    def _begin(self, due: Bundle) -> None:
        self._busy = True
        self._sent_s = self._clock()
        try:
            request = self._request(due)
            if request is None:
                self._end(due, "failed")
            else:
                self._queue.put(request, self._deadline_s, partial(self._told, due))
        except OverloadedError:
            self._end(due, "dropped")
        except Exception:  # the boundary, as in `saw`
            logger.exception("copies for %s could not be sent", self._labels)
            self._end(due, "failed")

    def _request(self, due: Bundle) -> Request | None:
        request = due.joined()
        return request if self._fits else fit(request, *self._signatures)

    def _told(self, due: Bundle, ending: Ending) -> None:
        """Hear what became of a bundle."""
        try:
            if self._closed or isinstance(ending, asyncio.CancelledError):
                return
            if isinstance(ending, Share):
                self._answered(due, ending)
            elif isinstance(ending, PredictionError) and len(due.copies) > 1:
                self._again_in_halves(due)
            else:
                if not isinstance(ending, FleetError):
                    logger.error("mirroring to %s failed", self._labels, exc_info=ending)
                self._end(due, "dropped" if isinstance(ending, OverloadedError) else "failed")
        except Exception:  # the boundary, as in `saw`
            logger.exception("an answer of %s could not be compared", self._labels)
            self._end(due, "failed")

    def _answered(self, due: Bundle, share: Share) -> None:
        outputs = share.outputs
        if len(due.copies) > 1 and not _is_aligned(outputs, due.rows):
            self._again_in_halves(due)  # the model does not answer row by row
            return
        if due.stable_s is not None and share.alone:
            self._counters.add(MIRROR_SECONDS, (*self._labels, "stable"), due.stable_s)
            self._counters.add(MIRROR_SECONDS, (*self._labels, "mirrored"), share.batch.predict_s)
        if is_same(due.stable, outputs.arrays):
            self._agreed(due)
        elif sum(map(array_bytes, outputs.arrays.values())) < LARGE_BYTES:
            self._judge(due, outputs, self._compare(due, outputs))
        else:
            loop = asyncio.get_running_loop()
            comparing = loop.run_in_executor(None, self._compare, due, outputs)
            comparing.add_done_callback(partial(self._compared, due, outputs))

    def _agreed(self, due: Bundle) -> None:
        """Count answers that are equal to the last bit, as most are: at a fifth of the cost."""
        if has_numbers(due.stable):
            gaps = self._counters.distribution(MIRROR_DIFFERENCE, self._labels)
            gaps.observe(0.0, len(due.copies))
        self._end(due, "agreed")

    def _compare(self, due: Bundle, outputs: Outputs) -> Agreement:
        return compare(due.stable, outputs.arrays, due.rows, self._mirroring.tolerance)

    def _compared(
        self, due: Bundle, outputs: Outputs, comparing: "asyncio.Future[Agreement]"
    ) -> None:
        if self._closed or comparing.cancelled():
            return
        try:
            self._judge(due, outputs, comparing.result())
        except Exception:  # the boundary, as in `saw`
            logger.exception("an answer of %s could not be compared", self._labels)
            self._end(due, "failed")

    def _judge(self, due: Bundle, outputs: Outputs, rows: Agreement) -> None:
        starts = due.starts
        found = by_request(rows, starts)
        differing = np.flatnonzero(found.differs).tolist()
        for index in differing if self._mirroring.samples else ():
            span = range(starts[index], starts[index] + due.copies[index].request.rows)
            make = partial(_difference, due, outputs, rows, index, span)
            self.differences.offer(make, self._mirroring.samples)
        gaps = self._counters.distribution(MIRROR_DIFFERENCE, self._labels)
        numbers = found.largest[~np.isnan(found.largest)]
        gaps.observe(0.0, int((numbers == 0.0).sum()))
        for gap in numbers[numbers > 0.0].tolist():
            gaps.observe(gap)
        self._count("differed", len(differing))
        self._count("agreed", len(due.copies) - len(differing))
        self._end(due)

    def _again_in_halves(self, due: Bundle) -> None:
        """Find the requests that the version cannot answer, which fail alone."""
        self._ready.extendleft(reversed(due.halves()))
        self._next()

    def _end(self, due: Bundle, outcome: str | None = None) -> None:
        if outcome is not None:
            self._count(outcome, len(due.copies))
        self._held_rows -= due.rows
        self._held_bytes -= due.size_bytes
        self._next()

    def _next(self) -> None:
        self._busy = False
        now_s = self._clock()
        self._rests_until_s = now_s + min(REST_S, now_s - self._sent_s)
        if self._ready:
            self._send_in(0.0)
        elif self._gathering:
            oldest = next(iter(self._gathering.values()))
            self._send_in(max(0.0, oldest.since_s + GATHER_S - now_s))

    def _count(self, outcome: str, requests: int) -> None:
        if requests:
            self._counters.add(MIRRORED, (*self._labels, outcome), requests)


def _spans(copies: Sequence[Copy]) -> list[tuple[int, int]]:
    spans, start = [], 0
    for copy in copies:
        spans.append((start, start + copy.request.rows))
        start += copy.request.rows
    return spans


def _is_aligned(outputs: Outputs, rows: int) -> bool:
    return all(array.ndim > 0 and len(array) == rows for array in outputs.arrays.values())


def _difference(
    due: Bundle, outputs: Outputs, rows: Agreement, index: int, span: range
) -> Difference:
    """Describe one request that was answered differently.

    Args:
        due: It is one of these.
        outputs: The version's answers to all of them.
        rows: How they compare.
        index: Which it is.
        span: Its rows.
    """
    copy = due.copies[index]
    by_row = len(rows.differs) == due.rows
    flags, gaps = (
        (rows.differs[span.start : span.stop], rows.largest[span.start : span.stop])
        if by_row
        else (rows.differs, rows.largest)
    )
    differing = np.flatnonzero(flags)
    shown = differing[:MOST_ROWS].tolist()
    in_bundle = [span.start + row for row in shown] if by_row else [due.rows]
    known = gaps[~np.isnan(gaps)]
    return Difference(
        request_id=copy.request_id,
        routing_key=copy.routing_key,
        at_s=time.time(),
        rows=len(span),
        differing_rows=len(differing) if by_row else len(span),
        largest=float(known.max()) if known.size else None,
        inputs=shown_rows(copy.request.inputs, shown),
        stable=shown_rows(due.stable, in_bundle),
        mirrored=shown_rows(outputs.arrays, in_bundle),
    )
