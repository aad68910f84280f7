"""Threshold rules on signals: what was counted between two measurements."""

import math

from deployments.rollout.measurements import Measurement, measure, missed, result_of
from deployments.rollout.plan import RulePlan
from deployments.rollout.seen import Seen
from deployments.rollout.signals import Sums, read
from deployments.rollout.state import Rollout


class SignalRules:
    """Remembers what had been counted at each rule's last measurement."""

    def __init__(self) -> None:
        self._before: dict[tuple[str, str], tuple[float, Sums, Sums]] = {}

    def measure(self, rollout: Rollout, plan: RulePlan, seen: Seen) -> Measurement | None:
        """Take a measurement that is due; None while an interval is only beginning."""
        signal = next((each for each in rollout.signals if each.name == plan.signal), None)
        if signal is None:
            return missed(seen.now_s, f"signal {plan.signal!r} is not judged")
        canary = read(signal, seen.count(rollout.version))
        stable = read(signal, seen.count(rollout.stable))
        key = rollout.id, plan.name
        known = self._before.get(key)
        interval_s = plan.interval_s or 0.0
        if known is not None and 0 <= seen.now_s - known[0] < interval_s:
            return None
        if known is None:
            self._before[key] = seen.now_s, canary, stable
            return None
        result = result_of(signal, canary - known[1], stable - known[2])
        if any(map(math.isnan, result if plan.rule.compares else result[:1])):
            return None  # the interval goes on until something was counted
        self._before[key] = seen.now_s, canary, stable
        return measure(plan.rule, result, seen.now_s)
