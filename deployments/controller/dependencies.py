"""Calls of what may be away: the registry and the fleet store."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any


class Dependencies:
    """Knows of each dependency whether its last call succeeded."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

        self.trouble: dict[str, str] = {}
        """Why the last call failed, by dependency; without those that can be reached."""

        self.reachable: dict[str, bool] = {}
        """Whether the last call succeeded, by dependency; without those never called."""

    async def call(self, what: str, call: Callable[..., Any], *args: Any) -> Any:
        """Call a dependency in a thread; say once when it goes and when it is back.

        Returns:
            What the call does; None where it failed.
        """
        try:
            result = await asyncio.to_thread(call, *args)
        except Exception as error:  # noqa: BLE001, any driver, any network: we must go on
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            if what not in self.trouble:
                self._logger.warning("%s cannot be reached, going on without it: %s", what, reason)
            self.trouble[what] = reason
            self.reachable[what] = False
            return None
        self.reachable[what] = True
        if self.trouble.pop(what, None) is not None:
            self._logger.info("%s is back", what)
        return result
