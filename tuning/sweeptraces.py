"""The spans of a sweep, its trials and their folds. Imported only where traces are made.

The driver makes those of the sweep and of the trials, and tells each trial's actor of its
span, below which the actor makes one for each fold.
"""

import time
from collections.abc import Callable, Iterator

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, StatusCode, set_span_in_context

from tuning.crossvalidation import Report
from tuning.ledger import Trial, TrialState
from tuning.spans import context_of, parent_of, tracer_of
from tuning.tracecontext import Parent, parse_parent

RUN_ID = "mlflow.run_id"
"""Of the run that has a sweep's or a trial's results."""

NANOSECONDS = 1e9


class SweepTraces:
    """An observer of the book that makes spans."""

    def __init__(
        self, provider: TracerProvider, parent: Parent | None, name: str, run_id: str
    ) -> None:
        """Begin the sweep's span.

        Args:
            provider: Takes the spans.
            parent: What started the sweep, if that is traced.
            name: The sweep's.
            run_id: Of its MLflow run.
        """
        self._provider = provider
        self._tracer = tracer_of(provider)
        said = {"rayfleet.sweep": name, RUN_ID: run_id}
        self._sweep = self._tracer.start_span("sweep", context_of(parent), attributes=said)
        self._below: Context = set_span_in_context(self._sweep, Context())
        self._running: dict[int, Span] = {}
        self._ended: dict[int, tuple[Span, Trial]] = {}

        self.run_id: Callable[[Trial], str] | None = None
        """Finds a trial's MLflow run; raises KeyError while there is none."""

    def told(self, number: int) -> str | None:
        """What an actor is told of a running trial's span, as a `traceparent`."""
        span = self._running.get(number)
        return parent_of(span).header if span is not None else None

    def on_start(self, trial: Trial) -> None:
        """Begin a trial's span."""
        self._running[trial.number] = self._tracer.start_span(
            "trial",
            self._below,
            attributes={"rayfleet.trial": trial.number},
            start_time=int(trial.started_at_s * NANOSECONDS),
        )

    def on_report(self, trial: Trial) -> None:
        """Nothing to do: folds are the actor's to tell."""

    def on_end(self, trial: Trial) -> None:
        """End a trial's span, once its MLflow run is known: that is written by a thread."""
        span = self._running.pop(trial.number, None)
        if span is not None:
            self._ended[trial.number] = span, trial
        for number in list(self._ended):
            self._finish(number, at_last=False)

    def close(self, error: BaseException | None) -> None:
        """End the sweep's span, and what is left below it.

        Args:
            error: What ended the sweep; None where it has done its work.
        """
        for number in list(self._ended):
            self._finish(number, at_last=True)
        for span in self._running.values():
            span.set_attribute("rayfleet.state", "interrupted")
            span.end()
        if error is not None:
            self._sweep.set_attribute("error.type", type(error).__name__)
            self._sweep.set_status(StatusCode.ERROR)
        self._sweep.end()
        self._provider.shutdown()

    def _finish(self, number: int, *, at_last: bool) -> None:
        span, trial = self._ended[number]
        try:
            run_id = self.run_id(trial) if self.run_id is not None else ""
        except KeyError:
            if not at_last:
                return
            run_id = ""
        del self._ended[number]
        if run_id:
            span.set_attribute(RUN_ID, run_id)
        span.set_attribute("rayfleet.state", str(trial.state))
        if trial.state is TrialState.FAILED:
            span.set_status(StatusCode.ERROR)
        ended_at_s = trial.ended_at_s if trial.ended_at_s is not None else time.time()
        span.end(int(ended_at_s * NANOSECONDS))


class TrialTraces:
    """Makes the spans of the trials of one actor."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = tracer_of(provider)

    def folds(self, reports: Iterator[Report], told: str | None) -> Iterator[Report]:
        """Pass reports on, and make a span of each fold that they show.

        Args:
            reports: A trial's. Those that a checkpoint repeats make spans of no length.
            told: The trial's span; None where it has none.
        """
        parent = parse_parent(told)
        if parent is None:
            yield from reports
            return
        context = context_of(parent)
        span: Span | None = None
        last: Report | None = None
        began_ns = time.time_ns()
        try:
            for report in reports:
                if span is None or last is None or report.fold != last.fold:
                    _end(span, began_ns)
                    span = self._fold(context, report.fold, began_ns)
                last, began_ns = report, time.time_ns()
                span.set_attribute("rayfleet.epochs", report.epoch + 1)
                span.set_attribute("rayfleet.mean", report.mean)
                if report.complete:  # nobody may ask for more, and the process may end
                    span.end(began_ns)
                    self._provider.force_flush()
                yield report
        except Exception as error:
            if span is None or last is None or last.fold_complete:
                _end(span, began_ns)
                span = self._fold(context, last.fold + 1 if last is not None else 0, began_ns)
            span.set_attribute("error.type", type(error).__name__)
            span.set_status(StatusCode.ERROR)
            began_ns = time.time_ns()
            raise
        finally:
            if last is None or not last.complete:
                _end(span, began_ns)

    def close(self) -> None:
        """Send what is left, in a moment or not at all."""
        self._provider.shutdown()

    def _fold(self, context: Context, number: int, began_ns: int) -> Span:
        said = {"rayfleet.fold": number}
        return self._tracer.start_span("fold", context, attributes=said, start_time=began_ns)


def _end(span: Span | None, at_ns: int) -> None:
    if span is not None:
        span.end(at_ns)
