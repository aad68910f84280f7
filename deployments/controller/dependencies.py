"""Services that may be away for a while: the controller goes on without them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from tuning.probes import first_line

logger = logging.getLogger(__name__)

Guarded = Callable[..., Awaitable[Any]]
"""As `Dependencies.call`."""


class Dependencies:
    """Calls them, and says once when one goes and when it is back."""

    def __init__(self) -> None:
        self._trouble: dict[str, str] = {}

        self.reachable: dict[str, bool] = {}
        """Whether the last call succeeded, by dependency; without those never called."""

    def trouble(self, what: str) -> str | None:
        """Why one could not be reached at the last call; None when it could."""
        return self._trouble.get(what)

    async def call(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """Call one in a thread.

        Returns:
            What it returned; None when it cannot be reached.
        """
        try:
            result = await asyncio.to_thread(call, *args)
        except Exception as error:  # noqa: BLE001, any driver, any network: we must go on
            reason = f"{type(error).__name__}: {first_line(error)}"
            if what not in self._trouble:
                logger.warning("%s cannot be reached, going on without it: %s", what, reason)
            self._trouble[what] = reason
            self.reachable[what] = False
            return None
        self.reachable[what] = True
        if self._trouble.pop(what, None) is not None:
            logger.info("%s is back", what)
        return result
