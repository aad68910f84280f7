"""Which versions are in memory, by stand-ins for models that take what a test says."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import ModelNotReadyError, PredictionError
from deployments.predictor.autoscaling import QUEUE_METRIC
from deployments.predictor.pool import FIRST_RETRY_S, MARGIN_BYTES, MIB, Pool, Target
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch, Form, Layout
from tests.fakes import FakeClock
from tests.properties import examples

BASE = 100 * MIB
"""What the process takes without a model."""

BATCH = Batch({"x": np.ones((1, 2))}, {}, Layout.TENSOR, ())


@dataclass(eq=False)
class Model:
    """A loaded model that answers its version, once it is let."""

    target: Target
    memory: "Process"
    size_bytes: int
    may_answer: asyncio.Event | None = None

    def __post_init__(self) -> None:
        self.memory.taken[id(self)] = self.size_bytes

    def __del__(self) -> None:
        self.memory.freed_bytes += self.memory.taken.pop(id(self))

    def predict_at_once(self, batch: Batch, gateway: str, depth: int) -> Prediction | None:
        return None if self.target[0] == "slow" else self._answer()

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        if self.may_answer is not None:
            await self.may_answer.wait()
        return self._answer()

    def _answer(self) -> Prediction:
        if self.target[0] == "moody":
            raise PredictionError(*self.target[:2], "ValueError: no")
        return Prediction({"x": np.asarray([int(self.target[1])])}, Form.ARRAY, 0.0, 0.0)


@dataclass(eq=False)
class Process:
    """A process that keeps what is freed until it is asked to give it back."""

    taken: dict[int, int] = field(default_factory=dict)
    freed_bytes: int = 0
    most_bytes: int = 0

    def resident_bytes(self) -> int:
        now = BASE + sum(self.taken.values()) + self.freed_bytes
        self.most_bytes = max(self.most_bytes, now)
        return now

    def give_back(self) -> None:
        self.freed_bytes = 0


class Bench:
    """A pool of models of ten MiB each, and what was loaded into it."""

    def __init__(self, limit_bytes: int = BASE + 35 * MIB) -> None:
        self.memory = Process()
        self.clock = FakeClock()
        self.loads: list[Target] = []
        self.sizes: dict[str, int] = {}
        self.faults: dict[str, Exception] = {}
        self.may_load = threading.Event()
        self.may_load.set()
        self.may_answer: dict[str, asyncio.Event] = {}
        self.pool = Pool(self._load, self.memory, limit_bytes + MARGIN_BYTES, self.clock)

    def _load(self, target: Target) -> Model:
        self.loads.append(target)
        assert self.may_load.wait(10)
        if target[0] in self.faults:
            raise self.faults[target[0]]
        size_bytes = self.sizes.get(target[0], 10 * MIB)
        return Model(target, self.memory, size_bytes, self.may_answer.get(target[0]))

    async def ask(self, model: str, version: str = "1", *, depth: int = 1) -> int:
        target = (model, version, "sklearn", 0)
        answer = await self.pool.predict(BATCH, "gateway-1", depth, target)
        return int(answer.arrays["x"][0])

    async def until_held(self, model: str) -> None:
        while model not in self.held:
            await asyncio.sleep(0)

    @property
    def held(self) -> list[str]:
        return [model for model, *_ in self.pool.held]


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def test_a_version_is_loaded_once_and_stays() -> None:
    async def test() -> None:
        bench = Bench()

        assert [await bench.ask("a", "3"), await bench.ask("a", "3")] == [3, 3]

        assert bench.loads == [("a", "3", "sklearn", 0)]

    run(test())


def test_only_a_quick_version_in_memory_answers_at_once() -> None:
    async def test() -> None:
        bench = Bench(BASE + 25 * MIB)

        def at_once(model: str) -> bool:
            target = (model, "1", "sklearn", 0)
            return bench.pool.predict_at_once(BATCH, "gateway-1", 1, target) is not None

        before = at_once("quick")
        for model in ("quick", "slow"):
            await bench.ask(model)

        assert (before, at_once("quick"), at_once("slow"), at_once("quick")) == (
            False,
            True,
            False,
            True,
        )
        await bench.ask("third")
        assert bench.held == ["quick", "third"]  # answering at once is a use, too

    run(test())


def test_however_many_ask_they_wait_for_one_load() -> None:
    async def test() -> None:
        bench = Bench()
        bench.may_load.clear()
        asked = [asyncio.ensure_future(bench.ask("a")) for _ in range(5)]
        await asyncio.sleep(0)
        asked[0].cancel()  # takes only itself away

        bench.may_load.set()

        assert await asyncio.gather(*asked[1:]) == [1, 1, 1, 1]
        assert len(bench.loads) == 1

    run(test())


def test_the_least_recently_used_goes() -> None:
    async def test() -> None:
        bench = Bench()
        for model in ("a", "b", "c", "a"):
            await bench.ask(model)

        await bench.ask("d")

        assert bench.held == ["c", "a", "d"]
        await bench.ask("b")
        assert [target[0] for target in bench.loads] == ["a", "b", "c", "d", "b"]

    run(test())


def test_versions_and_runtimes_are_told_apart() -> None:
    async def test() -> None:
        bench = Bench()

        assert [await bench.ask("a", "1"), await bench.ask("a", "2")] == [1, 2]
        await bench.pool.predict(BATCH, "gateway-1", 1, ("a", "2", "pyfunc", 0))

        assert bench.pool.held == [
            ("a", "1", "sklearn"),
            ("a", "2", "sklearn"),
            ("a", "2", "pyfunc"),
        ]

    run(test())


def test_a_loader_that_the_system_holds_up_keeps_no_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Python's thread holds what it returned until it runs on after it has told so."""
    may_end = threading.Event()

    def run_on(item: Any) -> None:
        result = item.fn(*item.args)
        item.future.set_result(result)
        assert may_end.wait(10)

    async def test() -> None:
        bench = Bench()
        bench.sizes = {"a": 31 * MIB, "b": 31 * MIB}
        monkeypatch.setattr(bench.pool._loaders, "submit", _submit_to_thread(run_on))
        await bench.ask("a")

        assert await bench.ask("b") == 1

        assert bench.held == ["b"]
        assert bench.memory.resident_bytes() == BASE + 31 * MIB
        may_end.set()

    run(test())


def _submit_to_thread(run_item: Callable[[Any], None]) -> Callable[..., Future[Any]]:
    def submit(fn: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        item = SimpleNamespace(fn=fn, args=args, future=future)
        threading.Thread(target=run_item, args=(item,)).start()
        return future

    return submit


def test_what_is_answering_is_not_evicted() -> None:
    async def test() -> None:
        bench = Bench()
        bench.may_answer["a"] = asyncio.Event()
        answering = asyncio.ensure_future(bench.ask("a"))
        await bench.until_held("a")
        for model in ("b", "c", "d", "e"):
            await bench.ask(model)

        assert bench.held == ["a", "d", "e"]
        bench.may_answer["a"].set()
        assert await answering == 1

    run(test())


def test_a_load_waits_where_all_that_is_held_is_answering() -> None:
    async def test() -> None:
        bench = Bench(BASE + 15 * MIB)
        bench.may_answer["a"] = asyncio.Event()
        answering = asyncio.ensure_future(bench.ask("a"))
        await bench.until_held("a")
        waiting = asyncio.ensure_future(bench.ask("b"))
        await asyncio.sleep(0.05)
        assert bench.held == ["a"]

        bench.may_answer["a"].set()

        assert list(await asyncio.gather(answering, waiting)) == [1, 1]
        assert bench.held == ["b"]

    run(test())


def test_one_that_does_not_fit_alone_fails_and_says_what_it_takes() -> None:
    async def test() -> None:
        bench = Bench()
        bench.sizes["whale"] = 75 * MIB
        await bench.ask("a")

        with pytest.raises(ModelNotReadyError) as caught:
            await bench.ask("whale")

        assert str(caught.value) == (
            "model 'whale' is not ready: version 1 could not be loaded: MemoryError: the pool's"
            " process takes 175 MiB with it alone, 75 of them its own, memory_mib is 159"
        )
        assert bench.held == []
        assert await bench.ask("a") == 1

    run(test())


def test_one_that_cannot_be_loaded_fails_alone_and_is_tried_again_after_a_wait() -> None:
    async def test() -> None:
        bench = Bench()
        bench.faults["torn"] = RuntimeError("weights file is torn\nat line 3")

        async def reason() -> str:
            with pytest.raises(ModelNotReadyError) as caught:
                await bench.ask("torn")
            return str(caught.value)

        expected = (
            "model 'torn' is not ready: version 1 could not be loaded:"
            " RuntimeError: weights file is torn"
        )
        assert [await reason(), await reason()] == [expected, expected]
        assert await bench.ask("a") == 1
        assert [target[0] for target in bench.loads] == ["torn", "a"]

        bench.clock.advance(FIRST_RETRY_S)
        assert await reason() == expected
        bench.clock.advance(FIRST_RETRY_S)
        await reason()
        assert len(bench.loads) == 3  # the second wait is twice as long
        bench.clock.advance(FIRST_RETRY_S)
        del bench.faults["torn"]

        assert await bench.ask("torn") == 1

    run(test())


def test_what_a_model_raises_is_its_own_failure() -> None:
    async def test() -> None:
        bench = Bench()

        for _ in range(2):
            with pytest.raises(PredictionError):
                await bench.ask("moody")

        assert len(bench.loads) == 1

    run(test())


def test_what_the_fleet_no_longer_has_here_is_dropped() -> None:
    async def test() -> None:
        bench = Bench()
        bench.may_answer["c"] = asyncio.Event()
        answering = asyncio.ensure_future(bench.ask("c"))
        await bench.until_held("c")
        for model in ("a", "b"):
            await bench.ask(model)

        bench.pool.keep_only({"b--v1"})

        assert bench.held == ["c", "b"]
        bench.may_answer["c"].set()
        await answering
        bench.pool.keep_only({"b--v1"})
        assert bench.held == ["b"]

    run(test())


def test_memory_that_grows_later_is_taken_from_what_is_idle() -> None:
    async def test() -> None:
        bench = Bench()
        for model in ("a", "b", "c"):
            await bench.ask(model)
        bench.memory.taken[0] = 12 * MIB  # such as a cache inside a model

        await bench.pool.keep_within()

        assert bench.held in (["b", "c"], ["c"])
        assert bench.memory.resident_bytes() <= BASE + 35 * MIB

    run(test())


def test_autoscaling_sees_what_the_gateways_said_last() -> None:
    async def test() -> None:
        bench = Bench()

        await bench.ask("a", depth=3)
        await bench.ask("b", depth=7)

        assert bench.pool.record_autoscaling_stats() == {QUEUE_METRIC: 7.0}

    run(test())


@examples(60)
@given(
    asked=st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), min_size=1, max_size=40),
    sizes=st.lists(st.integers(1, 30), min_size=10, max_size=10),
)
def test_every_request_is_answered_and_memory_stays_bounded(
    asked: list[tuple[int, int]], sizes: list[int]
) -> None:
    """Sizes are known from the files; what is asked at the same time may be several models."""
    limit_bytes = BASE + 64 * MIB
    bench = Bench(limit_bytes)
    bench.sizes = {str(model): size * MIB for model, size in enumerate(sizes)}

    async def test() -> None:
        for model, times in asked:
            targets = [
                (str((model + each) % 10), "1", "sklearn", sizes[(model + each) % 10] * MIB // 2)
                for each in range(times)
            ]
            answers = [bench.pool.predict(BATCH, "g", 1, target) for target in targets]
            await asyncio.gather(*answers)
            assert set(bench.held) >= {targets[-1][0]} or times > 1
            assert bench.memory.resident_bytes() <= limit_bytes

    run(test())
