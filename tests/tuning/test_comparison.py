import math

import pytest
from scipy.stats import ttest_rel

from tuning.comparison import compare_paired

OURS = [0.91, 0.93, 0.90, 0.95, 0.92]
THEIRS = [0.90, 0.90, 0.91, 0.92, 0.90]


def test_without_shared_training_rows_it_is_the_paired_t_test() -> None:
    found = compare_paired(OURS, THEIRS, sign=1.0, test_to_train=0.0)

    t, p = ttest_rel(OURS, THEIRS, alternative="greater")
    assert found.t == pytest.approx(t)
    assert found.p == pytest.approx(p)
    assert found.gain == pytest.approx(0.016)


def test_the_correction_divides_t_by_what_the_paper_says() -> None:
    plain = compare_paired(OURS, THEIRS, sign=1.0, test_to_train=0.0)

    corrected = compare_paired(OURS, THEIRS, sign=1.0, test_to_train=1 / 4)

    # (1/5 + 1/4) in the place of 1/5 under the root.
    assert corrected.t == pytest.approx(plain.t / math.sqrt(0.45 / 0.20))
    assert corrected.p > plain.p


def test_a_lower_loss_is_better() -> None:
    lower = compare_paired([0.1, 0.2, 0.1], [0.3, 0.5, 0.4], sign=-1.0, test_to_train=0.5)
    higher = compare_paired([0.3, 0.5, 0.4], [0.1, 0.2, 0.1], sign=-1.0, test_to_train=0.5)

    assert lower.gain > 0 > higher.gain
    assert lower.p == pytest.approx(1 - higher.p)


@pytest.mark.parametrize(
    ("ours", "theirs", "p"),
    [
        pytest.param([0.5, 0.5], [0.5, 0.5], 1.0, id="equal-is-not-better"),
        pytest.param([0.75, 0.75], [0.5, 0.5], 0.0, id="always-better-by-as-much"),
        pytest.param([0.5, 0.5], [0.75, 0.75], 1.0, id="always-worse-by-as-much"),
    ],
)
def test_pairs_that_all_differ_alike(ours: list[float], theirs: list[float], p: float) -> None:
    assert compare_paired(ours, theirs, sign=1.0, test_to_train=0.25).p == p


def test_one_pair_says_nothing() -> None:
    with pytest.raises(ValueError, match="1 pairs of scores, at least 2"):
        compare_paired([0.9], [0.8], sign=1.0, test_to_train=0.0)
