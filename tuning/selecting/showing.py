"""A ranking on the terminal: a table where there is one, a line for each trial elsewhere."""

from collections.abc import Sequence
from statistics import pstdev

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tuning.selecting.ranking import Candidate, Placed


def show_ranking(console: Console, ranked: Sequence[Placed], metric: str) -> None:
    """Print every candidate with its place and why it has it."""
    if not console.is_terminal:
        for placed in ranked:
            place = "-" if placed.place is None else str(placed.place)
            score = _score(placed.candidate)
            console.print(
                Text(f"{place:>3}  {placed.candidate.name}  {score}  {placed.reason}"),
                soft_wrap=True,
            )
        return
    table = Table(header_style="bold", row_styles=["", "dim"])
    table.add_column("place", justify="right")
    table.add_column("sweep")
    table.add_column("trial", justify="right")
    table.add_column(metric, no_wrap=True)
    table.add_column("parameters", overflow="fold", ratio=2)
    table.add_column("why", overflow="fold", ratio=3)
    for placed in ranked:
        candidate = placed.candidate
        table.add_row(
            "" if placed.place is None else str(placed.place),
            Text(candidate.sweep),
            str(candidate.trial),
            _score(candidate),
            Text(", ".join(f"{key}={_short(value)}" for key, value in candidate.params.items())),
            Text(placed.reason),
            style="bold green" if placed.place == 1 else None,
        )
    console.print(table)


def _score(candidate: Candidate) -> str:
    if not candidate.scores:
        return "no score"
    return f"{candidate.mean:.4f} ± {pstdev(candidate.scores):.4f}"


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
