"""A real OTLP collector, rotel, and behind it a server that keeps what the collector passes on."""

import gzip
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import rotel
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from deployments.haproxy import free_port
from tests.integration.hosting import eventually

AGENT = Path(rotel.__file__).parent / "rotel-agent"

BATCH_TIMEOUT = "50ms"


@dataclass(frozen=True, slots=True)
class Span:
    """What the collector says of a span."""

    name: str
    service: str
    trace_id: str
    span_id: str
    parent_id: str
    links: frozenset[str]
    attributes: Mapping[str, Any]
    failed: bool
    began_ns: int
    ended_ns: int


class Collected:
    """The spans that the collector has passed on."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        """Where the collector listens."""
        self._lock = Lock()
        self._spans: list[Span] = []

    def add(self, message: ExportTraceServiceRequest) -> None:
        """Keep what came in one message."""
        found = [
            _span(span, _attributes(of_resource.resource.attributes))
            for of_resource in message.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]
        with self._lock:
            self._spans += found

    def of(self, trace_id: str) -> list[Span]:
        """The spans of one trace so far."""
        with self._lock:
            return [span for span in self._spans if span.trace_id == trace_id]

    def wait_for(self, trace_id: str, *names: str) -> dict[str, Span]:
        """Wait until a trace has spans of these names; gives the first one of each."""

        def found() -> dict[str, Span] | None:
            by_name = {span.name: span for span in reversed(self.of(trace_id))}
            return by_name if by_name.keys() >= set(names) else None

        spans: dict[str, Span] = eventually(f"spans {', '.join(names)}", found)
        return spans


@contextmanager
def collecting(folder: Path) -> Iterator[Collected]:
    """Run a collector while the block runs.

    Args:
        folder: For its log.
    """
    address = f"127.0.0.1:{free_port()}"
    collected = Collected(f"http://{address}")

    class Behind(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            collected.add(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: Any) -> None:
            """Write nothing."""

    behind = ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    Thread(target=behind.serve_forever, daemon=True).start()
    command = [
        str(AGENT), "start",
        "--otlp-http-endpoint", address,
        "--otlp-grpc-endpoint", f"127.0.0.1:{free_port()}",
        "--exporter", "otlp",
        "--otlp-exporter-endpoint", f"http://127.0.0.1:{behind.server_port}",
        "--otlp-exporter-protocol", "http",
        "--batch-timeout", BATCH_TIMEOUT,
    ]  # fmt: skip
    with (folder / "rotel.log").open("wb") as log:
        agent = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield collected
        finally:
            agent.terminate()
            agent.wait(10)
            behind.shutdown()
            behind.server_close()


def _span(span: Any, resource: Mapping[str, Any]) -> Span:
    return Span(
        name=span.name,
        service=resource["service.name"],
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        links=frozenset(link.span_id.hex() for link in span.links),
        attributes=_attributes(span.attributes),
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
