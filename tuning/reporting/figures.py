"""Charts about the trials: their folds, how they learnt, when they ran, what the winner does."""

import math
from collections.abc import Sequence
from statistics import fmean

from tuning.ledger import Trial, TrialState
from tuning.reporting.charts import MOST_LINES, describe
from tuning.reporting.facts import Facts
from tuning.reporting.svg import (
    WIDTH,
    Frame,
    Scale,
    chart,
    element,
    line,
    linear,
    number,
    padded,
    path,
    seconds,
    text,
    ticks,
    whole_ticks,
    x_axis,
    y_axis,
)

MOST_SPREADS = 12
"""Best trials whose folds are drawn."""

MOST_LANES = 24
"""Rows of the timeline."""

MOST_CLASSES = 40
"""Classes up to which a confusion matrix can be read."""

COUNTED_CLASSES = 16
"""Classes up to which its cells have room for their counts."""


def fold_spread(facts: Facts) -> str:
    """Draw the folds of the best trials."""
    trials = facts.complete[:MOST_SPREADS]
    if not trials:
        return ""
    row = 26.0
    frame = Frame(76, 20, WIDTH - 72, 20 + row * len(trials))
    every = [value for trial in trials for value in facts.scores(trial)]
    low, high = padded(every)
    x = linear(low, high, frame.left, frame.right)
    parts = [
        line(x(value), frame.top - 6, x(value), frame.bottom, class_="grid")
        for value in ticks(low, high, 6)
    ]
    parts.append(x_axis(frame, x, ticks(low, high, 6), facts.spec.metric))
    for index, trial in enumerate(trials):
        y = frame.top + index * row + 10
        parts += _spread(facts, trial, x, y, frame)
    return chart(frame.bottom + 44, *parts, label="scores of the best trials in each fold")


def learning_curves(facts: Facts) -> str:
    """Draw the running mean of each trial, report by report."""
    trials = _thinned([trial for trial in facts.trials if trial.reports], facts.winner)
    values = [report.mean for trial in trials for report in trial.reports]
    if not values or facts.spec.n_reports < 2:
        return ""
    frame = Frame(56, 34, WIDTH - 12, 280)
    low, high = padded(values)
    x = linear(1, facts.spec.n_reports, frame.left, frame.right)
    y = linear(low, high, frame.bottom, frame.top)
    unit = "epochs over all folds" if facts.spec.epochs > 1 else "folds"
    parts = [
        y_axis(frame, y, ticks(low, high), f"{facts.spec.metric}, mean so far"),
        x_axis(frame, x, whole_ticks(1, facts.spec.n_reports), unit),
    ]
    if facts.spec.epochs > 1:
        parts += [
            line(x(fold * facts.spec.epochs + 0.5), frame.top, x(fold * facts.spec.epochs + 0.5),
                 frame.bottom, class_="fold")
            for fold in range(1, facts.spec.folds.n_folds)
        ]  # fmt: skip
    winner = facts.winner
    for trial in sorted(
        trials, key=lambda each: winner is not None and each.number == winner.number
    ):
        won = winner is not None and trial.number == winner.number
        kind = "curve won" if won else f"curve {trial.state}"
        points = [(x(report.progress), y(report.mean)) for report in trial.reports]
        parts.append(path(points, class_=kind, tip=describe(facts, trial)))
        if trial.state is TrialState.PRUNED or len(points) == 1:
            end_x, end_y = points[-1]
            parts.append(
                element(
                    "circle", cx=end_x, cy=end_y, r=3, class_="stop", tip=describe(facts, trial)
                )
            )
    return chart(326, *parts, label="running mean of each trial")


def _thinned(trials: Sequence[Trial], winner: Trial | None) -> list[Trial]:
    """As many trials as can be told apart, from all of the sweep, and the winner."""
    step = max(1, math.ceil(len(trials) / MOST_LINES))
    chosen = list(trials[::step])
    if winner is not None and all(each.number != winner.number for each in chosen):
        chosen.append(winner)
    return chosen


def timeline(facts: Facts) -> str:
    """Draw when each trial ran, in as few rows as ran at one time."""
    ended = [trial for trial in facts.trials if trial.ended_at_s is not None]
    if not ended:
        return ""
    start = min(trial.started_at_s for trial in ended)
    end = max(trial.ended_at_s or 0.0 for trial in ended)
    lanes: list[float] = []
    placed: list[tuple[Trial, int]] = []
    for trial in sorted(ended, key=lambda each: each.started_at_s):
        free = (lane for lane, until in enumerate(lanes) if until <= trial.started_at_s + 1e-6)
        lane = next(free, len(lanes))
        lanes[lane : lane + 1] = [trial.ended_at_s or 0.0]
        placed.append((trial, lane))
    row = 22.0
    shown = min(len(lanes), MOST_LANES)
    frame = Frame(16, 10, WIDTH - 16, 10 + row * shown)
    x = linear(0.0, max(end - start, 0.001), frame.left, frame.right)
    parts = [x_axis(frame, x, ticks(0, end - start, 8), "seconds since the first trial began")]
    for trial, lane in placed:
        if lane >= shown:
            continue
        left, right = x(trial.started_at_s - start), x((trial.ended_at_s or 0.0) - start)
        took = seconds((trial.ended_at_s or 0.0) - trial.started_at_s)
        won = facts.winner is not None and trial.number == facts.winner.number
        parts.append(
            element(
                "rect", x=left, y=frame.top + lane * row, width=max(right - left - 1, 1.5),
                height=row - 5, rx=3, class_=f"span {'won' if won else trial.state}",
                tip=f"{describe(facts, trial)}\n{took}",
            )
        )  # fmt: skip
        if right - left > 26:
            parts.append(
                text(str(trial.number), (left + right) / 2, frame.top + lane * row + 12.5,
                     class_="inside middle")
            )  # fmt: skip
    return chart(frame.bottom + 44, *parts, label="when each trial ran")


def residuals(predictions: Sequence[tuple[float, float]]) -> str:
    """Draw how far each hold-out row's prediction was off.

    Args:
        predictions: What was measured, and what was predicted.
    """
    predicted = [each for _, each in predictions]
    off = [measured - each for measured, each in predictions]
    frame = Frame(64, 34, WIDTH - 16, 320)
    x_low, x_high = padded(predicted)
    y_low, y_high = padded([*off, 0.0])
    x = linear(x_low, x_high, frame.left, frame.right)
    y = linear(y_low, y_high, frame.bottom, frame.top)
    dots = [
        element(
            "circle", cx=x(each), cy=y(rest), r=3.5, class_="dot residual",
            tip=f"predicted {number(each)}\nmeasured {number(each + rest)}\noff by {number(rest)}",
        )
        for each, rest in zip(predicted, off, strict=True)
    ]  # fmt: skip
    return chart(
        366,
        y_axis(frame, y, ticks(y_low, y_high), "residual"),
        x_axis(frame, x, ticks(x_low, x_high), "predicted"),
        line(frame.left, y(0.0), frame.right, y(0.0), class_="zero"),
        *dots,
        label="residuals of the hold-out",
    )


def confusion(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> str:
    """Draw how many hold-out rows of each class were taken for which."""
    n_classes = len(classes)
    if n_classes > MOST_CLASSES:
        return ""
    left, top = 130.0, 50.0
    cell = min(88.0, 430.0 / n_classes)
    parts = [text("predicted", left + cell * n_classes / 2, 14, class_="axis middle")]
    parts.append(text("true", left - 12, top - 14, class_="axis end"))
    for row, name in enumerate(classes):
        middle = top + cell * row + cell / 2
        total = sum(matrix[row])
        parts.append(text(name[:18], left - 12, middle + 4, class_="label end"))
        if n_classes <= COUNTED_CLASSES:
            parts.append(
                text(name[: max(3, int(cell / 7))], left + cell * row + cell / 2, top - 14,
                     class_="label middle")
            )  # fmt: skip
        for column, other in enumerate(classes):
            parts.append(
                _cell(matrix[row][column], total, left + cell * column, top + cell * row, cell,
                      right=row == column, counted=n_classes <= COUNTED_CLASSES,
                      tip=f"{name} taken for {other}: {matrix[row][column]} of {total}")
            )  # fmt: skip
    return chart(top + cell * n_classes + 12, *parts, label="confusion matrix of the hold-out")


def _cell(
    count: int, total: int, x: float, y: float, size: float, *, right: bool, counted: bool, tip: str
) -> str:
    share = count / total if total else 0.0
    kind = "cell right" if right else "cell wrong" if count else "cell zero"
    drawn = element(
        "rect", x=x + 1, y=y + 1, width=size - 2, height=size - 2, rx=4, class_=kind,
        fill_opacity=0.1 + 0.9 * share if count else 1.0, tip=tip,
    )  # fmt: skip
    if counted and count:
        tone = "count strong" if share > 0.5 else "count"
        drawn += text(str(count), x + size / 2, y + size / 2 + 5, class_=f"{tone} middle")
    return drawn


def _spread(facts: Facts, trial: Trial, x: Scale, y: float, frame: Frame) -> list[str]:
    scores = facts.scores(trial)
    mean = fmean(scores)
    won = facts.winner is not None and trial.number == facts.winner.number
    kind = " won" if won else ""
    return [
        text(f"trial {trial.number}", frame.left - 12, y + 4, class_=f"label end{kind}"),
        line(x(min(scores)), y, x(max(scores)), y, class_=f"range{kind}"),
        *(
            element("circle", cx=x(score), cy=y, r=4, class_=f"fold-dot{kind}",
                    tip=f"trial {trial.number}, fold {fold}: {score:.4f}")
            for fold, score in enumerate(scores)
        ),
        line(x(mean), y - 8, x(mean), y + 8, class_=f"mean{kind}"),
        text(f"{mean:.4f}", frame.right + 14, y + 4, class_=f"tick{kind}"),
    ]  # fmt: skip
