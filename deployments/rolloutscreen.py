"""How a rollout looks in a terminal: pure, from what the control API says of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Rollout = Mapping[str, Any]
"""A `RolloutView` as JSON."""

ENDED = frozenset({"successful", "aborted"})

COLOURS = {
    "pending": "cyan",
    "progressing": "blue",
    "paused": "yellow",
    "promoting": "blue",
    "successful": "green",
    "aborted": "red",
    "failed": "red",
    "inconclusive": "yellow",
}

MARKS = {"done": ("✓", "green"), "now": ("▶", "bold"), "next": ("·", "dim")}


def screen(rollout: Rollout) -> RenderableType:
    """Show one rollout: where it is, both sides, and what judges it."""
    parts: list[RenderableType] = [headline(rollout)]
    if rollout["reason"]:
        parts.append(Text(f"  {rollout['reason']}"))
    if rollout["steps"]:
        parts.append(_steps(rollout))
    parts += [Text(f"  {line}", style="dim") for line in times(rollout)]
    if rollout["sides"]:
        parts.append(_sides(rollout["sides"]))
    if rollout["findings"] or rollout["rules"]:
        parts.append(_judges(rollout))
    return Group(*parts)


def headline(rollout: Rollout) -> Text:
    """Model, versions, strategy, phase and traffic, in one line."""
    subject = " ".join(rollout["arms"]) or rollout["version"]
    text = Text.assemble((rollout["model"], "bold"), f" {rollout['strategy']} to {subject}")
    if rollout["stable"]:
        text.append(f" from {rollout['stable']}")
    text.append("  ")
    text.append(rollout["phase"], style=COLOURS.get(rollout["phase"], ""))
    if rollout["phase"] not in ENDED:
        text.append(f"  weight {rollout['weight']} %")
        if rollout["mirror"]:
            text.append(f", mirror {rollout['mirror']} %")
    return text


def line(rollout: Rollout) -> str:
    """The same with the reason, for where there is no terminal to redraw."""
    steps = f"  step {rollout['step']} of {len(rollout['steps'])}" if rollout["steps"] else ""
    reason = f"  {rollout['reason']}" if rollout["reason"] else ""
    return f"{headline(rollout).plain}{steps}{reason}"


def times(rollout: Rollout) -> Iterator[str]:
    """What is left until something happens by itself."""
    if rollout["step_left_s"] is not None:
        yield f"this step ends in {duration(rollout['step_left_s'])}"
    if rollout["deadline_left_s"] is not None:
        yield f"without progress, decided in {duration(rollout['deadline_left_s'])}"
    if rollout["keep_previous_left_s"] is not None:
        left = duration(rollout["keep_previous_left_s"])
        yield f"version {rollout['previous']} stays warm for {left}"


def duration(seconds: float) -> str:
    """Spell a length of time as people say it."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def overview(rollouts: Sequence[Rollout]) -> Table:
    """One line for each of several rollouts."""
    table = Table(box=SIMPLE_HEAD)
    for heading in ("model", "strategy", "from", "to", "phase", "step", "weight", "reason"):
        table.add_column(heading, overflow="fold")
    for rollout in rollouts:
        table.add_row(
            rollout["model"],
            rollout["strategy"],
            rollout["stable"] or "-",
            " ".join(rollout["arms"]) or rollout["version"],
            Text(rollout["phase"], style=COLOURS.get(rollout["phase"], "")),
            f"{rollout['step']}/{len(rollout['steps'])}",
            f"{rollout['weight']} %",
            rollout["reason"],
        )
    return table


def _steps(rollout: Rollout) -> Text:
    text = Text("  ")
    has_ended = rollout["phase"] in ENDED
    for number, step in enumerate(rollout["steps"]):
        place = "done" if number < rollout["step"] else "next"
        if number == rollout["step"] and not has_ended:
            place = "now"
        mark, style = MARKS[place]
        text.append(f"{mark} {step}   ", style=style)
    return text


def _sides(sides: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("version", "track", "state"):
        table.add_column(heading)
    shown = [
        name
        for name in ("requests", "errors", "mirrored", "differing", "labels", "mistakes")
        if name in {"requests", "errors"} or any(side[name] for side in sides)
    ]
    for heading in ("weight", *shown):
        table.add_column(heading, justify="right")
    for side in sides:
        numbers = [f"{side[name]:,}" for name in shown]
        if side["requests"]:
            numbers[1] += f" ({side['errors'] / side['requests']:.2%})"
        table.add_row(
            side["version"], side["track"], side["state"], f"{side['weight']} %", *numbers
        )
    return table


def _judges(rollout: Rollout) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("judged by", "verdict", "reason"):
        table.add_column(heading, overflow="fold")
    judges = [(each["signal"], each["verdict"], each) for each in rollout["findings"]]
    judges += [(each["name"], each["phase"], each) for each in rollout["rules"]]
    for name, verdict, each in judges:
        shown = f"{name} (dry run)" if each["dry_run"] else name
        table.add_row(shown, Text(verdict, style=COLOURS.get(verdict, "")), each["reason"])
    return table
