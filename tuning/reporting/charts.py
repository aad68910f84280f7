"""Charts about the search: how it went, which parameters led where, which of them mattered."""

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

from tuning.ledger import Trial, TrialState
from tuning.reporting.facts import Facts
from tuning.reporting.svg import (
    WIDE,
    WIDTH,
    Frame,
    Scale,
    chart,
    color,
    element,
    line,
    linear,
    number,
    padded,
    path,
    text,
    ticks,
    whole_ticks,
    x_axis,
    y_axis,
)

LOG_FROM = 30.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""

MOST_LINES = 400
"""Trials that are drawn as lines; more would be a blot."""


def history(facts: Facts) -> str:
    """Draw each trial's score in its turn, and the best so far."""
    scored = [trial for trial in facts.trials if trial.reports]
    if not scored:
        return ""
    values = {
        trial.number: facts.score(trial)
        if trial.state is TrialState.COMPLETE
        else trial.reports[-1].mean
        for trial in scored
    }
    frame = Frame(64, 34, WIDE - 16, 300)
    low, high = padded(list(values.values()))
    x = linear(-0.5, max(len(facts.trials) - 0.5, 0.5), frame.left, frame.right)
    y = linear(low, high, frame.bottom, frame.top)
    parts = [y_axis(frame, y, ticks(low, high), facts.spec.metric)]
    parts.append(x_axis(frame, x, whole_ticks(0, max(len(facts.trials) - 1, 1), 12), "trial"))
    parts.append(_best_so_far(facts, x, y, frame))
    for trial in facts.trials:
        if trial.number in values:
            parts.append(_point(facts, trial, x(trial.number), y(values[trial.number])))
        elif trial.state is TrialState.FAILED:
            parts.append(_cross(x(trial.number), frame.bottom - 6, _tip(facts, trial)))
    return chart(342, *parts, label=f"{facts.spec.metric} of each trial", width=WIDE)


def parallel_coordinates(facts: Facts) -> str:
    """Draw each complete trial as a line through its parameters to its score."""
    trials = facts.complete[:MOST_LINES]
    names = [
        name
        for name in dict.fromkeys(name for trial in trials for name in trial.params)
        if len({str(trial.params.get(name)) for trial in trials}) > 1
    ]
    if len(trials) < 2 or not names:
        return ""
    frame = Frame(80, 44, WIDE - 80, 320)
    scores = [facts.score(trial) for trial in trials]
    axes = [_Axis([trial.params.get(name) for trial in trials], frame) for name in names]
    axes.append(_Axis(scores, frame))
    place = linear(0, len(axes) - 1, frame.left, frame.right)
    parts = []
    signed = [facts.sign * score for score in scores]
    share = linear(min(signed), max(signed), 0.0, 1.0)
    for index in reversed(range(len(trials))):
        points = [(place(column), axis.y[index]) for column, axis in enumerate(axes)]
        won = facts.winner is not None and trials[index].number == facts.winner.number
        parts.append(
            path(
                points,
                class_="thread won" if won else "thread",
                stroke=color(share(signed[index])),
                tip=_tip(facts, trials[index]),
            )
        )
    for column, (name, axis) in enumerate(zip([*names, facts.spec.metric], axes, strict=True)):
        parts.append(axis.draw(place(column), name, frame))
    return chart(342, *parts, label="parameters of each trial, and its score", width=WIDE)


def importance_bars(shares: Mapping[str, float]) -> str:
    """Draw each parameter's share as a bar."""
    if not shares:
        return ""
    left, row = 160.0, 30.0
    x = linear(0.0, max(shares.values()), left, WIDTH - 70)
    parts = []
    for index, (name, share) in enumerate(shares.items()):
        y = 12 + index * row
        parts += [
            text(_cut(name, 24), left - 12, y + 15, class_="label end"),
            element(
                "rect", x=left, y=y, width=max(x(share) - left, 1.0), height=20.0, rx=3,
                class_="bar", tip=f"{name}: {share:.1%}",
            ),
            text(f"{share:.0%}", max(x(share), left) + 8, y + 15, class_="tick"),
        ]  # fmt: skip
    return chart(20 + row * len(shares), *parts, label="importance of each parameter")


class _Axis:
    """One vertical axis: where each trial's value lies on it."""

    def __init__(self, values: Sequence[object], frame: Frame) -> None:
        given = [value for value in values if value is not None]
        # A parameter that a branch does not have lies below the axis.
        bottom = frame.bottom - 24 if len(given) < len(values) else frame.bottom
        self.absent_y = frame.bottom if len(given) < len(values) else None
        self.marks: list[tuple[float, str]]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in given):
            numbers = [float(str(value)) for value in given]
            scale = _spanning(numbers, bottom, frame.top)
            self.marks = [
                (scale(each), number(each)) for each in sorted({min(numbers), max(numbers)})
            ]
            self.y = [
                frame.bottom if value is None else scale(float(str(value))) for value in values
            ]
            return
        known = list(dict.fromkeys(sorted(str(value) for value in given)))
        at = linear(0, max(len(known) - 1, 1), bottom, frame.top)
        self.marks = [(at(index), each) for index, each in enumerate(known)]
        self.y = [
            frame.bottom if value is None else at(known.index(str(value))) for value in values
        ]

    def draw(self, x: float, name: str, frame: Frame) -> str:
        """Draw the axis over the lines."""
        parts = [
            line(x, frame.top, x, frame.bottom, class_="post"),
            text(_cut(name, 16), x, frame.top - 20, class_="label middle"),
        ]
        parts += [text(_cut(mark, 20), x, y - 4, class_="mark middle") for y, mark in self.marks]
        if self.absent_y is not None:
            parts.append(text("none", x, self.absent_y + 14, class_="mark middle"))
        return "".join(parts)


def _spanning(values: Sequence[float], start: float, end: float) -> Scale:
    """Map values to an axis, by their orders of magnitude where they span some."""
    low, high = min(values), max(values)
    if low <= 0 or high / low < LOG_FROM:
        return linear(low, high, start, end)
    inner = linear(math.log(low), math.log(high), start, end)
    return lambda value: inner(math.log(value))


def _best_so_far(facts: Facts, x: Scale, y: Scale, frame: Frame) -> str:
    done = sorted(facts.feasible, key=lambda trial: trial.number)
    if not done:
        return ""
    best = list(
        accumulate((facts.score(trial) for trial in done), max if facts.spec.mode == "max" else min)
    )
    points: list[tuple[float, float]] = []
    for trial, value in zip(done, best, strict=True):
        if points:
            points.append((x(trial.number), points[-1][1]))
        points.append((x(trial.number), y(value)))
    points.append((frame.right, points[-1][1]))
    return path(points, class_="best")


def _point(facts: Facts, trial: Trial, x: float, y: float) -> str:
    won = facts.winner is not None and trial.number == facts.winner.number
    kind = "won" if won else "broken" if facts.broken(trial) else str(trial.state)
    radius = 6.5 if won else 4.5
    return element("circle", cx=x, cy=y, r=radius, class_=f"dot {kind}", tip=_tip(facts, trial))


def _cross(x: float, y: float, tip: str) -> str:
    return element(
        "path", d=f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8", class_="cross", fill="none", tip=tip
    )


def _tip(facts: Facts, trial: Trial) -> str:
    return describe(facts, trial)


def describe(facts: Facts, trial: Trial) -> str:
    """Say in a few lines what a trial was and became."""
    lines = [f"trial {trial.number}: {trial.state}"]
    if trial.state is TrialState.COMPLETE:
        lines.append(f"{facts.spec.metric} {facts.score(trial):.4f}")
        lines += [f"breaks {each.text}" for each in facts.broken(trial)]
    elif trial.reports:
        lines.append(f"{facts.spec.metric} {trial.reports[-1].mean:.4f} so far")
    lines += [
        f"{name} = {number(value) if isinstance(value, float) else value}"
        for name, value in trial.params.items()
    ]
    return "\n".join(lines)


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
