"""Spans that stay in this process."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from deployments.gateway.traces import RequestTraces
from tuning.tracespec import Sampling

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


class Kept:
    """What was traced."""

    def __init__(self, share: float) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=ALWAYS_ON, shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.traces = RequestTraces(self.provider, Sampling(share), draw=lambda: 0.5)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def kept_spans(share: float = 0.0) -> Iterator[Kept]:
    """Keep spans; of requests without a caller's decision, all from a share of more than 0.5."""
    kept = Kept(share)
    yield kept
    kept.provider.shutdown()


def parent(span: ReadableSpan) -> int | None:
    """The id of a span's parent."""
    return int(span.parent.span_id) if span.parent is not None else None


def own(span: ReadableSpan) -> int:
    """A span's id."""
    return int(span.context.span_id)


def linked(span: ReadableSpan) -> set[int]:
    """The ids of spans that one is linked with."""
    return {link.context.span_id for link in span.links}
