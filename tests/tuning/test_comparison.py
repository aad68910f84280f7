import math

import pytest
from scipy.stats import t, ttest_rel

from tuning.comparison import compare_paired

OURS = [0.91, 0.93, 0.90, 0.95, 0.92]
THEIRS = [0.90, 0.90, 0.91, 0.92, 0.90]


def test_without_shared_training_rows_it_is_the_paired_t_test() -> None:
    found = compare_paired(OURS, THEIRS, sign=1.0, test_to_train=0.0)

    assert found.p == pytest.approx(ttest_rel(OURS, THEIRS, alternative="greater").pvalue)
    assert found.p_two_sided == pytest.approx(ttest_rel(OURS, THEIRS).pvalue)
    assert found.gain == pytest.approx(0.016)


def test_the_correction_divides_t_by_what_the_paper_says() -> None:
    plain = ttest_rel(OURS, THEIRS).statistic

    corrected = compare_paired(OURS, THEIRS, sign=1.0, test_to_train=1 / 4)

    # (1/5 + 1/4) in the place of 1/5 under the root; 4 degrees of freedom.
    assert corrected.p == pytest.approx(t.sf(plain / math.sqrt(0.45 / 0.20), 4))


def test_both_sides_see_the_same_two_sided_p() -> None:
    one = compare_paired(OURS, THEIRS, sign=1.0, test_to_train=1 / 4)
    other = compare_paired(THEIRS, OURS, sign=1.0, test_to_train=1 / 4)

    assert one.p_two_sided == other.p_two_sided == pytest.approx(2 * one.p)


def test_a_lower_loss_is_better() -> None:
    lower = compare_paired([0.1, 0.2, 0.1], [0.3, 0.5, 0.4], sign=-1.0, test_to_train=0.5)
    higher = compare_paired([0.3, 0.5, 0.4], [0.1, 0.2, 0.1], sign=-1.0, test_to_train=0.5)

    assert lower.gain > 0 > higher.gain
    assert lower.p == pytest.approx(1 - higher.p)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param([0.5, 0.5], [0.5, 0.5], id="equal"),
        pytest.param([0.75, 0.75], [0.5, 0.5], id="always-better-by-as-much"),
        pytest.param([0.5, 0.5], [0.75, 0.75], id="always-worse-by-as-much"),
        pytest.param([0.9, 0.91, 0.89], [0.5, 0.51, 0.49], id="but-for-rounding"),
    ],
)
def test_pairs_that_all_differ_alike_prove_nothing(ours: list[float], theirs: list[float]) -> None:
    found = compare_paired(ours, theirs, sign=1.0, test_to_train=0.25)

    assert (found.p, found.p_two_sided, found.even) == (1.0, 1.0, True)


def test_differences_that_cancel_out_have_a_spread() -> None:
    found = compare_paired([0.5, 0.75], [0.75, 0.5], sign=1.0, test_to_train=0.25)

    assert (found.gain, found.p, found.p_two_sided, found.even) == (0.0, 0.5, 1.0, False)


def test_one_pair_says_nothing() -> None:
    with pytest.raises(ValueError, match="1 pairs of scores, at least 2"):
        compare_paired([0.9], [0.8], sign=1.0, test_to_train=0.0)
