import asyncio
import pickle
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pytest
from msgspec.structs import replace
from opentelemetry.trace import get_current_span

from deployments.errors import ConfigError, PredictionError
from deployments.predictor import predictor as module
from deployments.predictor.autoscaling import DEPTH_TTL_S, QUEUE_METRIC
from deployments.predictor.prediction import Prediction
from deployments.predictor.predictor import MANY_WAITS, MAX_REASON, Predictor
from deployments.predictor.runtimes.runtime import PLAIN
from deployments.predictor.served import ServedPredictor
from deployments.predictor.servedpool import ServedPool
from deployments.protocols.frames import FrameReader, Kind, encode_frame
from deployments.protocols.tensors import Batch, Form, Layout, Outputs
from tests.fakes import FakeClock, sums
from tests.lines import kept_lines
from tests.tracing import SPAN, TRACE, kept_spans, own, parent
from tuning.tracecontext import Parent

MAIN = threading.main_thread()
BATCH = Batch({"x": np.array([[1.0, 2.0]])}, {}, Layout.TENSOR)


class FakeRuntime:
    """Takes as long as it is told, and remembers which threads called it."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.takes_s = 0.0
        self.waits_s = 0.0
        self.cpu_s = 0.0
        self.error: Exception | None = None
        self.threads: list[threading.Thread] = []
        self.during: Callable[[], Any] = lambda: None

    def predict(self, batch: Batch) -> Outputs:
        self.threads.append(threading.current_thread())
        self.during()
        self._clock.advance(self.takes_s + self.waits_s)
        self.cpu_s += self.takes_s
        if self.error is not None:
            raise self.error
        return Outputs(sums(batch), Form.ARRAY)


class Replica:
    """A predictor around a fake runtime."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock()
        self.runtime = FakeRuntime(self.clock)
        self.loaded: tuple[Any, ...] = ()
        monkeypatch.setattr(module, "make_runtime", self._load)
        self.predictor = Predictor(
            "churn", "3", "sklearn", "sqlite:///t", "sqlite:///r",
            clock=self.clock, cpu_clock=lambda: self.runtime.cpu_s,
        )  # fmt: skip

    def _load(self, *arguments: Any) -> FakeRuntime:
        self.loaded = arguments
        return self.runtime

    def ask(self, batch: Batch) -> Any:
        return asyncio.run(self.predictor.predict(batch, "gateway-1", 1))

    def __call__(self, times: int = 1, batch: Batch = BATCH) -> Any:
        async def ask() -> Any:
            for _ in range(times):
                answer = await self.predictor.predict(batch, "gateway-1", 1)
            return answer

        return asyncio.run(ask())

    @property
    def inline(self) -> list[bool]:
        """Of each call, whether it ran on the event loop's own thread."""
        return [thread is threading.main_thread() for thread in self.runtime.threads]


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> Replica:
    return Replica(monkeypatch)


def test_it_loads_the_version_that_it_is_named_after(replica: Replica) -> None:
    assert replica.loaded == ("sklearn", "models:/churn/3", "sqlite:///t", "sqlite:///r", PLAIN)


def test_it_answers_with_the_model_s_own_time(replica: Replica) -> None:
    replica.runtime.takes_s = 0.25

    prediction = replica()

    assert prediction.outputs.arrays["output-0"].tolist() == [3.0]
    assert (prediction.predict_s, prediction.wait_s) == (pytest.approx(0.25), 0.0)
    assert pickle.loads(pickle.dumps(prediction)).predict_s == prediction.predict_s  # noqa: S301, our own


def test_a_fast_model_moves_onto_the_event_loop_and_a_slow_one_leaves_it(replica: Replica) -> None:
    replica.runtime.takes_s = 0.0001
    replica(60)
    assert (replica.inline[0], replica.inline[-1]) == (False, True)

    replica.runtime.takes_s = 0.1
    replica(2)

    assert replica.inline[-2:] == [True, False]


def test_a_thread_that_waits_for_a_busy_loop_is_not_slow(replica: Replica) -> None:
    replica.runtime.takes_s, replica.runtime.waits_s = 0.0001, 0.006
    replica.runtime.during = lambda: setattr(
        replica.runtime, "waits_s", 0.006 if threading.current_thread() is not MAIN else 0.0
    )

    replica(60)

    assert replica.inline[-10:] == [True] * 10


def test_a_model_that_waits_for_others_leaves_the_loop_for_good(replica: Replica) -> None:
    replica.runtime.takes_s, replica.runtime.waits_s = 0.0001, 0.02

    replica(1000)

    assert replica.inline.count(True) == MANY_WAITS


def test_a_model_that_lost_its_core_now_and_then_comes_back_onto_the_loop(
    replica: Replica,
) -> None:
    replica.runtime.takes_s = 0.0001
    for _ in range(2 * MANY_WAITS):
        replica.runtime.waits_s = 0.02
        replica()
        replica.runtime.waits_s = 0.0
        replica(60)

    assert replica.inline[-10:] == [True] * 10


def test_a_batch_in_the_thread_is_never_joined_by_one_on_the_event_loop(replica: Replica) -> None:
    replica.runtime.takes_s = 0.0001
    replica(60)
    replica.predictor._typical_s = 1.0  # the next batch goes to the thread …
    started, go_on = threading.Event(), threading.Event()
    running = 0
    together = 0

    def during() -> None:
        nonlocal running, together
        running += 1
        together = max(together, running)
        started.set()
        go_on.wait(5.0)
        running -= 1

    async def test() -> None:
        replica.runtime.during = during
        first = asyncio.ensure_future(replica.predictor.predict(BATCH, "a", 1))
        await asyncio.to_thread(started.wait, 5.0)
        replica.predictor._typical_s = 0.0  # … and the model proves fast meanwhile
        second = asyncio.ensure_future(replica.predictor.predict(BATCH, "b", 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(first, second)

    asyncio.run(test())

    assert together == 1


@pytest.mark.parametrize("inline", [False, True], ids=["in-the-thread", "on-the-loop"])
@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(ValueError("bad row"), "ValueError: bad row", id="message"),
        pytest.param(KeyError("x"), "KeyError: 'x'", id="key"),
        pytest.param(RuntimeError(), "RuntimeError: ", id="no-message"),
        pytest.param(
            ValueError("first\n  File '/srv/model.py'"), "ValueError: first", id="first-line-only"
        ),
        pytest.param(ValueError("\n\nlate"), "ValueError: late", id="leading-line-ends"),
        pytest.param(MemoryError("out of 9 MiB"), "MemoryError: out of 9 MiB", id="memory"),
    ],
)
def test_what_a_model_raises_becomes_a_prediction_error(
    replica: Replica, error: Exception, reason: str, inline: bool
) -> None:
    replica.predictor._typical_s = 0.0 if inline else 1.0
    replica.runtime.error = error

    with pytest.raises(PredictionError) as caught:
        replica()

    assert caught.value.args == ("churn", "3", reason)
    assert caught.value.__cause__ is None
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args  # noqa: S301, our own


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(ConfigError("gpu_memory_mib 9: above the share"), id="refused"),
        pytest.param(MemoryError("gpu_memory_mib 9: above the share"), id="too-large-to-load"),
    ],
)
def test_a_version_that_its_gpu_cannot_take_is_named(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load(*_: Any) -> FakeRuntime:
        raise error

    monkeypatch.setattr(module, "make_runtime", load)

    with pytest.raises(ConfigError) as caught:
        Predictor("churn", "3", "torch", "sqlite:///t", "sqlite:///r")

    line = "model 'churn' version 3: gpu_memory_mib 9: above the share"
    assert str(caught.value) == line


def test_the_traceback_s_line_names_version_and_requests(replica: Replica) -> None:
    replica.runtime.error = ValueError("once")

    with (
        kept_lines("deployments.predictor.predictor") as lines,
        pytest.raises(PredictionError),
    ):
        replica(batch=replace(BATCH, request_ids=b"id-1\nid-2"))

    (line,) = lines
    said = vars(line)
    assert said["request_ids"] == b"id-1\nid-2"
    assert (said["model"], said["version"]) == ("churn", "3")
    assert line.exc_info is not None
    assert line.exc_info[1] is replica.runtime.error


def test_a_long_reason_is_cut(replica: Replica) -> None:
    replica.runtime.error = ValueError("x" * 10_000)

    with pytest.raises(PredictionError) as caught:
        replica()

    assert len(caught.value.args[2]) == MAX_REASON
    assert caught.value.args[2].endswith("…")


def test_a_replica_goes_on_after_an_error(replica: Replica) -> None:
    replica.runtime.error = ValueError("once")
    with pytest.raises(PredictionError):
        replica()

    replica.runtime.error = None

    assert replica().outputs.arrays["output-0"].tolist() == [3.0]


def test_depths_of_all_gateways_are_added_while_they_are_fresh(replica: Replica) -> None:
    async def ask(gateway: str, depth: int) -> None:
        await replica.predictor.predict(BATCH, gateway, depth)

    assert replica.predictor.record_autoscaling_stats() == {QUEUE_METRIC: 0.0}
    asyncio.run(ask("a", 9))
    asyncio.run(ask("a", 3))
    replica.clock.advance(1.0)
    asyncio.run(ask("b", 4))

    assert replica.predictor.record_autoscaling_stats() == {QUEUE_METRIC: 7.0}
    replica.clock.advance(DEPTH_TTL_S - 1.0)
    assert replica.predictor.record_autoscaling_stats() == {QUEUE_METRIC: 7.0}
    replica.clock.advance(0.5)
    assert replica.predictor.record_autoscaling_stats() == {QUEUE_METRIC: 4.0}
    replica.clock.advance(DEPTH_TTL_S)
    assert replica.predictor.record_autoscaling_stats() == {QUEUE_METRIC: 0.0}


def test_a_traced_batch_has_a_span_that_the_model_s_own_calls_join(replica: Replica) -> None:
    seen: list[Any] = []
    replica.runtime.during = lambda: seen.append(get_current_span().get_span_context().span_id)
    with kept_spans() as kept:
        replica.predictor.trace(kept.traces.of_copies)

        replica.ask(replace(BATCH, trace=Parent(TRACE, SPAN, True)))
        replica.ask(BATCH)

        (span,) = kept.named("predict")
    assert (f"{span.context.trace_id:032x}", parent(span)) == (TRACE, int(SPAN, 16))
    assert seen == [own(span), 0]
    said = dict(span.attributes or {})
    assert (said["rayfleet.model"], said["rayfleet.version"]) == ("churn", "3")
    assert said["rayfleet.batch.rows"] == 1


def test_what_a_model_raises_is_in_its_span_by_its_class_alone(replica: Replica) -> None:
    replica.runtime.error = ValueError("1234567 is too much")
    with kept_spans() as kept:
        replica.predictor.trace(kept.traces.of_copies)

        with pytest.raises(PredictionError):
            replica.ask(replace(BATCH, trace=Parent(TRACE, SPAN, True)))

        (span,) = kept.spans
    assert not span.status.is_ok
    assert dict(span.attributes or {})["error.type"] == "ValueError"
    assert "1234567" not in span.to_json()


def test_a_model_that_hangs_in_its_thread_fails_the_health_check(replica: Replica) -> None:
    """The event loop goes on, so that nothing else would tell."""

    def hang() -> None:
        replica.clock.advance(2 * 30.0 - 1.0)
        replica.predictor.check_thread(30.0)
        replica.clock.advance(2.0)
        with pytest.raises(RuntimeError, match="churn version 3 has been at one batch for 61 s"):
            replica.predictor.check_thread(30.0)

    replica.runtime.during = hang
    replica()

    replica.clock.advance(100.0)
    replica.predictor.check_thread(30.0)


def test_replicas_of_versions_and_of_pools_ask_the_threads(replica: Replica) -> None:
    watching = SimpleNamespace(done=lambda: False)
    served: Any = SimpleNamespace(_predictor=replica.predictor, _deadline_s=1.0)
    pool: Any = SimpleNamespace(
        _loaded=WeakValueDictionary({1: replica.predictor}), _deadline_s=1.0, _watching=watching
    )

    def hang() -> None:
        replica.clock.advance(12.0)
        for check in (ServedPredictor.check_health, ServedPool.check_health):
            with pytest.raises(RuntimeError, match="seems to hang"):
                check(pool if check is ServedPool.check_health else served)

    ServedPredictor.check_health(served)
    ServedPool.check_health(pool)
    replica.runtime.during = hang
    replica()

    assert replica.inline == [False]


def test_many_arrays_in_an_output_become_lists(replica: Replica) -> None:
    """Each array would be a buffer of the frame, whose head counts 65,535 of them."""
    rows = np.empty(70_000, dtype=object)
    rows[:] = [np.array([n, 0.5], dtype=np.float32) for n in range(70_000)]
    replica.runtime.predict = lambda batch: Outputs({"y": rows}, Form.ARRAY)  # type: ignore[method-assign]

    prediction = replica()

    (frame,) = FrameReader().feed(encode_frame(Kind.ANSWER, 1, prediction.plain()))
    assert Prediction.of(*frame.value).arrays["y"][2] == [2.0, 0.5]


def test_an_answer_that_no_frame_can_carry_is_the_version_s_failure(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100_000)
    replica.runtime.predict = lambda batch: Outputs({"y": np.ones(20_000)}, Form.ARRAY)  # type: ignore[method-assign]

    with pytest.raises(PredictionError, match="answered 160000 bytes, at most 100000"):
        replica()


def test_a_gateway_s_queue_counts_while_its_batch_is_under_way(replica: Replica) -> None:
    def take_long() -> None:
        while not replica.predictor.is_busy:  # the other thread is about to take note of this one
            time.sleep(0.001)
        replica.clock.advance(10 * DEPTH_TTL_S)
        assert replica.predictor.record_autoscaling_stats() == {QUEUE_METRIC: 1.0}

    replica.runtime.during = take_long
    replica()

    replica.clock.advance(DEPTH_TTL_S + 1.0)
    assert replica.predictor.record_autoscaling_stats() == {QUEUE_METRIC: 0.0}
