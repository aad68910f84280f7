"""Look again where a service is away for a moment: whoever watches has time."""

import time
from collections.abc import Callable
from typing import TypeVar

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
