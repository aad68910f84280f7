"""Training rows are counted once, and rows that are asked about in the same bins."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tuning.inputprofile import (
    MOST_CHARACTERS,
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

    assert feature.counts == [0, 80, 15, 5, 0, 0]
    assert number([0.0, 1.0] * 50).counts == [0, 50, 50, 0, 0]


@pytest.mark.parametrize("values", [[0.0] * 5 + [1.0] * 95, [1.0] * 4 + [3.0] * 3 + [5.0] * 93])
def test_a_value_that_most_rows_have_is_alone_in_its_bin(values: list[float]) -> None:
    feature = number(values)

    assert max(feature.counts) == values.count(values[-1])
    rare = feature.count(np.array([values[0]]))
    assert rare.argmax() != np.argmax(feature.counts)


def test_a_default_in_the_middle_is_alone_in_its_bin() -> None:
    random = np.random.default_rng(4)
    values = np.concatenate([np.zeros(900), random.normal(size=100)])

    assert 900 in number(values.tolist()).counts


def test_what_training_lacks_is_counted_as_missing() -> None:
    assert number([1.0, np.nan, 2.0, np.nan]).counts[-1] == 2
    assert number([np.nan] * 3).counts == [0, 3]


def text(values: list[Any]) -> TextFeature:
    (feature,) = profiled(pd.DataFrame({"t": pd.Series(values, dtype=object)}), "t").features
    assert isinstance(feature, TextFeature)
    return feature


def test_texts_are_picked_in_one_half_and_counted_in_the_other() -> None:
    feature = text(["day", "night"] * 500)

    assert sorted(feature.values) == ["day", "night"]
    assert sum(feature.counts) == 500
    assert min(feature.counts[:2]) > 200


def test_texts_that_are_there_once_are_not_kept() -> None:
    feature = text([f"person{place}@example.com" for place in range(200)])

    assert feature.values == []
    assert feature.counts == [100, 0]


def test_texts_beyond_the_most_frequent_share_a_bin() -> None:
    texts = [f"t{place % 30}" for place in range(1_800)]

    feature = text([*texts, *[None] * 200])

    assert len(feature.values) == MOST_VALUES
    assert sum(feature.counts) == 1_000
    assert 250 < feature.counts[-2] < 350
    assert 70 < feature.counts[-1] < 130


def test_texts_are_counted_whatever_they_come_as() -> None:
    feature = text([*["a"] * 90, *["x" * MOST_CHARACTERS] * 10])

    asked = np.array(["a", b"a", "x" * 200, "new", b"\xff", "\ud800", 3, None], dtype=object)

    assert feature.count(asked).tolist() == [2, 1, 4, 1]


@pytest.mark.parametrize("kind", ["U9", "S9"])
def test_arrays_of_texts_are_texts(kind: str) -> None:
    (feature,) = profiled(np.array([["a"]] * 10).astype(kind), "t").features

    assert feature == TextFeature("t", ["a"], [5, 0, 0])


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns", "D"])
def test_times_are_the_same_in_every_unit(unit: str) -> None:
    days = np.arange("2025-01-01", "2025-12-31", dtype="M8[D]")
    (feature,) = profiled(pd.DataFrame({"at": days.astype("M8[us]")}), "at").features

    assert feature.count(days.astype(f"M8[{unit}]")).tolist() == feature.counts
    assert feature.count((days + 1_000).astype(f"M8[{unit}]"))[-2] == len(days)


def test_times_of_a_zone_are_those_of_utc() -> None:
    days = pd.date_range("2025-01-01", periods=50, freq="D", tz="Asia/Tokyo")
    (feature,) = profiled(pd.DataFrame({"at": days}), "at").features

    assert isinstance(feature, NumberFeature)
    utc = days.tz_convert("UTC").tz_localize(None).to_numpy()
    assert feature.count(utc).tolist() == feature.counts


def test_no_time_is_missing() -> None:
    times = pd.to_datetime(np.array(["2025-01-01", "2025-01-02", "NaT"], "M8[us]"))
    (feature,) = profiled(pd.DataFrame({"at": times}), "at").features

    assert isinstance(feature, NumberFeature)
    assert feature.counts[-1] == 1
    assert feature.count(np.array(["NaT", "2025-01-01"], "M8[ns]"))[-1] == 1


@pytest.mark.parametrize(
    "values", [[1.7e308, -1.7e308, 1.0], [5e-324, 0.0, 1e-323], [np.inf, -np.inf, 1.0]]
)
def test_numbers_at_the_end_of_floats_make_a_profile_that_can_be_read(
    values: list[float], tmp_path: Path
) -> None:
    profile = profiled(np.array(values).reshape(-1, 1), "x")

    write_profile(profile, tmp_path)

    assert read_profile(tmp_path) == profile


def test_names_are_texts_that_can_be_written(tmp_path: Path) -> None:
    profile = make_profile(pd.DataFrame({1: [1.0], "\ud800": [2.0]}), [1, "\ud800"])  # type: ignore[list-item]

    assert profile is not None
    write_profile(profile, tmp_path)
    assert [feature.name for feature in profile.features] == ["1", "?"]


def test_no_rows_have_no_profile() -> None:
    assert make_profile(np.zeros((0, 3)), ["a", "b", "c"]) is None


@pytest.mark.parametrize(
    ("n_values", "differ"), [(1_000, True), (910, True), (800, False), (2, False)]
)
def test_whether_rows_are_all_different_is_kept(n_values: int, differ: bool) -> None:
    rows = (np.arange(1_000.0) % n_values).reshape(-1, 1)

    assert profiled(rows, "x").all_differ is differ
    assert profiled(pd.DataFrame({"x": rows[:, 0]}), "x").all_differ is differ


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


def test_of_very_many_rows_a_part_is_counted_drawn_from_all() -> None:
    rows = np.arange(3.0 * MOST_ROWS).reshape(-1, 1)
    (feature,) = profiled(rows, "x").features

    assert isinstance(feature, NumberFeature)
    assert sum(feature.counts) == MOST_ROWS
    of_all = feature.count(rows[:, 0]) / len(rows)
    assert np.abs(of_all[1:-2] - 0.1).max() < 0.01
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


def feature_of(**changes: Any) -> str:
    return json.dumps({"features": [{**FEATURE, **changes}]})


FEATURE = {"type": "number", "name": "x", "edges": [0.0, 1.0], "counts": [0, 5, 5, 0]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "truncated"),
        ("[]", "object"),
        ('{"x":' + "[" * 200_000, "recursion"),
        (feature_of(type="other"), "other"),
        (feature_of(edges=[1.0, 0.0]), "do not ascend"),
        (feature_of(edges=[1.0, 1.0]), "do not ascend"),
        (feature_of(counts=[1]), "1 counts, expected 4"),
        (feature_of(counts=[0, -1, 0, 0]), ">= 0"),
        (feature_of(counts=[0, 10**23, 0, 0]), "2|int"),
        (feature_of(type="text", values=["a"], counts=[1]), "1 counts, expected 3"),
        (json.dumps({"features": [FEATURE, FEATURE]}), "'x': is there twice"),
    ],
)
def test_a_broken_profile_is_told_by_its_name(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / PROFILE_FILE).write_text(content)

    with pytest.raises(ValueError, match=words) as refused:
        read_profile(tmp_path)

    assert str(refused.value).startswith(f"{PROFILE_FILE}: ")


def test_a_feature_as_it_should_be_is_read(tmp_path: Path) -> None:
    (tmp_path / PROFILE_FILE).write_text(feature_of())

    assert read_profile(tmp_path) == InputProfile([NumberFeature("x", [0.0, 1.0], [0, 5, 5, 0])])
