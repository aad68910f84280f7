"""What a replica holds of its GPU budget is told once a second at most."""

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
