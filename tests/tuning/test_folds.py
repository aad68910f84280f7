from typing import Any

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


MEASURED = np.linspace(0.0, 1.0, 100)


@pytest.mark.parametrize("kind", ["kfold", "time_series", "grouped"])
def test_measurements_are_split_without_classes(kind: Any) -> None:
    groups = np.arange(100) // 10

    split = split_rows(MEASURED, FoldsSpec(kind=kind, n_splits=4), groups)

    assert (len(split.training), len(split.holdout)) == (80, 20)
    assert len(split.folds) == 4
    if kind == "grouped":
        for fit, validate in split.folds:
            inside = groups[split.training]
            assert not set(inside[fit]) & set(inside[validate])


def test_measurements_cannot_be_stratified() -> None:
    with pytest.raises(ConfigError, match="'stratified': a regression has no classes, allowed: k"):
        split_rows(MEASURED, FoldsSpec())


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


ALL_KINDS = [
    pytest.param({"kind": "stratified"}, id="stratified"),
    pytest.param({"kind": "stratified", "repeats": 3}, id="repeated"),
    pytest.param({"kind": "kfold"}, id="kfold"),
    pytest.param({"kind": "kfold", "repeats": 2}, id="kfold-repeated"),
    pytest.param({"kind": "grouped"}, id="grouped"),
    pytest.param({"kind": "time_series"}, id="time-series"),
]
MIXED = np.arange(120) % 3
GROUPS = np.arange(120) // 6


@pytest.mark.parametrize("fields", ALL_KINDS)
def test_every_kind_keeps_its_sides_apart_and_its_word(fields: dict[str, Any]) -> None:
    spec = FoldsSpec.model_validate({"n_splits": 4, **fields})

    split = split_rows(MIXED, spec, GROUPS)
    again = split_rows(MIXED, spec, GROUPS)

    assert not set(split.training) & set(split.holdout)
    assert len(split.training) + len(split.holdout) == 120
    assert len(split.folds) == spec.n_folds
    for (fit, validate), (fit_again, _) in zip(split.folds, again.folds, strict=True):
        assert not set(fit) & set(validate)
        assert len(np.unique(MIXED[split.training][fit])) == 3
        assert fit.tolist() == sorted(fit)
        assert fit.tolist() == fit_again.tolist()


def test_a_repeat_is_another_shuffle() -> None:
    split = split_rows(MIXED, FoldsSpec(n_splits=4, repeats=2))

    validated = [validate.tolist() for _, validate in split.folds]
    n_training = len(split.training)
    for passes in (validated[:4], validated[4:]):
        assert sorted(row for rows in passes for row in rows) == list(range(n_training))
    assert validated[:4] != validated[4:]


def test_no_group_is_on_two_sides() -> None:
    split = split_rows(MIXED, FoldsSpec(kind="grouped", n_splits=4), GROUPS)

    assert not set(GROUPS[split.training]) & set(GROUPS[split.holdout])
    inside = GROUPS[split.training]
    for fit, validate in split.folds:
        assert not set(inside[fit]) & set(inside[validate])


def test_groups_stay_together_in_every_pass_and_passes_differ() -> None:
    once = split_rows(MIXED, FoldsSpec(kind="grouped", n_splits=4), GROUPS)

    split = split_rows(MIXED, FoldsSpec(kind="grouped", n_splits=4, repeats=2), GROUPS)

    inside = GROUPS[split.training]
    for fit, validate in split.folds:
        assert not set(inside[fit]) & set(inside[validate])
    validated = [validate.tolist() for _, validate in split.folds]
    assert validated[:4] == [validate.tolist() for _, validate in once.folds]
    assert sorted(row for rows in validated[4:] for row in rows) == list(range(len(inside)))
    assert sorted(validated[:4]) != sorted(validated[4:])


def test_a_series_is_never_validated_on_its_past() -> None:
    split = split_rows(MIXED, FoldsSpec(kind="time_series", n_splits=4, holdout=0.25))

    assert split.holdout.tolist() == list(range(90, 120))
    for fit, validate in split.folds:
        assert fit.max() < validate.min()
    assert split.folds[-1][1].max() == 89


@pytest.mark.parametrize(
    ("fields", "groups", "line"),
    [
        pytest.param(
            {"kind": "grouped", "n_splits": 5}, np.arange(120) // 30,
            "folds.n_splits: 5: there are 3 groups beside the hold-out, allowed: 2 to 3",
            id="too-few-groups",
        ),
        pytest.param(
            {"kind": "grouped"}, MIXED,
            "folds.holdout: 0.2: 3 groups of 3 classes leave a side without one row of each class",
            id="each-class-in-a-group-of-its-own",
        ),
        pytest.param(
            {"kind": "kfold", "n_splits": 97}, None,
            "folds.n_splits: 97: there are 96 training rows, allowed: 2 to 96",
            id="too-few-rows",
        ),
        pytest.param(
            {"kind": "time_series", "holdout": 0.001}, None,
            "folds.holdout: 0.001: 120 rows leave a side without one",
            id="no-row-held-out",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_split_is_one_line(fields: dict[str, Any], groups: Any, line: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        split_rows(MIXED, FoldsSpec.model_validate(fields), groups)

    assert str(refusal.value) == line


def test_validation_rows_by_training_rows() -> None:
    split = split_rows(MIXED, FoldsSpec(n_splits=4))

    assert split.test_share == pytest.approx(1 / 3)
