"""How a rollout looks in a terminal: pure, from what the control API says of it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.padding import Padding
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

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Between the words of a step, which a narrow terminal must not part."""

MARKS = {"done": ("✓", "green"), "now": ("▶", "bold"), "next": ("·", "dim")}


def screen(rollout: Rollout) -> RenderableType:
    """Show one rollout: where it is, both sides, and what judges it."""
    parts: list[RenderableType] = [headline(rollout)]
    if rollout["reason"]:
        parts.append(Text(f"  {plain(rollout['reason'])}"))
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
    steps = f"  step {place(rollout)} of {len(rollout['steps'])}" if rollout["steps"] else ""
    reason = f"  {plain(rollout['reason'])}" if rollout["reason"] else ""
    return f"{headline(rollout).plain}{steps}{reason}"


def plain(text: str) -> str:
    """Write out what would move a terminal's cursor, or change its colours."""
    shown = (char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return "".join(shown)


def place(rollout: Rollout) -> int:
    """The present step, counted from 1; of one that has passed them all, the last."""
    return min(int(rollout["step"]) + 1, len(rollout["steps"]))


def times(rollout: Rollout) -> Iterator[str]:
    """What is left until something happens by itself."""
    return (text.format(duration(left)) for left, text in _waits(rollout))


def _waits(rollout: Rollout) -> Iterator[tuple[float, str]]:
    """Seconds that are left, and what of, the next first."""
    for key, text in (
        ("step_left_s", "this step ends in {}"),
        ("deadline_left_s", "without progress, decided in {}"),
        ("keep_previous_left_s", f"version {rollout['previous']} stays warm for {{}}"),
    ):
        if rollout[key] is not None:
            yield rollout[key], text


def _error_rates(sides: Sequence[Mapping[str, Any]]) -> str:
    """Of each version that has had requests, stable's last."""
    seen = [side for side in (*sides[1:], *sides[:1]) if side["requests"]]
    return "\n".join(f"{side['version']}: {side['errors'] / side['requests']:.1%}" for side in seen)


def duration(seconds: float) -> str:
    """Spell a length of time as people say it."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def overview(rollouts: Sequence[Rollout]) -> RenderableType:
    """A row for each of several rollouts, those that have not ended first, and their reasons."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("model", "rollout", "phase", "step", "weight", "errors", "left"):
        table.add_column(heading, overflow="fold")
    ordered = sorted(rollouts, key=lambda each: each["phase"] in ENDED)
    for rollout in ordered:
        versions = " ".join(rollout["arms"]) or rollout["version"]
        table.add_row(
            rollout["model"],
            f"{rollout['strategy']} {rollout['stable'] or '-'} → {versions}",
            Text(rollout["phase"], style=COLOURS.get(rollout["phase"], "")),
            f"{place(rollout)}/{len(rollout['steps'])}",
            f"{rollout['weight']} %",
            _error_rates(rollout["sides"]),
            next((duration(left) for left, _ in _waits(rollout)), ""),
        )
    # Below, since a column beside these would be a word wide in a narrow terminal.
    reasons = [(each["model"], each["reason"]) for each in ordered if each["reason"]]
    lines = (Text.assemble((model, "bold"), f": {plain(why)}") for model, why in reasons)
    return Group(table, *lines)


def _steps(rollout: Rollout) -> RenderableType:
    text = Text()
    has_ended = rollout["phase"] in ENDED
    for number, step in enumerate(rollout["steps"]):
        place = "done" if number < rollout["step"] else "next"
        if number == rollout["step"] and not has_ended:
            place = "now"
        mark, style = MARKS[place]
        unbroken = f"{mark} {step}".replace(" ", NO_BREAK)
        text.append(f"{unbroken}   ", style=style)
    return Padding(text, (0, 0, 0, 2))


def _sides(sides: Sequence[Mapping[str, Any]]) -> Table:
    """A column for each version: that fits a narrow terminal, and puts like above like."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column("version")
    for side in sides:
        table.add_column(f"{side['version']} {side['track']}", justify="right", overflow="fold")
    table.add_row("state", *(side["state"] for side in sides))
    table.add_row("weight", *(f"{side['weight']} %" for side in sides))
    for name in ("requests", "errors", "mirrored", "differing", "labels", "mistakes"):
        if name in {"requests", "errors"} or any(side[name] for side in sides):
            table.add_row(name, *(_count(side, name) for side in sides))
    return table


def _count(side: Mapping[str, Any], name: str) -> str:
    text = f"{side[name]:,}"
    if name == "errors" and side["requests"]:
        text += f" ({side['errors'] / side['requests']:.2%})"
    return text


def _judges(rollout: Rollout) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for heading in ("judged by", "verdict", "reason"):
        table.add_column(heading, overflow="fold")
    judges = [(each["signal"], each["verdict"], each) for each in rollout["findings"]]
    judges += [(each["name"], each["phase"], each) for each in rollout["rules"]]
    for name, verdict, each in judges:
        shown = f"{name} (dry run)" if each["dry_run"] else name
        reason = Text(plain(each["reason"]))
        table.add_row(shown, Text(verdict, style=COLOURS.get(verdict, "")), reason)
    return table
