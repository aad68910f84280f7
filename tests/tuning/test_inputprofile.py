"""Training rows are counted once, and rows that are asked about in the same bins."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tuning.inputprofile import (
    MOST_FEATURES,
    MOST_ROWS,
    MOST_VALUES,
    PROFILE_FILE,
    InputProfile,
    NumberFeature,
    TextFeature,
    feature_columns,
    make_profile,
    read_profile,
    write_profile,
)

TENS = np.arange(100.0).reshape(100, 1)


def profiled(rows: pd.DataFrame | np.ndarray, *names: str) -> InputProfile:
    profile = make_profile(rows, names)
    assert profile is not None
    return profile


def number(values: list[float]) -> NumberFeature:
    (feature,) = profiled(np.array(values).reshape(-1, 1), "x").features
    assert isinstance(feature, NumberFeature)
    return feature


def test_numbers_lie_in_ten_bins_of_as_many_rows() -> None:
    (feature,) = profiled(TENS, "x").features

    assert feature.counts == [0, *[10] * 10, 0, 0]


def test_numbers_beyond_all_of_training_have_bins_of_their_own() -> None:
    feature = number([1.0, 2.0, 3.0])

    counts = feature.count(np.array([0.4, 0.6, 1.0, 3.0, 3.4, 3.6, np.nan, np.inf, -np.inf]))

    assert counts[0] == 2
    assert counts[-2] == 2
    assert counts[-1] == 1
    assert counts.sum() == 9


@pytest.mark.parametrize("value", [0.0, 0.1, -3.0, 1e12, 1e-12])
def test_a_constant_s_every_change_is_seen(value: float) -> None:
    feature = number([value] * 5)

    assert feature.counts == [0, 5, 0, 0]
    for changed, place in ((value - 1 - abs(value), 0), (value + 1 + abs(value), 2)):
        assert feature.count(np.array([changed]))[place] == 1


@pytest.mark.parametrize("seed", range(5))
def test_half_the_precision_changes_no_bin(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 30, 200) / 10
    feature = number(values.tolist())

    assert feature.count(values.astype(np.float32)).tolist() == feature.counts


def test_few_values_have_a_bin_each() -> None:
    feature = number([0.0] * 80 + [1.0] * 15 + [2.0] * 5)

    assert [count for count in feature.counts if count] in ([80, 15, 5], [80, 20])
    assert number([0.0, 1.0] * 50).counts == [0, 50, 50, 0, 0]


def test_what_training_lacks_is_counted_as_missing() -> None:
    assert number([1.0, np.nan, 2.0, np.nan]).counts[-1] == 2
    assert number([np.nan] * 3).counts == [0, 3]


def test_texts_are_counted_by_value_and_the_rare_together() -> None:
    texts = ["a"] * 9 + ["b"] * 5 + [None] + [float("nan")] + [f"rare{n}" for n in range(30)]
    (feature,) = profiled(pd.DataFrame({"t": pd.Series(texts, dtype=object)}), "t").features

    assert isinstance(feature, TextFeature)
    assert len(feature.values) == MOST_VALUES
    assert feature.counts[:2] == [9, 5]
    assert feature.counts[-2:] == [30 - (MOST_VALUES - 2), 2]
    asked = np.array(["a", b"a", "new", None], dtype=object)
    counted = feature.count(asked)
    assert (counted[0], counted[-2], counted[-1]) == (2, 1, 1)


def test_a_frame_s_columns_are_found_by_name_and_a_matrix_s_by_place() -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    profile = profiled(frame, "a", "b")
    column = np.array([[1.0], [2.0]])

    columns = feature_columns(profile, {"b": np.array(["x", "x"], dtype=object), "a": column})

    assert columns is not None
    assert columns["a"].tolist() == [1.0, 2.0]
    assert columns["b"].tolist() == ["x", "x"]
    matrix = feature_columns(profiled(np.eye(2), "p", "q"), {"input-0": np.array([[5.0, 6.0]])})
    assert matrix is not None
    assert {name: values.tolist() for name, values in matrix.items()} == {"p": [5.0], "q": [6.0]}


def test_images_are_taken_apart_into_their_pixels() -> None:
    names = [f"pixel{n}" for n in range(4)]
    profile = profiled(np.arange(12.0).reshape(3, 4), *names)

    columns = feature_columns(profile, {"input-0": np.arange(8.0).reshape(2, 1, 2, 2)})

    assert columns is not None
    assert columns["pixel3"].tolist() == [3.0, 7.0]


@pytest.mark.parametrize("shape", [(2, 3), (2,), (0, 3), (2, 2, 2)])
def test_inputs_of_another_width_are_not_told_apart(shape: tuple[int, ...]) -> None:
    profile = profiled(np.eye(2), "p", "q")

    assert feature_columns(profile, {"input-0": np.ones(shape)}) is None


def test_too_many_features_have_no_profile() -> None:
    names = [str(place) for place in range(MOST_FEATURES + 1)]

    assert make_profile(np.zeros((1, len(names))), names) is None
    assert make_profile(np.zeros((1, MOST_FEATURES)), names[:-1]) is not None


def test_of_very_many_rows_a_part_is_counted_that_is_spread_over_all() -> None:
    rows = np.arange(3.0 * MOST_ROWS).reshape(-1, 1)
    (feature,) = profiled(rows, "x").features

    assert sum(feature.counts) == MOST_ROWS
    assert max(feature.counts) - MOST_ROWS / 10 < 2
    frame = pd.DataFrame({"x": rows[:, 0]})
    assert profiled(frame, "x").features[0].counts == feature.counts


def test_a_profile_is_read_as_it_was_written(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, np.nan], "b": ["x", "y", None]})
    profile = profiled(frame, "a", "b")

    path = write_profile(profile, tmp_path)

    assert path == tmp_path / PROFILE_FILE
    assert read_profile(tmp_path) == profile


def test_a_folder_without_a_profile_has_none(tmp_path: Path) -> None:
    assert read_profile(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"features": [{"type": "other"}]}'])
def test_a_broken_profile_is_told_by_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / PROFILE_FILE).write_text(content)

    with pytest.raises(ValueError, match=PROFILE_FILE):
        read_profile(tmp_path)
