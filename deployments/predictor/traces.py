"""The span of a replica's work on a batch. Imported only where traces are made."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode, use_span

from deployments.protocols.tensors import Batch
from tuning.spans import context_of, tracer_of
from tuning.tracecontext import Parent

MILLISECONDS = 1000.0


class ReplicaTraces:
    """Makes the spans of one replica."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = tracer_of(provider)

    @contextmanager
    def predicting(
        self, parent: Parent, batch: Batch, model: str, version: str, wait_s: float
    ) -> Iterator[None]:
        """Have a span while the model works; it is the current one for what the model calls.

        Args:
            parent: The batch's, at its gateway.
            batch: What the model works on.
            model: Its name.
            version: As above.
            wait_s: How long the batch has waited here, seconds.
        """
        span = self._tracer.start_span(
            "predict",
            context_of(parent),
            kind=SpanKind.SERVER,
            attributes={
                "rayfleet.model": model,
                "rayfleet.version": version,
                "rayfleet.batch.rows": max(
                    (len(each) for each in batch.inputs.values()), default=0
                ),
                "rayfleet.wait_ms": wait_s * MILLISECONDS,
            },
        )
        # Neither the text of an error nor its traceback: either may quote the inputs.
        with use_span(
            span, end_on_exit=True, record_exception=False, set_status_on_exception=False
        ):
            try:
                yield
            except Exception as error:
                span.set_attribute("error.type", type(error).__name__)
                span.set_status(StatusCode.ERROR)
                raise

    def close(self) -> None:
        """Send what is left, in a moment or not at all."""
        self._provider.shutdown()
