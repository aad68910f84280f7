"""Threshold rules in Argo Rollouts' words: a list of measurements in, an assessment out.

| measurements so far                              | phase        |
|--------------------------------------------------|--------------|
| none                                             | running      |
| more failed ones than `failure_limit`            | failed       |
| more inconclusive ones than `inconclusive_limit` | inconclusive |
| more errors in a row than                        | error        |
| `consecutive_error_limit`                        |              |
| as many as `count`, errors left out              | successful   |
| else                                             | running      |

A rule looks at one number again and again, and each look may fail by chance. It makes no
promise about that; `analysis` does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from deployments.errors import ConfigError
from deployments.rollout.analysis import Verdict
from deployments.rollout.conditions import Condition, ConditionError
from deployments.rollout.signals import Signal, Sums, value_of

CONSECUTIVE_ERROR_LIMIT = 4
"""Argo's default."""

STABLE = "result[1]"

ERROR_RETRY_S = 10.0
"""Argo's wait after an error where a rule has no interval, seconds."""


class Phase(StrEnum):
    """State of a measurement or of a rule, in Argo's words."""

    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Rule:
    """A number to measure again and again, and what to make of it.

    Raises:
        ConfigError: Several measurements are asked for, but not how often.
    """

    name: str

    success: Condition | None = None
    """When a measurement is successful; None: whenever `failure` does not hold."""

    failure: Condition | None = None
    """When a measurement fails; None: whenever `success` does not hold."""

    interval_s: float | None = None
    """Between measurements, seconds; None: there is only one."""

    count: int | None = None
    """Measurements to take, errors left out; None: one without an interval, and with it as many
    as come before someone stops."""

    failure_limit: int = 0
    inconclusive_limit: int = 0
    consecutive_error_limit: int = CONSECUTIVE_ERROR_LIMIT
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.interval_s is None and (self.count or 1) > 1:
            raise ConfigError(f"{self.name}: count {self.count} needs an interval")

    @property
    def compares(self) -> bool:
        """Whether a condition speaks of stable's value, `result[1]`."""
        conditions = (self.success, self.failure)
        return any(each is not None and STABLE in each.text for each in conditions)

    @property
    def wanted(self) -> int | None:
        """Measurements after which it is over; None if it goes on until someone stops it."""
        return 1 if self.count is None and self.interval_s is None else self.count


@dataclass(frozen=True, slots=True)
class Measurement:
    """One look at a number."""

    at_s: float
    """Unix time at which it was over."""

    phase: Phase
    value: float | Sequence[float | None] | None = None
    """None where it could not be had, or is not finite: JSON, in which it is kept, has no NaN."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class Assessment:
    """What the measurements of a rule come to."""

    rule: str
    phase: Phase
    reason: str
    dry_run: bool

    @property
    def verdict(self) -> Verdict:
        """What it says to a rollout.

        An error is nobody's failure: Argo aborts on it, here it holds the rollout until the
        measurements come back or its deadline passes.
        """
        if self.phase is Phase.SUCCESSFUL:
            return Verdict.SUCCESSFUL
        return Verdict.FAILED if self.phase is Phase.FAILED else Verdict.INCONCLUSIVE


def measure(rule: Rule, value: float | Sequence[float], now_s: float) -> Measurement:
    """Judge one value by the rule's conditions.

    | success | failure | the value is                                                  |
    |---------|---------|---------------------------------------------------------------|
    | none    | none    | successful                                                    |
    | given   | none    | successful if it holds, else failed                           |
    | none    | given   | failed if it holds, else successful                           |
    | given   | given   | failed if failure holds, successful if success does, else     |
    |         |         | inconclusive                                                  |
    """
    try:
        failed = rule.failure is not None and rule.failure.holds(value)
        succeeded = rule.success.holds(value) if rule.success else not failed
    except ConditionError as error:
        return Measurement(now_s, Phase.ERROR, _kept(value), str(error))
    if failed or (not succeeded and rule.failure is None):
        return Measurement(now_s, Phase.FAILED, _kept(value))
    phase = Phase.SUCCESSFUL if succeeded else Phase.INCONCLUSIVE
    return Measurement(now_s, phase, _kept(value))


def _kept(value: float | Sequence[float]) -> float | tuple[float | None, ...] | None:
    if isinstance(value, Sequence):
        return tuple(each if math.isfinite(each) else None for each in value)
    return value if math.isfinite(value) else None


def result_of(signal: Signal, canary: Sums, stable: Sums) -> tuple[float, float]:
    """What a rule on a named signal sees: the canary's value is `result[0]`, stable's `result[1]`.

    Args:
        signal: The one that the rule names.
        canary: What was counted in the interval.
        stable: The same.

    Returns:
        Not a number where nothing was counted.
    """
    canary_value, stable_value = value_of(signal, canary), value_of(signal, stable)
    return (
        math.nan if canary_value is None else canary_value,
        math.nan if stable_value is None else stable_value,
    )


def missed(now_s: float, why: str) -> Measurement:
    """Note that a number could not be had."""
    return Measurement(now_s, Phase.ERROR, None, why)


def assess(rule: Rule, measurements: Sequence[Measurement]) -> Assessment:
    """Apply the limits to all measurements so far; the table is on top of the module."""
    failed = _count(measurements, Phase.FAILED)
    inconclusive = _count(measurements, Phase.INCONCLUSIVE)
    errors = _errors_in_a_row(measurements)
    taken = len(measurements) - _count(measurements, Phase.ERROR)
    if failed > rule.failure_limit:
        phase, reason = Phase.FAILED, f"failed ({failed}) > failureLimit ({rule.failure_limit})"
        reason += _last(measurements, Phase.FAILED)
    elif inconclusive > rule.inconclusive_limit:
        phase = Phase.INCONCLUSIVE
        reason = f"inconclusive ({inconclusive}) > inconclusiveLimit ({rule.inconclusive_limit})"
        reason += _last(measurements, Phase.INCONCLUSIVE)
    elif errors > rule.consecutive_error_limit:
        phase = Phase.ERROR
        limit = rule.consecutive_error_limit
        reason = f"consecutiveErrors ({errors}) > consecutiveErrorLimit ({limit})"
        reason += f": {measurements[-1].message}"
    elif rule.wanted is not None and taken >= rule.wanted:
        phase, reason = Phase.SUCCESSFUL, f"count ({rule.wanted}) reached"
    else:
        phase, reason = Phase.RUNNING, f"measured {taken} of {rule.wanted or 'any number'}"
    return Assessment(rule.name, phase, f"{rule.name}: {reason}", rule.dry_run)


def is_due(rule: Rule, measurements: Sequence[Measurement], now_s: float) -> bool:
    """Whether to measure now; never again once the rule is decided.

    A single measurement that could not be had is tried again after as long as Argo waits. One that
    seems to lie in the future was taken before the clock was set back: it holds nothing up.
    """
    if assess(rule, measurements).phase is not Phase.RUNNING:
        return False
    if not measurements:
        return True
    since_s = now_s - measurements[-1].at_s
    return since_s < 0.0 or since_s >= (rule.interval_s or ERROR_RETRY_S)


def _last(measurements: Sequence[Measurement], phase: Phase) -> str:
    """What the last measurement of a phase was, for the reason; nothing where it had no value."""
    value = next(each.value for each in reversed(measurements) if each.phase is phase)
    if value is None:
        return ""
    values = value if isinstance(value, Sequence) else (value,)
    return f", last {', '.join('none' if each is None else f'{each:.4g}' for each in values)}"


def _count(measurements: Sequence[Measurement], phase: Phase) -> int:
    return sum(measurement.phase is phase for measurement in measurements)


def _errors_in_a_row(measurements: Sequence[Measurement]) -> int:
    for number, measurement in enumerate(reversed(measurements)):
        if measurement.phase is not Phase.ERROR:
            return number
    return len(measurements)
