"""A trainer that does nothing, in a module that imports nothing beside what it needs."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from tuning.data import Labels, Rows
from tuning.space import Params
from tuning.trainers.trainer import Fold, Metrics, Problem


class TrivialTrainer:
    """Reports its parameter and does no work; the option `takes_s` is how long it waits."""

    metrics: tuple[str, ...] = ("accuracy",)
    flavor = "sklearn"
    row_shape: tuple[int, ...] | None = None

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        """Keep the options."""
        self._takes_s = float(options.get("takes_s", 0.0))

    def check(self, params: Params) -> None:
        """Accept everything."""

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Report the parameter."""
        time.sleep(self._takes_s)
        yield {"accuracy": float(str(params["x"]))}

    def refit(self, params: Params, rows: Rows, labels: Labels) -> None:
        """Fit nothing."""

    def score(self, model: Any, rows: Rows, labels: Labels) -> Metrics:
        """Measure nothing."""
        return {"accuracy": 0.0}


class BusyTrainer(TrivialTrainer):
    """Keeps a core busy with the same work in each fold; the option `work` is how many steps."""

    metrics = ("accuracy", "busy_s")

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        """Keep the options."""
        super().__init__(problem, {})
        self._work = int(options["work"])

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Count, and report the seconds that it took."""
        began_at_s = time.perf_counter()
        for _ in range(self._work):
            pass
        took_s = time.perf_counter() - began_at_s
        yield {"accuracy": float(str(params["x"])), "busy_s": took_s}
