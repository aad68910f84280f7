import numpy as np
import pytest

from tuning.errors import ConfigError
from tuning.folds import FoldsSpec, split_rows

LABELS = np.array([0] * 60 + [1] * 40)
SPEC = FoldsSpec(n_splits=4, holdout=0.2, seed=3)


def test_no_fold_sees_the_holdout() -> None:
    split = split_rows(LABELS, SPEC)

    assert set(split.training) | set(split.holdout) == set(range(100))
    assert not set(split.training) & set(split.holdout)
    for fit, validate in split.folds:
        assert max(fit.max(), validate.max()) < len(split.training)


def test_every_training_row_is_validated_exactly_once() -> None:
    split = split_rows(LABELS, SPEC)

    validated = np.concatenate([validate for _, validate in split.folds])
    assert sorted(validated) == list(range(80))
    for fit, validate in split.folds:
        assert not set(fit) & set(validate)


def test_classes_keep_their_shares_everywhere() -> None:
    split = split_rows(LABELS, SPEC)

    assert np.bincount(LABELS[split.holdout]).tolist() == [12, 8]
    for _, validate in split.folds:
        assert np.bincount(LABELS[split.training][validate]).tolist() == [12, 8]


def test_split_depends_on_the_seed_alone() -> None:
    first, again = split_rows(LABELS, SPEC), split_rows(LABELS.copy(), SPEC)
    other = split_rows(LABELS, SPEC.model_copy(update={"seed": 4}))

    assert first.holdout.tolist() == again.holdout.tolist()
    assert [v.tolist() for _, v in first.folds] == [v.tolist() for _, v in again.folds]
    assert first.holdout.tolist() != other.holdout.tolist()


def test_as_many_folds_as_the_smallest_class_has_rows_are_allowed() -> None:
    labels = np.array([0] * 45 + [1] * 5)  # 4 of the 5 stay in training

    assert len(split_rows(labels, FoldsSpec(n_splits=4, holdout=0.2)).folds) == 4
    with pytest.raises(ConfigError, match=r"n_splits: 5: .* has 4 training rows, allowed: 2 to 4"):
        split_rows(labels, FoldsSpec(n_splits=5, holdout=0.2))


@pytest.mark.parametrize(
    ("labels", "fault"),
    [
        pytest.param([0] * 9 + [1], "the smallest with 1", id="class-of-one-row"),
        pytest.param([0, 1, 2, 0, 1, 2], "leave a side without", id="holdout-below-the-classes"),
    ],
)
def test_holdout_without_a_row_of_each_class_is_refused(labels: list[int], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        split_rows(np.array(labels), FoldsSpec(holdout=0.2))
