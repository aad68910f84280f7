"""How much of its GPU budget a replica holds, as metrics on Ray's export ports."""

import time
from collections.abc import Callable, Mapping
from threading import Thread
from typing import Protocol
from weakref import WeakMethod

from ray.serve import metrics

MIB = 2**20

MEMORY = "rayfleet_gpu_memory_bytes"
BUDGET = "rayfleet_gpu_budget_bytes"
HELP: Mapping[str, str] = {
    MEMORY: "GPU memory that the replica's framework holds.",
    BUDGET: "GPU memory that the replica's framework may take.",
}
"""Ray puts `ray_` before the names, Serve adds application, deployment and replica."""

REPEAT_S = 5.0
"""How often it is looked at where nothing else looks: Ray asks for values every 10 s, and takes a
gauge that was not put to one since off its port after 20 s (Ray 2.60)."""

EVERY_S = 1.0
"""Least time between two looks, seconds: a look costs some microseconds."""


class Gauge(Protocol):
    """What we use of Serve's."""

    def set(self, value: int | float) -> None:
        """Put it to a value."""
        ...


def serve_gauge(name: str) -> Gauge:
    """One of `HELP`, for the replica that asks."""
    gauge: Gauge = metrics.Gauge(name, HELP[name])
    return gauge


class BudgetGauges:
    """Tells what a framework holds, when it is looked at."""

    def __init__(
        self,
        allocator_mib: int,
        held_bytes: Callable[[], int],
        make: Callable[[str], Gauge] = serve_gauge,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin.

        Args:
            allocator_mib: What the framework may take.
            held_bytes: What it holds.
            make: Gives the gauge of a name.
            clock: Any that does not run backwards.
        """
        self._held_bytes = held_bytes
        self._clock = clock
        self._due_at_s = -float("inf")
        self._memory = make(MEMORY)
        self._budget = make(BUDGET)
        self._budget_bytes = allocator_mib * MIB

    def look(self) -> None:
        """Tell it again, unless that was done just now."""
        now_s = self._clock()
        if now_s >= self._due_at_s:
            self._due_at_s = now_s + EVERY_S
            self._memory.set(self._held_bytes())
            self._budget.set(self._budget_bytes)

    def keep_looking(self, every_s: float = REPEAT_S) -> None:
        """Look again and again, from a thread, for as long as anybody holds this object."""
        looks = WeakMethod(self.look)

        def repeat() -> None:
            while (look := looks()) is not None:
                look()
                del look
                time.sleep(every_s)

        Thread(target=repeat, name="gauges", daemon=True).start()
