"""What a fleet config says about how a version is judged; `docs/judge.md` says what it means."""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from tuning.configfile import Spec

MOST_S = 1_000_000.0
MOST_SIGNALS = 20

Percent = Annotated[int, Field(ge=0, le=100)]
Seconds = Annotated[float, Field(ge=0, le=MOST_S)]
Share = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]
CountOrZero = Annotated[int, Field(ge=0, le=1_000_000)]

SignalKindName = Literal["errors", "slow", "differing", "mistakes", "reward"]

DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?\Z")


def listed(value: Any) -> Any:
    """A list as the tuple that a frozen spec keeps; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


class SignalSpec(Spec):
    """One thing that may go wrong, and how far it may."""

    kind: SignalKindName
    """Where its numbers come from."""

    allowed: Annotated[float, Field(ge=0, le=1e9)] | None = None
    """How much worse than stable a version may be; None takes the kind's own, see the judge."""

    target_s: Annotated[float, Field(gt=0, le=30)] | None = None
    """Time from which a request is slow, seconds; of `slow`, or `quantile`."""

    quantile: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share of stable's own past that is not slow, read when the rollout starts."""

    low: float = 0.0
    """Lowest reward."""

    high: float = 1.0
    """Highest reward."""

    cluster_size: Count = 1
    """Most requests that may share one fate."""

    dry_run: bool = False
    """Report only: what it says decides nothing."""

    @model_validator(mode="after")
    def _slow_has_a_target(self) -> Self:
        given = sum(each is not None for each in (self.target_s, self.quantile))
        if given != (self.kind == "slow"):
            raise ValueError("target_s or quantile: 'slow' needs one of them, and nothing else")
        return self

    @model_validator(mode="after")
    def _a_reward_has_a_range(self) -> Self:
        if self.kind == "reward" and self.allowed is None:
            raise ValueError("allowed is missing: a reward has a unit of its own")
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        scale = self.high - self.low
        if self.allowed is not None and self.allowed >= scale:
            raise ValueError(f"allowed {self.allowed:g} should be below {scale:g}")
        return self


class RuleSpec(Spec):
    """A threshold on a number that is measured again and again, in Argo Rollouts' words."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """What reasons call it."""

    query: str | None = None
    """Asked of Prometheus; or `signal`."""

    signal: str | None = None
    """Name of a signal, whose value in the interval is measured."""

    address: str = "http://127.0.0.1:9090"
    """Of Prometheus."""

    success_condition: str | None = Field(default=None, alias="successCondition")
    """When a measurement is successful; None: whenever `failureCondition` does not hold."""

    failure_condition: str | None = Field(default=None, alias="failureCondition")
    """When a measurement fails; None: whenever `successCondition` does not hold."""

    interval: str | None = None
    """Between measurements, such as `30s` or `1m30s`; None: there is only one."""

    count: Count | None = None
    """Measurements to take; None: one without an interval, and with it no end."""

    failure_limit: CountOrZero = Field(default=0, alias="failureLimit")
    """Failed measurements that are still accepted."""

    inconclusive_limit: CountOrZero = Field(default=0, alias="inconclusiveLimit")
    """Inconclusive measurements that are still accepted."""

    consecutive_error_limit: CountOrZero = Field(default=4, alias="consecutiveErrorLimit")
    """Errors in a row before the rule counts as undecided."""

    dry_run: bool = False
    """Report only: what it says decides nothing."""

    @field_validator("interval")
    @classmethod
    def _is_a_duration(cls, value: str | None) -> str | None:
        if value is not None and not interval_s(value):
            raise ValueError(f"{value!r}: should be a duration such as 30s, 5m or 1h")
        return value

    @model_validator(mode="after")
    def _measures_one_number(self) -> Self:
        if (self.query is None) == (self.signal is None):
            raise ValueError("query or signal: give one of them")
        if self.success_condition is None and self.failure_condition is None:
            raise ValueError("successCondition or failureCondition: give one of them, or both")
        if self.interval is None and (self.count or 1) > 1:
            raise ValueError(f"count {self.count} needs an interval")
        return self


class AnalysisSpec(Spec):
    """What a version is judged by."""

    alpha: Share = 0.01
    """Probability of aborting a version that is no worse than allowed, over a whole rollout."""

    risk: Share = 0.05
    """Probability of calling a version successful in a step in which it is worse than allowed."""

    background: bool = True
    """Whether a signal that fails aborts at any step, not only at an analysis."""

    signals: Annotated[dict[str, SignalSpec], Field(max_length=MOST_SIGNALS)] = Field(default={})
    """By name; empty takes `errors`, and `differing` where requests are mirrored."""

    rules: Annotated[
        tuple[RuleSpec, ...], Field(max_length=MOST_SIGNALS), BeforeValidator(listed)
    ] = Field(default=())
    """Thresholds beside them."""

    @model_validator(mode="after")
    def _rules_name_signals(self) -> Self:
        names = [rule.name for rule in self.rules]
        for index, rule in enumerate(self.rules):
            if names.count(rule.name) > 1:
                raise ValueError(f"rules[{index}]: name {rule.name!r} stands twice")
            if rule.signal is not None and rule.signal not in self.signals:
                known = ", ".join(sorted(self.signals)) or "none"
                raise ValueError(
                    f"rules[{index}].signal: {rule.signal!r}: no such signal, signals: {known}"
                )
        return self


def interval_s(text: str) -> float:
    """Seconds of a duration in Argo's spelling; 0 where it is none."""
    found = DURATION.match(text)
    if found is None:
        return 0.0
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)
