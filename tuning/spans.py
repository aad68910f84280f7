"""Spans on their way to a collector. Imported only where traces are made.

They leave on a thread of their own, from a queue with a bound: a collector that is slow or
away costs the work no time and some memory. What finds the queue full is lost, and counted.
"""

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread
from typing import Literal

from opentelemetry import context as otel
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace.span import TraceState

from tuning.tracecontext import Parent
from tuning.tracespec import TracesSpec

logger = logging.getLogger(__name__)

PATH = "/v1/traces"
"""Where OTLP over HTTP takes spans, behind a collector's address."""

MOST_WAITING = 4096
"""Spans that wait to be sent; one more is dropped."""

MOST_AT_ONCE = 512
"""Spans in one message."""

DELAY_S = 0.5
"""Longest time that a span waits for company, seconds."""

CLOSE_S = 2.0
"""Longest time to send what is left at the end, seconds."""

Outcome = Literal["sent", "failed", "dropped"]
"""What becomes of a span: it arrived, the collector could not take it, or the queue was full."""

Tally = Callable[[Outcome, int], object]
"""Hears of spans, from any thread."""


def count_nothing(outcome: Outcome, spans: int) -> None:
    """Stand for a tally where nobody counts."""


class Shipper(SpanProcessor):
    """Sends spans in the background."""

    def __init__(
        self, exporter: SpanExporter, where: str, tally: Tally, most_waiting: int = MOST_WAITING
    ) -> None:
        """Begin with none.

        Args:
            exporter: Sends some; may take seconds.
            where: Its collector, for who reads the log.
            tally: Counts what became of them.
            most_waiting: See `MOST_WAITING`.
        """
        self._exporter = exporter
        self._where = where
        self._tally = tally
        self._most_waiting = most_waiting
        self._waiting: deque[ReadableSpan] = deque()
        self._due = Event()
        self._closing = False
        self._is_away = False
        self._thread = Thread(target=self._work, name="spans", daemon=True)
        self._thread.start()

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span that has ended."""
        if self._closing or len(self._waiting) >= self._most_waiting:
            self._tally("dropped", 1)
            return
        self._waiting.append(span)
        if len(self._waiting) >= MOST_AT_ONCE:
            self._due.set()

    def shutdown(self) -> None:
        """Send what is left, if that takes no longer than `CLOSE_S`."""
        if self._closing:
            return
        self._closing = True
        self._due.set()
        self._thread.join(CLOSE_S)
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Begin to send what there is; says whether there was nothing, and waits for nothing."""
        self._due.set()
        return not self._waiting

    def _work(self) -> None:
        # The exporter's own requests must not become spans of a model's instrumentation.
        otel.attach(otel.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while not self._closing:
            self._due.wait(DELAY_S)
            self._due.clear()
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        while self._waiting:
            some = [self._waiting.popleft() for _ in range(min(MOST_AT_ONCE, len(self._waiting)))]
            self._send(some)

    def _send(self, spans: Sequence[ReadableSpan]) -> None:
        try:
            sent = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # the boundary: spans are nothing to fail for
            logger.exception("spans could not be sent")
            sent = False
        self._tally("sent" if sent else "failed", len(spans))
        if sent and self._is_away:
            logger.info("the collector of traces at %s takes spans again", self._where)
        elif not sent and not self._is_away:
            logger.warning(
                "the collector of traces at %s takes no spans, they are lost", self._where
            )
        self._is_away = not sent


def make_provider(
    spec: TracesSpec,
    service: str,
    instance: str,
    tally: Tally = count_nothing,
    environment: Mapping[str, str] = os.environ,
) -> TracerProvider:
    """Open the way to the collector; nothing is sent before there is a span.

    Args:
        spec: Where it is.
        service: What this process is to the fleet; OTEL_SERVICE_NAME outranks it.
        instance: Which one of these it is.
        tally: Counts what became of the spans.
        environment: The process's.
    """
    # Its complaints repeat with every attempt; ours say as much once.
    logging.getLogger(OTLPSpanExporter.__module__).setLevel(logging.CRITICAL)
    endpoint = spec.endpoint.rstrip("/") + PATH if spec.endpoint is not None else None
    exporter = OTLPSpanExporter(endpoint=endpoint)
    named = environment.get("OTEL_SERVICE_NAME", "").strip() or service
    resource = Resource.create({SERVICE_NAME: named, SERVICE_INSTANCE_ID: instance})
    # Who is asked for a span has decided already that there shall be one.
    provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
    where = spec.endpoint or "the address in OTEL_EXPORTER_OTLP_*"
    provider.add_span_processor(Shipper(exporter, where, tally))
    return provider


def tracer_of(provider: TracerProvider) -> Tracer:
    """What makes this project's spans."""
    return provider.get_tracer("rayfleet")


def context_of(parent: Parent | None) -> otel.Context:
    """The context of a span whose parent is in another process; with None, of a first one."""
    if parent is None:
        return otel.Context()
    flags = TraceFlags(TraceFlags.SAMPLED if parent.is_sampled else TraceFlags.DEFAULT)
    span = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=flags,
        trace_state=TraceState.from_header([parent.state]) if parent.state else None,
    )
    return set_span_in_context(NonRecordingSpan(span), otel.Context())


def parent_of(span: Span) -> Parent:
    """A span, as another process is told of it."""
    context = span.get_span_context()
    return Parent(
        f"{context.trace_id:032x}",
        f"{context.span_id:016x}",
        is_sampled=True,
        state=context.trace_state.to_header(),
    )
