"""How long requests wait for others to share their batch, though a replica is free."""

from collections.abc import Callable

from deployments.gateway.batch_limit import SHARE
from deployments.traffic.table import Batching

TIMER_RESOLUTION_S = 1e-6
"""A shorter wait is none, seconds."""


class Company:
    """The wait of one version's line at one gateway."""

    def __init__(self) -> None:
        self._since_s: float | None = None

    def leave(self) -> None:
        """A batch has gone."""
        self._since_s = None

    def wait_s(
        self,
        arrived_s: float,
        now_s: float,
        batching: Batching,
        window_s: Callable[[], float] | None,
    ) -> float:
        """How much longer, seconds.

        Args:
            arrived_s: When the first in line came.
            now_s: The same clock's.
            batching: May fix it, or bound it.
            window_s: Length of the window that was learned; None for none.
        """
        fixed_s = batching.batch_wait_timeout_s
        if fixed_s is not None:
            left_s = arrived_s + fixed_s - now_s
        elif window_s is None:
            return 0.0
        else:
            # From when a replica was free, and once for each batch, however often another
            # replica becomes free meanwhile.
            if self._since_s is None:
                self._since_s = now_s
            left_s = self._since_s + window_s() - now_s
        if batching.latency_target_s is not None:
            left_s = min(left_s, arrived_s + SHARE * batching.latency_target_s - now_s)
        # Rounding leaves a rest that no timer can wait for.
        return left_s if left_s > TIMER_RESOLUTION_S else 0.0
