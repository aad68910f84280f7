"""How a sweep gets on, as metrics on Ray's own export ports while its driver lives."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

from ray.util import metrics

from tuning.ledger import Trial, TrialState

TRIALS = "rayfleet_sweep_trials"
PLANNED = "rayfleet_sweep_trials_planned"
PROGRESS = "rayfleet_sweep_progress_timestamp_seconds"

HELP: Mapping[str, str] = {
    TRIALS: "Trials by state: running, complete, pruned or failed.",
    PLANNED: "Trials that the sweep will have had at its end.",
    PROGRESS: "Unix time at which a trial last began, reported or ended.",
}
"""Every metric of a sweep; Ray puts `ray_` before its name."""

LABELS: Mapping[str, tuple[str, ...]] = {
    TRIALS: ("sweep", "state"),
    PLANNED: ("sweep",),
    PROGRESS: ("sweep",),
}

REPEAT_S = 5.0
"""Ray asks for values every 10 s, and takes a gauge that was not put to one since off its port
after 20 s (Ray 2.60)."""


class Gauge(Protocol):
    """What we use of Ray's."""

    def set(self, value: int | float | None, tags: dict[str, str]) -> None:
        """Put it to a value."""
        ...


def ray_gauge(name: str) -> Gauge:
    """One of `HELP` on the export port of this node."""
    return metrics.Gauge(name, HELP[name], LABELS[name])


@contextmanager
def repeated(tell: Callable[[], None], every_s: float = REPEAT_S) -> Iterator[None]:
    """Tell again and again while the block runs, from a thread."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every_s):
            tell()

    thread = threading.Thread(target=repeat, name="gauges", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class SweepGauges:
    """An observer of the book."""

    def __init__(
        self,
        sweep: str,
        n_trials: int,
        trials: Iterable[Trial] = (),
        make: Callable[[str], Gauge] = ray_gauge,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Begin.

        Args:
            sweep: Its name.
            n_trials: What it will have had at its end.
            trials: Those of earlier processes.
            make: Gives the gauge of a name.
            clock: Unix time.
        """
        self._sweep = sweep
        self._n_trials = n_trials
        self._clock = clock
        self._lock = threading.Lock()
        self._states = {trial.number: trial.state for trial in trials}
        self._counts = Counter(self._states.values())
        self._trials, self._progress = make(TRIALS), make(PROGRESS)
        self._planned = make(PLANNED)  # kept: Ray forgets a gauge that nobody refers to
        self._progress_at_s = clock()
        self.again()

    def again(self) -> None:
        """Put the gauges to the values that they have; any thread may."""
        with self._lock:
            self._planned.set(self._n_trials, {"sweep": self._sweep})
            for state in TrialState:
                self._trials.set(self._counts[state], {"sweep": self._sweep, "state": state.value})
            self._progress.set(self._progress_at_s, {"sweep": self._sweep})

    def on_start(self, trial: Trial) -> None:
        """A trial was handed out."""
        self._note(trial)

    def on_report(self, trial: Trial) -> None:
        """A running trial has one more report."""
        self._note(trial)

    def on_end(self, trial: Trial) -> None:
        """A trial reached a final state."""
        self._note(trial)

    def _note(self, trial: Trial) -> None:
        with self._lock:
            before = self._states.get(trial.number)
            if before is not None:
                self._counts[before] -= 1
            self._counts[trial.state] += 1
            self._states[trial.number] = trial.state
            self._progress_at_s = self._clock()
        self.again()
