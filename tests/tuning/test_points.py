from tests.tuning.trials import reports
from tuning.crossvalidation import Report
from tuning.points import Point, metric_points


def test_points_of_a_complete_trial() -> None:
    assert metric_points(reports(0.5, 1.0), epochs=1) == [
        Point("accuracy", 0.5, 0),
        Point("accuracy", 1.0, 1),
        Point("accuracy_mean", 0.75, 0),
        Point("accuracy_std", 0.25, 0),
    ]


def test_points_of_a_trial_in_its_second_fold() -> None:
    early = Report(0, 0, 1, {"accuracy": 0.2}, 0.2, False, False)
    late = Report(0, 1, 2, {"accuracy": 0.4}, 0.4, True, False)
    next_fold = Report(1, 0, 3, {"accuracy": 0.6}, 0.5, False, False)

    assert metric_points([early, late, next_fold], epochs=2) == [
        Point("fold_0/accuracy", 0.2, 0),
        Point("fold_0/accuracy", 0.4, 1),
        Point("fold_1/accuracy", 0.6, 0),
        Point("accuracy", 0.4, 0),
    ]
