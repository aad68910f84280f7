from typing import Any

import numpy as np
import pytest

from tuning.comparison import RequireBetterSpec
from tuning.data import Labels
from tuning.selecting.champion import Contender, Scores, _parts, weigh

THEIRS = (0.9, 0.8, 0.85, 0.9)


@pytest.mark.parametrize(
    ("gains", "better", "reason"),
    [
        pytest.param(
            (0.05, 0.06, 0.05, 0.06),
            True,
            "better than version 1: accuracy 0.9175 against 0.8625 on 4 folds, p = 0.000",
            id="better",
        ),
        pytest.param(
            (0.05, 0.05, 0.05, 0.05),
            False,
            "not better than version 1: accuracy 0.9125 against 0.8625 on 4 folds, the same "
            "difference in each, and without a spread nothing is proven",
            id="by-as-much-everywhere",
        ),
        pytest.param((0, 0, 0, 0), False, "not better than version 1: accuracy 0.8625 ", id="same"),
    ],
)
def test_a_verdict_has_its_numbers(gains: tuple[float, ...], better: bool, reason: str) -> None:
    ours = [theirs + gain for theirs, gain in zip(THEIRS, gains, strict=True)]
    unused: Any = None
    contender = Contender(unused, "run", ours, "accuracy", 1.0, unused)

    verdict = weigh(
        Scores(ours, THEIRS, 1 / 3, "4 folds"), contender, RequireBetterSpec(), "version 1"
    )

    assert verdict.better is better
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize(
    ("labels", "sizes"),
    [
        pytest.param(np.array([0, 0, 0, 1, 1]), [3, 2], id="as-many-as-the-smallest-class"),
        pytest.param(np.linspace(0, 1, 7), [3, 2, 2], id="measurements-in-pairs-at-least"),
        pytest.param(np.linspace(0, 1, 400), [40] * 10, id="ten-at-most"),
        pytest.param(np.array([0.5]), [], id="one-row-makes-no-pair"),
        pytest.param(np.array([]), [], id="nothing"),
    ],
)
def test_a_holdout_is_cut_into_parts_that_can_be_scored(labels: Labels, sizes: list[int]) -> None:
    parts = _parts(labels)

    assert [len(part) for part in parts] == sizes
    assert sorted(np.concatenate([[], *parts])) == list(range(sum(sizes)))


def test_a_part_of_classes_has_each_of_them() -> None:
    labels = np.array([0] * 6 + [1] * 3)

    assert all(set(labels[part]) == {0, 1} for part in _parts(labels))
