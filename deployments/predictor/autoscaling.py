"""How many replicas a version needs, from the queues at the gateways.

Batches go one at a time, so Serve's own count of ongoing requests says nothing. Each
gateway sends its queue depth with every batch; the replicas hand the sum to Serve with
`record_autoscaling_stats`, and this policy reads it. Serve applies the delays and bounds.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

from ray.serve.config import AutoscalingContext

POLICY = "deployments.predictor.autoscaling:replicas_for_queue"
"""Import path of the policy, as Serve's `policy_function` wants it."""

QUEUE_METRIC = "rayfleet_queue_depth"
"""Requests waiting or in flight at the gateways, as a replica was last told."""


DEPTH_TTL_S = 10.0
"""A gateway's queue depth counts for this long after its last batch has ended."""

MOST_GATEWAYS = 64
"""That are remembered before those are forgotten that have been silent for long."""


class QueueDepths:
    """What each gateway said last of its queue."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._depths: dict[str, tuple[float, float]] = {}

    def heard(self, gateway: str, depth: int) -> None:
        """Hear from a gateway how many requests wait or are in flight there."""
        self._depths[gateway] = float(depth), self._clock()
        if len(self._depths) > MOST_GATEWAYS:
            self._forget()

    def total(self, busy: Iterable[str] = ()) -> float:
        """Requests at all gateways that have said something lately.

        Args:
            busy: Gateways with a batch under way. While that takes, nothing may come from them
                that would tell more, be it for minutes, and all others wait for it.
        """
        now_s = self._clock()
        for gateway in busy:
            if gateway in self._depths:
                self._depths[gateway] = self._depths[gateway][0], now_s
        self._forget()
        return float(sum(depth for depth, _ in self._depths.values()))

    def _forget(self) -> None:
        horizon_s = self._clock() - DEPTH_TTL_S
        self._depths = {who: said for who, said in self._depths.items() if said[1] >= horizon_s}


def replicas_for_queue(ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
    """Return the replicas that bring the queue down to the target for each of them.

    A replica only hears from gateways that send to it, and each hears the gateway's whole
    queue, so the largest report stands for the fleet's.
    """
    depths = (ctx.aggregated_metrics or {}).get(QUEUE_METRIC, {})
    depth = max([*depths.values(), ctx.total_num_requests], default=0.0)
    config = ctx.config
    if config is None or (ctx.current_num_replicas and not depths and not depth):
        # Replicas that say nothing are starved or just starting, not idle: an idle one
        # says 0.
        return ctx.target_num_replicas, {}
    return math.ceil(depth / config.get_target_ongoing_requests()), {}
