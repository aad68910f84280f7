"""What `--watch` needs: looks that outlive a service that is away, and a screen to redraw."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.live import Live

Answer = TypeVar("Answer")

WATCH_S = 1.0
"""Between two looks of `--watch`, seconds."""

AWAY_LOOKS = 60
"""Looks in vain before it gives up."""


def patiently(
    look: Callable[[], Answer],
    away: type[Exception],
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Return the first answer.

    Args:
        look: Asks once.
        away: What it raises while there is no answer.
        sleep: Waits so many seconds.

    Raises:
        Exception: Whatever `look` raises beside `away`, and `away` after a minute.
    """
    for _ in range(AWAY_LOOKS):
        try:
            return look()
        except away:
            sleep(WATCH_S)
    return look()


@contextmanager
def redrawing(console: Console) -> Iterator[Live]:
    """Yield a part of the terminal that is redrawn; the cursor comes back however this ends."""
    try:
        with Live(console=console, auto_refresh=False) as live:
            yield live
    finally:
        console.show_cursor()  # Live leaves it hidden if it is interrupted while it begins
