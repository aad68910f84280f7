from typing import Any

import pandas as pd
import pytest

from tuning.errors import ConfigError
from tuning.leaks import FEWEST_ROWS, require_no_leak

CLASSES = [1, 0, 0, 1, 2] * 6
RENAMED = "is the target 'y' under other names, row by row: leave it out"


def refuse(feature: Any, target: Any = CLASSES, *, measured: bool = False) -> None:
    features = pd.DataFrame({"other": range(len(target)), "copy": feature})
    require_no_leak(features, pd.Series(target), name="y", measured=measured)


def renamed(*names: Any) -> "pd.Series[Any]":
    return pd.Series([names[code] for code in CLASSES])


@pytest.mark.parametrize(
    ("feature", "said"),
    [
        pytest.param(renamed("1", "2", "0"), RENAMED, id="turned"),
        pytest.param(renamed(0, 1, 2), "equals the target 'y' in every row", id="equal"),
        pytest.param(renamed("0", "1", "2"), "equals the target 'y'", id="equal-as-text"),
        pytest.param(renamed(0.0, 1.0, 2.0), "equals the target 'y'", id="equal-as-fractions"),
        pytest.param(renamed("no", "yes", "maybe"), RENAMED, id="words"),
        pytest.param(renamed(None, "b", "c"), RENAMED, id="missing-is-a-value"),
        pytest.param(renamed(None, "b", "c").astype("string"), RENAMED, id="nullable"),
        pytest.param(renamed("a", "b", "c").astype("category"), RENAMED, id="category"),
    ],
)
def test_a_copy_of_the_target_is_refused(feature: Any, said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        refuse(feature)

    assert f"column 'copy' {said}" in str(refusal.value)


@pytest.mark.parametrize(
    "feature",
    [
        pytest.param(range(len(CLASSES)), id="a-value-for-each-row"),
        pytest.param(renamed("a", "b", "b"), id="tells-one-class-alone"),
        pytest.param([*renamed("a", "b", "c")[:-1], "a"], id="wrong-in-one-row"),
        pytest.param([*renamed("a", "b", "c")[:-1], "d"], id="one-value-more"),
        pytest.param([None] * len(CLASSES), id="empty"),
    ],
)
def test_what_says_less_or_more_than_the_target_is_a_feature(feature: Any) -> None:
    refuse(feature)


def test_in_few_rows_columns_agree_by_chance() -> None:
    few = CLASSES[: FEWEST_ROWS - 1]

    refuse(renamed("a", "b", "c")[: len(few)], few)
    with pytest.raises(ConfigError, match="equals the target"):
        refuse(few, few)


def test_of_a_measurement_only_the_same_numbers_are_a_copy() -> None:
    celsius = [float(each % 7) for each in range(40)]

    refuse([1.8 * each + 32 for each in celsius], celsius, measured=True)
    with pytest.raises(ConfigError, match="equals the target"):
        refuse(list(map(str, celsius)), celsius, measured=True)


def test_a_difference_may_come_late() -> None:
    target = [0, 1] * 1000

    refuse([*target[:-1], 0], target)
