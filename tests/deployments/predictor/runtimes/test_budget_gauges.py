"""What a replica holds of its GPU budget is told once a second at most."""

from itertools import count
from threading import Semaphore
from time import monotonic
from weakref import ref

from deployments.predictor.runtimes.budget_gauges import (
    BUDGET,
    EVERY_S,
    HELP,
    MEMORY,
    BudgetGauges,
)
from tests.deployments.predictor.runtimes.gauges import Gauges
from tests.fakes import FakeClock


def test_budget_and_memory_are_told_in_bytes() -> None:
    gauges = Gauges()
    BudgetGauges(2, lambda: 1_000, gauges.make).look()

    assert gauges.values == {MEMORY: [1_000], BUDGET: [2 * 2**20]}
    assert gauges.values.keys() == HELP.keys()


def test_a_second_look_waits_for_its_time() -> None:
    gauges, clock = Gauges(), FakeClock()
    held = iter([1, 2])
    told = BudgetGauges(2, lambda: next(held), gauges.make, clock)

    told.look()
    clock.advance(EVERY_S / 2)
    told.look()
    clock.advance(EVERY_S / 2)
    told.look()

    assert gauges.values[MEMORY] == [1, 2]


def test_an_idle_replica_s_is_told_again_until_the_replica_is_gone() -> None:
    gauges, looks = Gauges(), Semaphore(0)

    def held() -> int:
        looks.release()
        return 1

    told = BudgetGauges(2, held, gauges.make, count(step=60).__next__)
    told.keep_looking(every_s=0.001)
    for _ in range(3):
        assert looks.acquire(timeout=10)
    gone = ref(told)
    del told

    deadline_s = monotonic() + 10
    while gone() is not None and monotonic() < deadline_s:
        looks.acquire(timeout=0.01)
    assert gone() is None
    assert gauges.values[BUDGET][:2] == [2 * 2**20] * 2
