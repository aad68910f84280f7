"""Drift becomes metrics, again and again, and a line of the log when it begins and ends."""

import gc
import threading
from collections import defaultdict
from threading import Event

import numpy as np
import pytest

from deployments.predictor.driftgauges import (
    DRIFT,
    DRIFTED,
    HELP,
    LABELS,
    MOST_TOLD,
    DriftGauges,
    serve_gauge,
)
from deployments.predictor.inputwatch import (
    EVERY_S,
    KEPT_S,
    MOST_ROWS,
    WINDOW_ROWS,
    InputWatch,
)
from tests.fakes import FakeClock
from tests.lines import kept_lines
from tuning.inputprofile import make_profile

NAMES = [f"f{place}" for place in range(MOST_TOLD + 3)]
WHOSE = {"model": "wine", "version": "3"}


class Gauges:
    """Values of the last look, by gauge and labels."""

    def __init__(self) -> None:
        self.told: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        self.changed = Event()

    def make(self, name: str) -> "_Gauge":
        return _Gauge(self, name)


class _Gauge:
    def __init__(self, gauges: Gauges, name: str) -> None:
        self._gauges = gauges
        self._name = name

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert tuple(tags) == LABELS[self._name]
        self._gauges.told[self._name][tuple(tags.values())] = value
        self._gauges.changed.set()


class Asked:
    """A watch, and who asks."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._random = np.random.default_rng(2)
        profile = make_profile(self._random.random((500, len(NAMES))), NAMES)
        assert profile is not None
        self.watch = InputWatch(profile, self.clock)

    def window(self, shift: float = 0.0) -> None:
        for _ in range(WINDOW_ROWS // MOST_ROWS):
            rows = self._random.random((MOST_ROWS, len(NAMES)))
            rows[:, -1] += shift
            sample = self.watch.sample({"input-0": rows})
            assert sample is not None
            self.watch.keep(sample)
            self.clock.advance(EVERY_S)


def made(asked: Asked, every_s: float = 3600.0) -> tuple[DriftGauges, Gauges]:
    gauges = Gauges()
    told = DriftGauges(gauges.make, every_s)
    told.add(asked.watch, **WHOSE)
    return told, gauges


def test_the_farthest_features_and_the_number_of_those_that_drifted_are_told() -> None:
    asked = Asked()
    told, gauges = made(asked)

    for _ in range(2):
        asked.window(shift=0.5)
        told.look()

    assert gauges.told.keys() == HELP.keys() == LABELS.keys()
    assert gauges.told[DRIFTED] == {("wine", "3"): 1}
    assert len(gauges.told[DRIFT]) == MOST_TOLD
    assert max(gauges.told[DRIFT], key=lambda labels: gauges.told[DRIFT][labels]) == (
        "wine",
        "3",
        NAMES[-1],
    )


def test_nothing_is_told_before_a_window_is_whole() -> None:
    asked = Asked()
    told, gauges = made(asked)

    told.look()

    assert gauges.told == {}


def test_a_window_is_told_of_again() -> None:
    asked = Asked()
    told, gauges = made(asked)
    asked.window()
    told.look()
    gauges.told.clear()

    told.look()

    assert gauges.told[DRIFTED] == {("wine", "3"): 0}


def test_the_log_says_when_a_drift_begins_and_when_it_ends() -> None:
    asked = Asked()
    told, _ = made(asked)

    with kept_lines("deployments.predictor.driftgauges") as lines:
        for shift in (0.0, 0.5, 0.5, 0.5, 0.0, 0.0):
            asked.window(shift)
            told.look()

    begun, ended = lines
    assert begun.levelname == "WARNING"
    assert "wine version 3 have drifted" in begun.getMessage()
    assert f"1 of {len(NAMES)} features of the last {WINDOW_ROWS} rows" in begun.getMessage()
    assert f"{NAMES[-1]} (" in begun.getMessage()
    assert WHOSE.items() <= vars(begun).items()
    assert "no drift any more" in ended.getMessage()


def test_a_drift_that_went_silent_is_said_anew() -> None:
    asked = Asked()
    told, _ = made(asked)

    with kept_lines("deployments.predictor.driftgauges") as lines:
        for _ in range(2):
            for _ in range(2):
                asked.window(shift=0.5)
                told.look()
            asked.clock.advance(KEPT_S)
            told.look()

    assert [line.levelname for line in lines] == ["WARNING", "WARNING"]


def test_one_watch_that_fails_takes_no_other_along(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, asked = Asked(), Asked()
    told, gauges = made(asked)
    told.add(broken.watch, "iris", "1")

    def fail() -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(broken.watch, "look", fail)
    asked.window()
    with kept_lines("deployments.predictor.driftgauges") as lines:
        told.look()
        told.look()

    (said,) = lines
    assert "drift of iris version 1 cannot be told" in said.getMessage()
    assert list(gauges.told[DRIFTED]) == [("wine", "3")]


def test_names_are_told_in_ascii_which_is_all_that_ray_takes() -> None:
    gauge = serve_gauge(DRIFT)
    with pytest.raises(UnicodeEncodeError):  # else nothing need be escaped any more
        gauge.set(1.0, {"model": "wein", "version": "1", "feature": "größe"})
    asked = Asked()
    gauges = Gauges()
    told = DriftGauges(gauges.make, 3600.0)
    told.add(asked.watch, "rosé", "1")

    asked.window()
    told.look()

    assert list(gauges.told[DRIFTED]) == [(r"ros\xe9", "1")]


def test_a_gauge_that_fails_takes_no_other_version_along() -> None:
    asked, other = Asked(), Asked()
    gauges = Gauges()

    class Failing:
        def set(self, value: float, tags: dict[str, str]) -> None:
            if tags["model"] == "iris":
                raise RuntimeError("no")
            gauges.make(DRIFTED).set(value, dict.fromkeys(LABELS[DRIFTED], "told"))

    told = DriftGauges(lambda _: Failing(), 3600.0)
    told.add(asked.watch, "iris", "1")
    told.add(other.watch, "wine", "1")
    asked.window()
    other.window()

    with kept_lines("deployments.predictor.driftgauges") as lines:
        told.look()

    assert "drift of iris version 1 cannot be told" in lines[0].getMessage()
    assert list(gauges.told[DRIFTED]) == [("told", "told")]


def test_a_thread_looks_without_being_asked() -> None:
    asked = Asked()
    asked.window()
    before = set(threading.enumerate())
    told, gauges = made(asked, every_s=0.001)

    assert gauges.changed.wait(10)
    (thread,) = {each for each in threading.enumerate() if each.name == "drift"} - before
    del told
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_a_version_that_is_gone_is_told_of_no_longer() -> None:
    asked = Asked()
    told, gauges = made(asked)
    asked.window()

    del asked
    gc.collect()
    told.look()

    assert gauges.told == {}
