"""The Pareto set of a sweep with several objectives: a chart of two, a table of any number."""

from collections.abc import Sequence
from html import escape

from tuning.ledger import Trial
from tuning.reporting.charts import describe
from tuning.reporting.facts import Facts
from tuning.reporting.svg import (
    WIDE,
    Frame,
    Scale,
    chart,
    element,
    linear,
    number,
    padded,
    path,
    ticks,
    x_axis,
    y_axis,
)

MOST_MEMBERS = 200
"""Trials of the set in the table."""

LEGEND = (
    '<div class="legend"><span><i class="won"></i>winner</span><span><i></i>Pareto set</span>'
    '<span><i class="beaten"></i>beaten</span>'
    '<span><i class="broken"></i>breaks a constraint</span></div>'
)


def pareto_section(facts: Facts) -> str:
    """Show the trials that no other beats in every objective; empty where there are none."""
    if not facts.front:
        return ""
    drawn = trade_off(facts)
    return (drawn + LEGEND if drawn else "") + _table(facts)


def trade_off(facts: Facts) -> str:
    """Draw complete trials by the deciding metric and the other objective.

    Returns:
        Nothing where there are more objectives than a plane has axes.
    """
    if len(facts.spec.goals) != 2:
        return ""
    up, across = facts.spec.goals
    points = [
        (trial, facts.value(trial, across.metric), facts.value(trial, up.metric))
        for trial in facts.complete
    ]
    known = [(trial, x, y) for trial, x, y in points if x is not None and y is not None]
    if len(known) < 2:
        return ""
    frame = Frame(64, 34, WIDE - 24, 320)
    x_low, x_high = padded([each for _, each, _ in known])
    y_low, y_high = padded([each for _, _, each in known])
    x = linear(x_low, x_high, frame.left, frame.right)
    y = linear(y_low, y_high, frame.bottom, frame.top)
    members = {trial.number for trial in facts.front}
    steps = [(x(one), y(two)) for trial, one, two in known if trial.number in members]
    return chart(
        366,
        y_axis(frame, y, ticks(y_low, y_high), f"{up.metric} ({up.mode})"),
        x_axis(frame, x, ticks(x_low, x_high, 10), f"{across.metric} ({across.mode})"),
        path(_staircase(steps, low_is_better=across.mode == "min"), class_="best"),
        # The best last, on top of the others.
        *(_dot(facts, trial, x, y, (one, two), members) for trial, one, two in reversed(known)),
        label=f"{up.metric} against {across.metric} of each complete trial",
        width=WIDE,
    )


def _staircase(
    points: Sequence[tuple[float, float]], *, low_is_better: bool
) -> list[tuple[float, float]]:
    """Join points by steps that bound what they beat."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(points):
        if found:
            before_x, before_y = found[-1]
            found.append((x, before_y) if low_is_better else (before_x, y))
        found.append((x, y))
    return found


def _dot(
    facts: Facts, trial: Trial, x: Scale, y: Scale, at: tuple[float, float], members: set[int]
) -> str:
    won = facts.winner is not None and trial.number == facts.winner.number
    member = trial.number in members
    kind = "won" if won else "broken" if facts.broken(trial) else "" if member else "beaten"
    up, across = facts.spec.goals
    values = f"{up.metric} {number(at[1])}, {across.metric} {number(at[0])}"
    return element(
        "circle", cx=x(at[0]), cy=y(at[1]), r=6.5 if won else 4.5, class_=f"dot {kind}".rstrip(),
        tip=f"{describe(facts, trial)}\n{values}",
    )  # fmt: skip


def _table(facts: Facts) -> str:
    goals = facts.spec.goals
    names = list(dict.fromkeys(name for trial in facts.front for name in trial.params))
    heads = ["trial", *(f"{goal.metric} ({goal.mode})" for goal in goals), *names]
    head = "".join(f"<th>{escape(each)}</th>" for each in heads)
    body = "".join(_row(facts, trial, names) for trial in facts.front[:MOST_MEMBERS])
    more = len(facts.front) - MOST_MEMBERS
    rest = f'<div class="none">{more} more are in MLflow.</div>' if more > 0 else ""
    return (
        f'<div class="scroll"><table class="sortable"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>{rest}"
    )


def _row(facts: Facts, trial: Trial, names: Sequence[str]) -> str:
    won = facts.winner is not None and trial.number == facts.winner.number
    values = [facts.value(trial, goal.metric) for goal in facts.spec.goals]
    params = [trial.params.get(name, "") for name in names]
    cells = [
        str(trial.number),
        *("" if value is None else number(value) for value in values),
        *(number(value) if isinstance(value, float) else str(value) for value in params),
    ]
    kind = ' class="won"' if won else ""
    return f"<tr{kind}>{''.join(f'<td>{escape(each)}</td>' for each in cells)}</tr>"
