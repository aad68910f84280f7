"""Drift is found where there is one, and hardly where there is none."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from deployments.monitoring.drift import CHANGED, drift_of
from tuning.inputprofile import feature_columns, make_profile

Draw = Callable[[np.random.Generator, int], np.ndarray]

N_FEATURES = 13


def normal(random: np.random.Generator, n_rows: int) -> np.ndarray:
    return random.normal(size=(n_rows, N_FEATURES))


def counts(random: np.random.Generator, n_rows: int) -> np.ndarray:
    return random.poisson(2, size=(n_rows, N_FEATURES)).astype(float)


def sparse(random: np.random.Generator, n_rows: int) -> np.ndarray:
    zero = random.random((n_rows, N_FEATURES)) < 0.8
    return np.where(zero, 0.0, normal(random, n_rows))


def found(
    draw: Draw, n_training: int, shift: float = 0.0, scale: float = 1.0, n_rows: int = 1_000
) -> float:
    """The share of windows in which the first feature, or any if none is moved, has drifted."""
    random = np.random.default_rng(n_training)
    n_found = 0
    for _ in range(50):
        profile = make_profile(draw(random, n_training), [f"f{n}" for n in range(N_FEATURES)])
        assert profile is not None
        rows = draw(random, n_rows)
        rows[:, 0] = rows[:, 0] * scale + shift
        columns = feature_columns(profile, {"x": rows})
        assert columns is not None
        drifts = drift_of(
            {each.name: each.counts for each in profile.features},
            {each.name: each.count(columns[each.name]).tolist() for each in profile.features},
        )
        moved = (shift, scale) != (0.0, 1.0)
        n_found += (
            drifts["f0"].has_drifted
            if moved
            else any(drift.has_drifted for drift in drifts.values())
        )
    return n_found / 50


@pytest.mark.parametrize("n_rows", [100, 1_000])
@pytest.mark.parametrize("n_training", [50, 120, 1_000, 20_000])
@pytest.mark.parametrize("draw", [normal, counts, sparse])
def test_rows_like_those_of_training_have_not_drifted(
    draw: Draw, n_training: int, n_rows: int
) -> None:
    assert found(draw, n_training, n_rows=n_rows) <= 1 / 50


@pytest.mark.parametrize("n_training", [50, 100, 300, 1_000])
@pytest.mark.parametrize("n_texts", [2, 30, 200, 1_000_000])
@pytest.mark.parametrize("skew", [0.0, 1.2])
def test_texts_like_those_of_training_have_not_drifted(
    n_training: int, n_texts: int, skew: float
) -> None:
    random = np.random.default_rng(n_training)
    shares = np.arange(1, n_texts + 1) ** -skew
    shares /= shares.sum()

    def draw(n_rows: int) -> np.ndarray:
        return random.choice(n_texts, n_rows, p=shares).astype(str).astype(object)

    n_found = 0
    for _ in range(50):
        profile = make_profile(pd.DataFrame({"t": draw(n_training)}), ["t"])
        assert profile is not None
        (feature,) = profile.features
        asked = feature.count(draw(1_000)).tolist()
        n_found += drift_of({"t": feature.counts}, {"t": asked})["t"].has_drifted

    assert n_found <= 1


@pytest.mark.parametrize("n_training", [120, 1_000])
@pytest.mark.parametrize(("shift", "scale"), [(1.0, 1.0), (-1.0, 1.0), (0.0, 2.0), (0.0, 0.4)])
def test_a_feature_that_moved_or_spread_has(n_training: int, shift: float, scale: float) -> None:
    assert found(normal, n_training, shift, scale) > 0.95


def test_small_moves_are_none() -> None:
    assert found(normal, 20_000, shift=0.1) == 0.0


def test_the_index_is_that_of_the_field() -> None:
    # Half and half that become 0.8 and 0.2: 0.3 ln(0.8 / 0.5) - 0.3 ln(0.2 / 0.5).
    drift = drift_of({"x": [500_000, 500_000]}, {"x": [800_000, 200_000]})["x"]

    assert drift.index == pytest.approx(0.3 * np.log(1.6) - 0.3 * np.log(0.4), rel=1e-4)
    assert drift.has_drifted


def test_chance_is_taken_off_on_average() -> None:
    random = np.random.default_rng(7)
    shares = np.full(10, 0.1)

    indices = [
        drift_of(
            {"x": random.multinomial(100, shares).tolist()},
            {"x": random.multinomial(100, shares).tolist()},
        )["x"].index
        for _ in range(300)
    ]

    # Without that it would be 9 * 2 / 100 on average.
    assert np.mean(indices) < 0.09


def test_the_farthest_feature_is_the_first() -> None:
    drifts = drift_of(
        {"near": [500, 500], "far": [500, 500], "same": [500, 500]},
        {"near": [400, 600], "far": [100, 900], "same": [500, 500]},
    )

    assert list(drifts) == ["far", "near", "same"]
    assert drifts["same"].index == 0.0


def test_features_of_which_nothing_is_known_are_left_out() -> None:
    drifts = drift_of(
        {"new": [0, 0], "gone": [5, 5], "x": [5, 5]}, {"new": [5, 5], "gone": [0, 0], "x": [5, 5]}
    )

    assert list(drifts) == ["x"]


def test_what_is_suddenly_missing_has_drifted() -> None:
    drift = drift_of({"x": [500, 500, 0]}, {"x": [300, 300, 400]})["x"]

    assert drift.has_drifted
    assert drift.index > CHANGED


def test_one_bin_alone_cannot_drift() -> None:
    drift = drift_of({"x": [0, 100, 0]}, {"x": [0, 900, 0]})["x"]

    assert drift.index == 0.0
    assert not drift.has_drifted
