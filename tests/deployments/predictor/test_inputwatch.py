"""A watch takes few rows of what is asked, and speaks once it has seen enough."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from deployments.predictor.inputwatch import (
    EVERY_S,
    KEPT_S,
    LEAST_ROWS,
    MOST_BYTES,
    MOST_ROWS,
    MOST_WAITING,
    WINDOW_ROWS,
    WINDOW_S,
    InputWatch,
    Window,
)
from tests.fakes import FakeClock
from tuning.inputprofile import InputProfile, make_profile

N_BATCHES = WINDOW_ROWS // MOST_ROWS


def take(watch: InputWatch, inputs: dict[str, Any]) -> None:
    """Show it a batch that was answered."""
    sample = watch.sample(inputs)
    if sample is not None:
        watch.keep(sample)


class Watched:
    """A watch over a feature that is uniform in [0, 1), and another like it."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.random = np.random.default_rng(1)
        profile = make_profile(self.random.random((500, 2)), ["a", "b"])
        assert profile is not None
        self.watch = InputWatch(profile, self.clock)

    def ask(self, n_batches: int, *, n_rows: int = MOST_ROWS, shift: float = 0.0) -> None:
        for _ in range(n_batches):
            rows = self.random.random((n_rows, 2))
            rows[:, 1] += shift
            take(self.watch, {"input-0": rows})
            self.clock.advance(EVERY_S)


def test_a_whole_window_tells_of_every_feature() -> None:
    watched = Watched()

    watched.ask(N_BATCHES, shift=0.5)
    window, is_new = watched.watch.look()

    assert window is not None
    assert is_new
    assert window.n_rows == WINDOW_ROWS
    assert list(window.features) == ["b", "a"]


def test_a_drift_is_one_once_two_windows_in_a_row_have_it() -> None:
    watched = Watched()
    drifted = []

    for shift in (0.0, 0.5, 0.5, 0.5, 0.0, 0.5, 0.5):
        watched.ask(N_BATCHES, shift=shift)
        window, _ = watched.watch.look()
        assert window is not None
        drifted.append(window.drifted)

    assert drifted == [[], [], ["b"], ["b"], [], [], ["b"]]


def test_a_window_long_ago_confirms_none() -> None:
    watched = Watched()
    for _ in range(2):
        watched.ask(N_BATCHES, shift=0.5)
        window, _ = watched.watch.look()
        assert window is not None
        assert window.drifted == []
        watched.clock.advance(KEPT_S)
        assert watched.watch.look() == (None, False)


def test_before_there_are_enough_rows_nothing_is_told() -> None:
    watched = Watched()

    watched.ask(N_BATCHES - 1, shift=0.5)

    assert watched.watch.look() == (None, False)


def test_counts_of_earlier_looks_are_kept() -> None:
    watched = Watched()

    for _ in range(N_BATCHES - 1):
        watched.ask(1)
        assert watched.watch.look() == (None, False)
    watched.ask(1)

    window, _ = watched.watch.look()
    assert window is not None
    assert window.n_rows == WINDOW_ROWS


def test_few_rows_are_a_window_after_an_hour() -> None:
    watched = Watched()
    watched.ask(LEAST_ROWS // MOST_ROWS)
    watched.watch.look()

    watched.clock.advance(WINDOW_S)
    window, is_new = watched.watch.look()

    assert window is not None
    assert is_new
    assert window.n_rows == LEAST_ROWS


def test_very_few_rows_never_are() -> None:
    watched = Watched()
    for _ in range(LEAST_ROWS - 1):
        watched.ask(1, n_rows=1)
        watched.watch.look()
    watched.clock.advance(10 * WINDOW_S)
    assert watched.watch.look() == (None, False)

    watched.ask(1, n_rows=1)
    window, _ = watched.watch.look()
    assert window is not None
    assert window.n_rows == LEAST_ROWS


def test_the_hour_begins_with_the_first_row() -> None:
    watched = Watched()
    watched.clock.advance(10 * WINDOW_S)
    watched.ask(LEAST_ROWS // MOST_ROWS)

    assert watched.watch.look() == (None, False)


def test_a_window_is_told_of_until_the_next_and_not_for_ever() -> None:
    watched = Watched()
    watched.ask(N_BATCHES, shift=0.5)
    first, _ = watched.watch.look()

    again, is_new = watched.watch.look()
    assert again is first
    assert not is_new

    watched.ask(N_BATCHES)
    second, _ = watched.watch.look()
    assert second is not None
    assert second.drifted == []

    watched.clock.advance(KEPT_S)
    assert watched.watch.look() == (None, False)


def test_a_second_batch_is_not_looked_at_so_soon() -> None:
    watched = Watched()
    for _ in range(10 * N_BATCHES):
        take(watched.watch, {"input-0": watched.random.random((MOST_ROWS, 2))})

    watched.clock.advance(WINDOW_S)

    assert watched.watch.look() == (None, False)


@pytest.mark.parametrize("n_rows", [21, 399, 10_000])
def test_of_a_large_batch_few_rows_are_taken(n_rows: int) -> None:
    watched = Watched()
    watched.ask(10, n_rows=n_rows)
    watched.watch.look()

    watched.clock.advance(WINDOW_S)
    window, _ = watched.watch.look()

    assert window is not None
    assert 10 * MOST_ROWS / 2 < window.n_rows <= 10 * MOST_ROWS


def test_arrays_may_be_used_again_at_once() -> None:
    watched = Watched()
    rows = watched.random.random((MOST_ROWS, 2))
    for _ in range(N_BATCHES):
        rows[:] = watched.random.random((MOST_ROWS, 2))
        take(watched.watch, {"input-0": rows})
        rows[:] = 9.0
        watched.clock.advance(EVERY_S)

    window, _ = watched.watch.look()
    assert window is not None
    assert window.drifted == []


def test_what_nobody_counts_is_bounded() -> None:
    watched = Watched()

    watched.ask(2 * MOST_WAITING, n_rows=4)
    watched.watch.look()
    watched.clock.advance(WINDOW_S)
    window, _ = watched.watch.look()

    assert window is not None
    assert window.n_rows == 4 * MOST_WAITING


def test_inputs_that_are_not_the_model_s_are_not_counted() -> None:
    watched = Watched()
    for inputs in ({"input-0": np.ones((20, 3))}, {}, {"c": np.ones(20), "d": np.ones(20)}):
        take(watched.watch, inputs)
        watched.clock.advance(EVERY_S)

    watched.clock.advance(WINDOW_S)
    assert watched.watch.look() == (None, False)


def windows(profile: InputProfile, *inputs: dict[str, Any], hours: int = 1) -> Window | None:
    """What is found after hours of these inputs, in turn."""
    clock = FakeClock()
    watch = InputWatch(profile, clock)
    for _ in range(hours):
        for place in range(40):
            take(watch, inputs[place % len(inputs)])
            clock.advance(EVERY_S)
        watch.look()
        clock.advance(WINDOW_S)
        window, _ = watch.look()
    return window


def profile_of(frame: pd.DataFrame) -> InputProfile:
    profile = make_profile(frame, list(frame.columns))
    assert profile is not None
    return profile


FEW = pd.DataFrame({"a": np.arange(200.0) % 7, "t": pd.Series(["x", "y"] * 100, dtype=object)})
EACH_ITS_OWN = pd.DataFrame({"a": np.arange(200.0), "t": pd.Series(["x", "y"] * 100, dtype=object)})


def columns(frame: pd.DataFrame, n_rows: int = MOST_ROWS) -> dict[str, Any]:
    return {name: frame[name].to_numpy()[:n_rows] for name in frame.columns}


def test_rows_that_come_again_and_again_say_nothing_where_training_had_each_but_once() -> None:
    assert windows(profile_of(EACH_ITS_OWN), columns(EACH_ITS_OWN)) is None

    often = windows(profile_of(FEW), columns(FEW))
    assert often is not None
    assert often.n_rows == 40 * MOST_ROWS


def test_rows_without_a_number_come_again_like_others() -> None:
    nothing = EACH_ITS_OWN.assign(a=np.nan)
    watch = InputWatch(profile_of(EACH_ITS_OWN), clock := FakeClock())
    for _ in range(2 * N_BATCHES):
        take(watch, columns(nothing))
        clock.advance(EVERY_S)
        assert watch.look() == (None, False)


def test_a_column_that_is_left_out_is_missing() -> None:
    window = windows(profile_of(FEW), {"a": columns(FEW)["a"]}, hours=2)

    assert window is not None
    assert window.drifted == ["t"]


def test_texts_where_numbers_belong_are_not_counted_and_the_rest_is() -> None:
    texts = np.array(["no number"] * MOST_ROWS, dtype=object)

    window = windows(profile_of(FEW), {**columns(FEW), "a": texts})

    assert window is not None
    assert list(window.features) == ["t"]


def test_rows_that_are_large_are_left_out() -> None:
    texts = np.array(["x" * (MOST_BYTES // MOST_ROWS)] * MOST_ROWS, dtype=object)
    shorter = np.array(["x" * (MOST_BYTES // MOST_ROWS - 20)] * MOST_ROWS, dtype=object)

    assert windows(profile_of(FEW), {"t": texts, "a": columns(FEW)["a"]}) is None
    assert windows(profile_of(FEW), {"t": shorter, "a": columns(FEW)["a"]}) is not None


def test_what_is_no_feature_is_not_copied() -> None:
    watch = InputWatch(profile_of(FEW), FakeClock())

    sample = watch.sample({**columns(FEW), "image": np.ones((MOST_ROWS, MOST_BYTES))})

    assert sample is not None
    assert sample.keys() == {"a", "t"}


def test_the_same_rows_for_an_hour_are_what_is_asked() -> None:
    nothing = EACH_ITS_OWN.assign(a=np.nan)
    clock = FakeClock()
    watch = InputWatch(profile_of(EACH_ITS_OWN), clock)
    found = []

    for _ in range(3):
        for _ in range(2 * N_BATCHES):
            take(watch, columns(nothing))
            clock.advance(EVERY_S)
            found.append(watch.look()[0])
        clock.advance(WINDOW_S)
        window, _ = watch.look()

    assert found[: 2 * N_BATCHES] == [None] * (2 * N_BATCHES)
    assert window is not None
    assert window.n_rows == 2 * N_BATCHES * MOST_ROWS
    assert "a" in window.drifted


def test_types_that_do_not_mix_are_counted_apart() -> None:
    dated = FEW.assign(at=(np.arange(200) % 7).astype("M8[s]"))
    profile, times = profile_of(dated), columns(dated)
    numbers = columns(FEW.assign(at=np.arange(200.0)))
    texts = columns(FEW.assign(at=pd.Series(["never"] * 200, dtype=object)))

    window = windows(profile, times, numbers, texts)

    assert window is not None
    assert window.n_rows == 40 * MOST_ROWS
    assert "at" in window.features
