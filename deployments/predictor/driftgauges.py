"""How far each version's inputs have drifted, as metrics on Ray's export ports and in the log.

One thread tells of all versions of a process: a pool holds hundreds.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from threading import Lock, Thread
from typing import Any, Protocol
from weakref import WeakKeyDictionary, WeakMethod, WeakSet

from ray.serve import metrics

from deployments.predictor.inputwatch import InputWatch, Window

logger = logging.getLogger(__name__)

DRIFT = "rayfleet_input_drift"
DRIFTED = "rayfleet_drifted_features"
HELP: Mapping[str, str] = {
    DRIFT: "Population stability index of a feature, served against trained on, chance taken off.",
    DRIFTED: "Features whose distribution is no longer that of the training rows.",
}
"""Ray puts `ray_` before the names, Serve adds application, deployment and replica."""

LABELS: Mapping[str, Any] = {
    DRIFT: ("model", "version", "feature"),
    DRIFTED: ("model", "version"),
}
"""Tuples of names; Serve's own types allow but one."""

MOST_TOLD = 5
"""Features of a version that are told of, the farthest: a series each for thousands would be
more than all other metrics together."""

REPEAT_S = 5.0
"""See `runtimes.budget_gauges.REPEAT_S`."""


class Gauge(Protocol):
    """What we use of Serve's."""

    def set(self, value: int | float, tags: dict[str, str]) -> None:
        """Put it to a value."""
        ...


def serve_gauge(name: str) -> Gauge:
    """One of `HELP`, for the replica that asks."""
    gauge: Gauge = metrics.Gauge(name, HELP[name], LABELS[name])
    return gauge


class DriftGauges:
    """Looks at watches, for as long as somebody else holds them."""

    def __init__(
        self, make: Callable[[str], Gauge] = serve_gauge, every_s: float = REPEAT_S
    ) -> None:
        """Begin without a watch.

        Args:
            make: Gives the gauge of a name.
            every_s: Between two looks of the thread, seconds.
        """
        self._every_s = every_s
        self._make = cache(make)  # at the first window: most versions never fill one
        self._lock = Lock()
        self._watches: WeakKeyDictionary[InputWatch, tuple[str, str]] = WeakKeyDictionary()
        self._drifted: WeakSet[InputWatch] = WeakSet()
        self._failed: WeakSet[InputWatch] = WeakSet()
        self._thread: Thread | None = None

    def add(self, watch: InputWatch, model: str, version: str) -> None:
        """Look at one more, again and again."""
        with self._lock:
            self._watches[watch] = model, version
            if self._thread is None:
                repeat = partial(_repeat, WeakMethod(self.look), self._every_s)
                self._thread = Thread(target=repeat, name="drift", daemon=True)
                self._thread.start()

    def look(self) -> None:
        """Tell of all watches."""
        with self._lock:
            watches = list(self._watches.items())
        for watch, (model, version) in watches:
            try:
                window, is_new = watch.look()
                if window is None:
                    self._drifted.discard(watch)
                    continue
                self._tell(window, model, version)
                if is_new:
                    self._say(watch, window, model, version)
            except Exception:
                # Whatever it is, it must not take the thread along, which others need.
                if watch not in self._failed:
                    self._failed.add(watch)
                    logger.exception("drift of %s version %s cannot be told", model, version)

    def _tell(self, window: Window, model: str, version: str) -> None:
        whose = {"model": _label(model), "version": version}
        self._make(DRIFTED).set(len(window.drifted), whose)
        for name, drift in list(window.features.items())[:MOST_TOLD]:
            self._make(DRIFT).set(drift.index, {**whose, "feature": _label(name)})

    def _say(self, watch: InputWatch, window: Window, model: str, version: str) -> None:
        said, drifted = {"model": model, "version": version}, window.drifted
        if bool(drifted) == (watch in self._drifted):
            return
        if not drifted:
            self._drifted.discard(watch)
            logger.info("inputs of %s version %s: no drift any more", *said.values(), extra=said)
            return
        self._drifted.add(watch)
        farthest = [f"{name} ({window.features[name].index:.2f})" for name in drifted[:MOST_TOLD]]
        logger.warning(
            "inputs of %s version %s have drifted from its training rows: %d of %d features of the"
            " last %d rows, by population stability index %s",
            *said.values(), len(drifted), len(window.features), window.n_rows,
            ", ".join(farthest), extra=said,
        )  # fmt: skip


def _repeat(looks: WeakMethod[Callable[[], None]], every_s: float) -> None:
    while True:
        time.sleep(every_s)
        look = looks()
        if look is None:
            return
        look()
        del look


def _label(text: str) -> str:
    """As Ray's metrics take it (2.60), which know ASCII alone: others are escaped."""
    return text.encode("ascii", errors="backslashreplace").decode()


@cache
def process_gauges() -> DriftGauges:
    """Those of this process."""
    return DriftGauges()
