"""The spans of requests and of the batches that they share. Imported only where traces are made.

A request has a span from its arrival to its answer, and below it one for its wait in line. The
batch is a child of the first of its requests that is traced, since a span has one parent, and
is linked with all of them; the replica's span is the batch's child.
"""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from msgspec.structs import replace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context

from deployments.gateway.transport import Landed
from deployments.gateway.waiting import Waiting
from deployments.predictor.prediction import Prediction
from deployments.predictor.traces import ReplicaTraces
from deployments.protocols.tensors import Batch
from deployments.telemetry import SPANS, Counters, Labels
from tuning.spans import Outcome, context_of, make_provider, parent_of, tracer_of
from tuning.tracecontext import TRACE_PARENT, TRACE_STATE, parse_parent
from tuning.tracespec import Sampling, TracesSpec, sampling_of

SERVICE = "rayfleet-gateway"

FAILED = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""gRPC's statuses that are a server's fault, as OpenTelemetry's conventions have it."""

LEFT = "cancelled"
"""Stands for an error's class where the client left before the answer."""

MILLISECONDS = 1000.0
NANOSECONDS = 1e9


class Traced(Protocol):
    """A request that may be traced."""

    def header(self, name: bytes) -> str | None:
        """What its sender said of it beside the body; None where that is nothing."""
        ...

    def described(self) -> tuple[str, dict[str, str]]:
        """Its span's name, and what the door knows of it, in OpenTelemetry's words."""
        ...


class RequestSpan:
    """The span of one request, until it is answered."""

    __slots__ = ("_span", "context")

    def __init__(self, span: Span) -> None:
        self._span = span
        self.context: Context = set_span_in_context(span, Context())

    @property
    def link(self) -> Link:
        """What points at it."""
        return Link(self._span.get_span_context())

    @property
    def trace_id(self) -> str:
        """The trace that it is in."""
        return parent_of(self._span).trace_id

    def answered(
        self,
        labels: Labels,
        request_id: str,
        code: str,
        error: str = "",
        origin: str = "",
    ) -> None:
        """End with an answer.

        Args:
            labels: Model, version and track, as far as they are known.
            request_id: The request's.
            code: The HTTP status, or the name of gRPC's.
            error: Class of what it failed with; empty where nothing did.
            origin: Where that arose; empty where nothing did.
        """
        names = ("model", "version", "track", "request_id")
        for name, value in zip(names, (*labels, request_id), strict=True):
            if value:
                self._span.set_attribute(f"rayfleet.{name}", value)
        is_http = code.isdigit()
        if is_http:
            self._span.set_attribute("http.response.status_code", int(code))
        else:
            self._span.set_attribute("rpc.response.status_code", code)
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_attribute("rayfleet.origin", str(origin))
        if (is_http and int(code) >= 500) or code in FAILED:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()

    def left(self) -> None:
        """End without an answer, unless there was one: nobody waits for it."""
        if self._span.is_recording():
            self._span.set_attribute("error.type", LEFT)
            self._span.end()


class RequestTraces:
    """Makes the spans of one gateway."""

    def __init__(
        self,
        provider: TracerProvider,
        sampling: Sampling,
        clock: Callable[[], float] = time.perf_counter,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Begin without a span.

        Args:
            provider: Takes them.
            sampling: Decides which requests have one.
            clock: The queues', seconds.
            draw: A number from 0 up to 1.
        """
        self._provider = provider
        self.of_copies = ReplicaTraces(provider)
        """Those of models in the gateway's own process."""
        self._tracer = tracer_of(provider)
        self._sampling = sampling
        self._clock = clock
        self._draw = draw

    def begin(self, call: Traced) -> RequestSpan | None:
        """Begin a request's span; None for one that is not traced."""
        header = call.header(TRACE_PARENT.encode())
        state = call.header(TRACE_STATE.encode()) if header is not None else None
        parent = parse_parent(header, state)
        decided = parent.is_sampled if parent is not None else None
        if not self._sampling.takes(decided, self._draw):
            return None
        name, attributes = call.described()
        span = self._tracer.start_span(
            name, context_of(parent), kind=SpanKind.SERVER, attributes=attributes
        )
        return RequestSpan(span)

    def launched(
        self, items: Sequence[Waiting], batch: Batch, landed: Landed, labels: Labels
    ) -> tuple[Batch, Landed]:
        """Note that a batch is sent.

        Args:
            items: Its requests.
            batch: What is sent of them.
            landed: Hears how it ends.
            labels: Model, version and track.

        Returns:
            What to send, and who is to hear of its end, instead; the same where no request of
            it is traced.
        """
        members = [
            (item, item.sender.span)
            for item in items
            if item.sender is not None and item.sender.span is not None
        ]
        if not members:
            return batch, landed
        now_ns, now_s = time.time_ns(), self._clock()
        of_version = {
            f"rayfleet.{name}": value
            for name, value in zip(("model", "version", "track"), labels, strict=True)
        }
        _, first = members[0]
        span = self._tracer.start_span(
            "batch",
            first.context,
            kind=SpanKind.CLIENT,
            attributes={
                **of_version,
                "rayfleet.batch.requests": len(items),
                "rayfleet.batch.rows": sum(item.request.rows for item in items),
                "rayfleet.batch.again": any(item.lost for item in items),
            },
            links=[member.link for _, member in members],
            start_time=now_ns,
        )
        for item, member in members:
            self._tracer.start_span(
                "queue",
                member.context,
                attributes=of_version,
                links=[Link(span.get_span_context())],
                start_time=now_ns - int((now_s - item.arrived_s) * NANOSECONDS),
            ).end(now_ns)
        return replace(batch, trace=parent_of(span)), partial(_landed, span, landed)

    def close(self) -> None:
        """Send what is left, in a moment or not at all."""
        self._provider.shutdown()


def open_traces(spec: TracesSpec, gateway: str, counters: Counters) -> RequestTraces | None:
    """Make what traces a gateway's requests; None where the environment forbids it.

    Args:
        spec: Where spans go, and which are made.
        gateway: Who sends them.
        counters: Count what becomes of them.

    Raises:
        ConfigError: One of OpenTelemetry's variables means nothing to us.
    """
    sampling = sampling_of(spec)
    if sampling is None:
        return None
    # Made here, since the sender's thread may add no series while a snapshot is taken.
    outcomes: tuple[Outcome, ...] = ("sent", "failed", "dropped")
    cells = {outcome: counters.cell(SPANS, (outcome,)) for outcome in outcomes}

    def tally(outcome: Outcome, spans: int) -> None:
        cells[outcome].value += spans

    return RequestTraces(make_provider(spec, SERVICE, gateway, tally), sampling)


def _landed(span: Span, landed: Landed, ending: Prediction | BaseException) -> None:
    if isinstance(ending, Prediction):
        span.set_attribute("rayfleet.predict_ms", ending.predict_s * MILLISECONDS)
        span.set_attribute("rayfleet.wait_ms", ending.wait_s * MILLISECONDS)
    else:
        span.set_attribute("error.type", type(ending).__name__)
        span.set_status(StatusCode.ERROR)
    span.end()
    landed(ending)
