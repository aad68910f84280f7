"""Sweeps on the terminal."""

import time
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from deployments.training.views import SweepComparison, SweepView
from deployments.watching import redrawing
from tuning.standing import Standing, standing_lines

ENDED = {"STOPPED", "SUCCEEDED", "FAILED", "UNKNOWN"}


def standing(view: SweepView) -> Standing:
    """Say where a sweep stands, as its own terminal does."""
    running = view.trials.get("running", 0)
    ended = sum(view.trials.get(state, 0) for state in ("complete", "pruned", "failed"))
    left = max(view.n_trials - ended, 0)
    pace_s = view.remaining_s * min(running, left) / left if view.remaining_s and left else 0.0
    return Standing(
        name=view.name,
        phase=view.state.lower(),
        n_trials=view.n_trials,
        counts=view.trials,
        metric=view.metric or "",
        elapsed_s=view.elapsed_s,
        trial_s=pace_s,
        best=view.best,
        best_std=view.best_std or 0.0,
        best_trial=view.best_trial,
        best_params=view.best_params,
        cpu=view.resources.get("cpu", 0.0) / running if running else 1.0,
        gpu=view.resources.get("gpu", 0.0) / running if running else 0.0,
    )


def status_lines(view: SweepView) -> list[str]:
    """Say all there is to say of a sweep's state."""
    lines = (
        standing_lines(standing(view)) if view.run_id else [f"{view.name}  {view.state.lower()}"]
    )
    if view.refused:
        lines.append(f"not registered: {view.refused}")
    if view.state == "FAILED" and view.message:
        lines.append(view.message.strip().splitlines()[0])
    return lines


def show(view: SweepView) -> None:
    """Print where a sweep stands."""
    print("\n".join(status_lines(view)))


def watch(
    look: Callable[[], SweepView],
    sleep: Callable[[float], None] = time.sleep,
    every_s: float = 2.0,
    console: Console | None = None,
) -> int:
    """Show a sweep until it ends: live where there is a terminal, else a line for each change.

    Returns:
        0 if it succeeded, else 1.
    """
    console = console or Console(highlight=False)
    view = look()
    if not console.is_terminal:
        said = ""
        while True:
            line = _one_line(view)
            if line != said:
                console.print(Text(line), soft_wrap=True)
                said = line
            if view.state in ENDED:
                return 0 if view.state == "SUCCEEDED" else 1
            sleep(every_s)
            view = look()
    with redrawing(console) as live:
        live.update(_panel(view), refresh=True)
        while view.state not in ENDED:
            sleep(every_s)
            view = look()
            live.update(_panel(view), refresh=True)
    return 0 if view.state == "SUCCEEDED" else 1


def list_lines(views: Iterable[SweepView]) -> list[str]:
    """One line for each sweep, in columns."""
    rows = [("SWEEP", "STATE", "TRIALS", "BEST", "JOB")]
    for view in views:
        done = sum(view.trials.get(state, 0) for state in ("complete", "pruned", "failed"))
        best = "-" if view.best is None else f"{view.metric} {view.best:.4f}"
        trials = f"{done}/{view.n_trials}" if view.run_id else "-"
        rows.append((view.name, view.state, trials, best, view.job_id or "-"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def show_comparison(found: SweepComparison, console: Console | None = None) -> None:
    """Print two sweeps side by side."""
    # Names hold no markup: letters, digits, dots and dashes.
    table = Table("", found.left.name, found.right.name)
    for label, ours, theirs in _rows(found):
        style = "bold" if ours != theirs else None
        table.add_row(label, Text(ours), Text(theirs), style=style)
    console = console or Console(highlight=False)
    console.print(table)
    console.print(Text(found.verdict), soft_wrap=True)


def _rows(found: SweepComparison) -> Iterable[tuple[str, str, str]]:
    def of(label: str, say: Callable[[SweepView], str]) -> tuple[str, str, str]:
        return label, say(found.left), say(found.right)

    yield of("state", lambda view: view.state)
    yield of("best", _best)
    yield of(
        "parameters", lambda view: "\n".join(f"{k} = {v}" for k, v in view.best_params.items())
    )
    yield of("trials", lambda view: ", ".join(f"{n} {state}" for state, n in view.trials.items()))
    yield of("took", lambda view: f"{view.elapsed_s:.1f} s")
    for each in found.settings:
        yield each.setting, _cut(each.left), _cut(each.right)


def _best(view: SweepView) -> str:
    if view.best is None:
        return "-"
    return f"{view.metric} {view.best:.4f} ± {view.best_std or 0.0:.4f} (trial {view.best_trial})"


def _cut(value: str | None) -> str:
    text = "-" if value is None else value
    return text if len(text) <= 200 else f"{text[:199]}…"


def _one_line(view: SweepView) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in sorted(view.trials.items()))
    best = "" if view.best is None else f", best {view.metric} {view.best:.4f}"
    return (
        f"{view.name}  {view.state.lower()}  of {view.n_trials}: {counts or 'no trial yet'}{best}"
    )


def _panel(view: SweepView) -> Text:
    return Text("\n".join(status_lines(view)), no_wrap=True, overflow="ellipsis")
