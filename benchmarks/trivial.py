"""A trainer that does nothing, in a module that imports nothing beside what it needs."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.data import Labels, Rows
from tuning.space import Params
from tuning.trainers.trainer import Fold, Metrics, Problem

POLL_S = 0.5
"""Between two looks for a file; with a hundred trials, looking must not be work."""


class TrivialTrainer:
    """Reports its parameter and does no work.

    The option `until` is a file for which each fold but the first waits, `at_most_s` how long.
    """

    metrics: tuple[str, ...] = ("accuracy",)
    flavor = "sklearn"
    row_shape: tuple[int, ...] | None = None

    def __init__(self, problem: Problem, options: Mapping[str, Any]) -> None:
        """Keep the options."""
        self._until = Path(options["until"]) if "until" in options else None
        self._at_most_s = float(options.get("at_most_s", 0.0))
        self._folds = 0

    def check(self, params: Params) -> None:
        """Accept everything."""

    def train(self, params: Params, fold: Fold) -> Iterator[Metrics]:
        """Report the parameter."""
        self._folds += 1
        if self._until is not None and self._folds > 1:
            self._wait(self._until)
        yield {"accuracy": float(str(params["x"]))}

    def _wait(self, until: Path) -> None:
        give_up_at_s = time.monotonic() + self._at_most_s
        while not until.exists():
            if time.monotonic() > give_up_at_s:
                raise TimeoutError(f"{until} did not appear within {self._at_most_s:g} s")
            time.sleep(POLL_S)

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
