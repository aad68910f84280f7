"""The spans of sweeps, trials and folds, apart from the processes that make them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sweeping import FAKE
from tests.tracing import SAMPLED, SPAN, TRACE, UNSAMPLED, kept_spans, own, parent
from tests.tuning.test_book import SPEC, complete
from tests.tuning.trials import reports
from tuning import spans, trainable, work
from tuning.book import Book
from tuning.crossvalidation import Report
from tuning.ledger import Ledger, Trial
from tuning.spec import SweepSpec, check_sweep
from tuning.suggestion import make_suggestions
from tuning.sweeptraces import SweepTraces, TrialTraces
from tuning.tracecontext import Parent, parse_parent
from tuning.tracespec import TracesSpec
from tuning.tracing import open_trial_traces, traced_sweep
from tuning.workload import make_workload


class Runs:
    """MLflow's runs of trials, as far as they are written."""

    def __init__(self) -> None:
        self.written: dict[int, str] = {}

    def __call__(self, trial: Trial) -> str:
        return self.written[trial.number]


def open_book(folder: Path, traces: SweepTraces) -> Book:
    suggestions = make_suggestions(SPEC)
    return Book(SPEC.n_trials, Ledger(folder), suggestions, [traces], clock=lambda: 7.0)


def test_a_sweep_has_a_span_below_what_started_it_and_its_trials_below_that(
    tmp_path: Path,
) -> None:
    runs = Runs()
    with kept_spans() as kept:
        traces = SweepTraces(kept.provider, Parent(TRACE, SPAN, True), "s", "run-of-the-sweep")
        traces.run_id = runs
        book = open_book(tmp_path, traces)
        for number in range(3):
            book.next()
            assert traces.told(number) is not None
        complete(book, 0)  # its run is not written yet
        runs.written = {0: "run-0", 1: "run-1"}
        book.end(1, "Traceback")
        assert len(kept.named("trial")) == 2
        traces.close(None)

        (sweep,), trials = kept.named("sweep"), kept.named("trial")
    assert parent(sweep) == int(SPAN, 16)
    assert dict(sweep.attributes or {})["mlflow.run_id"] == "run-of-the-sweep"
    assert {parent(span) for span in trials} == {own(sweep)}
    said = [dict(span.attributes or {}) for span in trials]
    assert [
        (each["rayfleet.trial"], each["rayfleet.state"], each.get("mlflow.run_id")) for each in said
    ] == [(0, "complete", "run-0"), (1, "failed", "run-1"), (2, "interrupted", None)]
    assert [span.status.is_ok for span in trials] == [True, False, True]
    assert [span.start_time for span in trials] == [7_000_000_000] * 3


def test_a_sweep_that_fails_says_with_what(tmp_path: Path) -> None:
    with kept_spans() as kept:
        SweepTraces(kept.provider, None, "s", "run").close(OSError("disk full"))

        (sweep,) = kept.spans
    assert sweep.parent is None
    assert dict(sweep.attributes or {})["error.type"] == "OSError"
    assert not sweep.status.is_ok


def failing(*before: Report) -> Iterator[Report]:
    yield from before
    raise ValueError("1234567 is no label")


def test_each_fold_has_a_span_below_its_trial() -> None:
    with kept_spans() as kept:
        passed = list(TrialTraces(kept.provider).folds(iter(reports(0.5, 0.7)), SAMPLED))

        first, second = kept.named("fold")
    assert passed == list(reports(0.5, 0.7))
    assert {parent(first), parent(second)} == {int(SPAN, 16)}
    said = [dict(span.attributes or {}) for span in (first, second)]
    assert [(each["rayfleet.fold"], each["rayfleet.mean"]) for each in said] == [
        (0, 0.5),
        (1, pytest.approx(0.6)),
    ]
    assert first.end_time is not None
    assert first.end_time <= (second.start_time or 0)


def test_a_trial_that_is_stopped_leaves_the_span_of_the_fold_that_it_had() -> None:
    with kept_spans() as kept:
        stopped = TrialTraces(kept.provider).folds(iter(reports(0.5, 0.7)), SAMPLED)
        next(stopped)
        assert kept.spans == ()
        del stopped

        (span,) = kept.named("fold")
    assert span.status.is_ok


@pytest.mark.parametrize("n_before", [0, 1])
def test_a_fold_that_raises_is_one_that_failed_and_does_not_say_on_what(n_before: int) -> None:
    with kept_spans() as kept:
        before = reports(0.5, of=2)[:n_before]
        with pytest.raises(ValueError, match="1234567"):
            list(TrialTraces(kept.provider).folds(failing(*before), SAMPLED))

        *_, last = kept.named("fold")
    said = dict(last.attributes or {})
    assert (said["rayfleet.fold"], said["error.type"]) == (n_before, "ValueError")
    assert "1234567" not in last.to_json()


@pytest.mark.parametrize("told", [None, "nonsense"])
def test_a_trial_without_a_span_has_none_below(told: str | None) -> None:
    with kept_spans() as kept:
        assert list(TrialTraces(kept.provider).folds(iter(reports(0.5)), told)) == [*reports(0.5)]

        assert kept.spans == ()


@pytest.mark.parametrize(
    ("config", "variables", "is_traced"),
    [
        pytest.param(None, {}, False, id="not-asked-for"),
        pytest.param({}, {}, True, id="asked-for"),
        pytest.param({"sampling": 0.0}, {}, False, id="no-share"),
        pytest.param({"sampling": 0.0}, {"TRACEPARENT": SAMPLED}, True, id="by-what-started-it"),
        pytest.param({}, {"TRACEPARENT": UNSAMPLED}, False, id="not-by-what-started-it"),
        pytest.param({}, {"OTEL_SDK_DISABLED": "true"}, False, id="disabled"),
    ],
)
def test_whether_a_sweep_is_traced(
    config: dict[str, float] | None,
    variables: dict[str, str],
    is_traced: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spans, "CLOSE_S", 0.05)  # nobody is at the address
    spec = type(SPEC).model_validate({**SPEC.model_dump(by_alias=True), "traces": config})

    with traced_sweep(spec, "run", variables) as traces:
        assert (traces is not None) is is_traced
        if traces is not None and "TRACEPARENT" in variables:
            traces.on_start(Trial(0, {}, {}, started_at_s=1.0))
            told = parse_parent(traces.told(0))
            assert told is not None
            assert told.trace_id == TRACE


def test_trials_of_a_sweep_that_is_not_traced_make_no_spans() -> None:
    assert open_trial_traces(None) is None


def test_an_actor_s_folds_are_below_the_trial_that_it_was_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spec = SweepSpec.model_validate({**FAKE, "traces": {"endpoint": "http://collector:4318"}})
    workload = make_workload(check_sweep(spec, "sweep.yaml"))
    asked: list[TracesSpec | None] = []
    with kept_spans() as kept:

        def opened(traces: TracesSpec | None) -> TrialTraces:
            asked.append(traces)
            return TrialTraces(kept.provider)

        monkeypatch.setattr(work, "open_trial_traces", opened)
        actor = object.__new__(trainable.SweepTrial)  # Tune's own part needs a cluster
        actor.setup({"number": 0, "params": {"x": 0.5}, "trace": SAMPLED}, workload)
        assert actor.step()["done"] is False
        assert actor.step()["done"] is True
        actor.reset_config({"number": 1, "params": {"x": 0.6}, "trace": SAMPLED.replace("a", "b")})
        actor.step()
        actor.cleanup()

        folds = kept.named("fold")
    assert asked == [spec.traces]
    told = [(f"{span.context.trace_id:032x}", parent(span)) for span in folds]
    assert told[:2] == [(TRACE, int(SPAN, 16))] * 2
    assert told[2:] == [(TRACE.replace("a", "b"), int(SPAN.replace("a", "b"), 16))]
