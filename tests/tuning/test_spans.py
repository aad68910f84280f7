"""What becomes of spans: sent in the background, lost without harm where they cannot be."""

import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from deployments.haproxy import free_port
from tests.lines import kept_lines
from tuning.spans import CLOSE_S, Shipper, context_of, make_provider, parent_of, tracer_of
from tuning.tracecontext import Parent
from tuning.tracespec import TracesSpec

WITHIN_S = 10.0
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(SpanExporter):
    """Takes spans once it is let, or refuses them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.is_up = True
        self.asked = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.may_go_on.wait(WITHIN_S)
        if not self.is_up:
            return SpanExportResult.FAILURE
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


class Tally:
    """Counts what became of spans, and lets somebody wait for it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._changed = threading.Condition()

    def __call__(self, outcome: str, spans: int) -> None:
        with self._changed:
            self.counts[outcome] += spans
            self._changed.notify_all()

    def wait_for(self, **counts: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.counts == counts, WITHIN_S), self.counts


def opened(collector: Collector, tally: Tally, most_waiting: int = 100) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Shipper(collector, "http://collector:4318", tally, most_waiting))
    return provider


def make_spans(provider: TracerProvider, *names: str) -> None:
    for name in names:
        tracer_of(provider).start_span(name).end()


def test_spans_are_sent_in_the_background_and_the_rest_at_the_end() -> None:
    collector, tally = Collector(), Tally()
    provider = opened(collector, tally)

    make_spans(provider, "one", "two")
    tally.wait_for(sent=2)
    make_spans(provider, "three")
    provider.shutdown()

    assert collector.names == ["one", "two", "three"]


def test_a_full_queue_drops_and_counts_and_nobody_waits() -> None:
    collector, tally = Collector(), Tally()
    collector.may_go_on.clear()
    provider = opened(collector, tally, most_waiting=3)
    make_spans(provider, "under-way")
    provider.force_flush()
    assert collector.asked.wait(WITHIN_S)

    make_spans(provider, *(str(number) for number in range(10)))
    assert tally.counts == {"dropped": 7}
    collector.may_go_on.set()
    provider.shutdown()

    assert collector.names == ["under-way", "0", "1", "2"]
    assert tally.counts == {"dropped": 7, "sent": 4}


def test_a_collector_that_is_away_is_complained_of_once_until_it_is_back() -> None:
    collector, tally = Collector(), Tally()
    collector.is_up = False
    provider = opened(collector, tally)

    with kept_lines("tuning.spans") as lines:
        for number in (1, 2):
            make_spans(provider, "lost")
            provider.force_flush()
            tally.wait_for(failed=number)
        collector.is_up = True
        make_spans(provider, "sent")
        provider.force_flush()
        tally.wait_for(failed=2, sent=1)
        provider.shutdown()

    assert [(line.levelname, line.getMessage()) for line in lines] == [
        (
            "WARNING",
            "the collector of traces at http://collector:4318 takes no spans, they are lost",
        ),
        ("INFO", "the collector of traces at http://collector:4318 takes spans again"),
    ]


@pytest.mark.ray
def test_nobody_at_the_address_holds_up_neither_the_work_nor_the_end() -> None:
    tally = Tally()
    endpoint = f"http://127.0.0.1:{free_port()}"
    provider = make_provider(TracesSpec(endpoint=endpoint), "a-service", "one-of-it", tally)

    began_s = time.monotonic()
    make_spans(provider, *["lost"] * 100)
    assert time.monotonic() - began_s < 1.0
    provider.shutdown()

    assert time.monotonic() - began_s < 2 * CLOSE_S + 1.0
    tally.wait_for(failed=100)


@pytest.mark.parametrize(
    ("variables", "service"),
    [({}, "a-service"), ({"OTEL_SERVICE_NAME": "ours"}, "ours")],
    ids=["by-its-role", "by-the-environment"],
)
def test_a_process_has_a_name(variables: dict[str, str], service: str) -> None:
    provider = make_provider(TracesSpec(), "a-service", "one-of-it", environment=variables)
    provider.shutdown()

    said = provider.resource.attributes
    assert (said["service.name"], said["service.instance.id"]) == (service, "one-of-it")


def test_a_parent_comes_back_as_it_was_given() -> None:
    parent = Parent(TRACE, SPAN, True, "vendor=1")
    provider = TracerProvider(shutdown_on_exit=False)

    span = tracer_of(provider).start_span("child", context_of(parent))

    told = parent_of(span)
    assert (told.trace_id, told.state, told.is_sampled) == (TRACE, "vendor=1", True)
    assert told.span_id != SPAN
