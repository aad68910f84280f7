"""The judge: is this version worse than allowed, as far as its counts can tell?

It may look after every request. Over a whole rollout, however many steps and looks, it fails
a version that is no worse than allowed with probability `alpha` at most, shared equally
among the signals that count. Each signal fails when its e-value reaches signals / alpha; it
is successful when the present step alone shows, with risk `risk`, that the version is less
worse than allowed; and it is inconclusive for as long as the numbers are too small to say.

All signals must succeed for a rollout to succeed, so that the risk of calling a version
successful though one of its signals is worse than allowed is `risk`, and is not shared.

`docs/judge.md` says what is assumed, `wealth` has the mathematics and its sources.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from deployments.rollout.comparison import (
    compare,
    guilty,
    least_rise,
    log_evidence_of_fall,
    log_evidence_of_rise,
    most_rise,
    totals,
)
from deployments.rollout.evidence import Evidence
from deployments.rollout.signals import Kind, Signal, Sums, value_of

ALPHA = 0.01
"""Probability of aborting a version that is no worse than allowed, over a whole rollout."""

RISK = 0.05
"""Probability of calling a version successful in a step in which it is worse than allowed."""

MOST = 700.0
"""Logarithm of the largest e-value that is told; the next ones fit no float."""


class Verdict(StrEnum):
    """What an analysis comes to, in Argo Rollouts' words."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one signal says. Rates are shares or mean rewards, None of nothing."""

    signal: str
    verdict: Verdict
    reason: str
    dry_run: bool

    canary: float | None
    n_canary: int
    stable: float | None
    n_stable: int

    low: float
    high: float
    """How much worse the canary is, at least (over the rollout, at this signal's share of
    alpha) and at most (in the present step, at the risk of a false success)."""

    allowed: float

    e_value: float
    """Evidence that it is worse than allowed; expected to be 1 at most if it is not."""

    fails_at: float
    """E-value at which the signal fails."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What all signals of a rollout come to."""

    verdict: Verdict
    reason: str
    findings: tuple[Finding, ...] = ()


class Outcome(Protocol):
    """Anything that has a verdict: a signal's finding, an assessment of measurements."""

    @property
    def verdict(self) -> Verdict: ...  # noqa: D102, as it says

    @property
    def reason(self) -> str: ...  # noqa: D102, as it says

    @property
    def dry_run(self) -> bool: ...  # noqa: D102, as it says


def judge(
    evidence: Evidence, signals: Sequence[Signal], *, alpha: float = ALPHA, risk: float = RISK
) -> Judgement:
    """Judge a version by all that its rollout has shown.

    Args:
        evidence: What was observed.
        signals: The same for the whole rollout, as their number shares alpha.
        alpha: See above, in (0, 1).
        risk: See above, in (0, 1).
    """
    level = alpha / max(1, sum(not signal.dry_run for signal in signals))
    findings = tuple(_find(evidence, signal, level, risk) for signal in signals)
    verdict, reason = combine(findings)
    return Judgement(verdict, reason, findings)


def combine(outcomes: Iterable[Outcome]) -> tuple[Verdict, str]:
    """Join verdicts: any failure fails, all successes succeed, the rest is inconclusive.

    Returns:
        The verdict and the reasons of those that caused it.
    """
    counted = [outcome for outcome in outcomes if not outcome.dry_run]
    if not counted:
        return Verdict.SUCCESSFUL, "nothing is judged"
    for verdict in (Verdict.FAILED, Verdict.INCONCLUSIVE):
        reasons = [outcome.reason for outcome in counted if outcome.verdict is verdict]
        if reasons:
            return verdict, "; ".join(reasons)
    return Verdict.SUCCESSFUL, "; ".join(outcome.reason for outcome in counted)


def _find(evidence: Evidence, signal: Signal, level: float, risk: float) -> Finding:
    record = evidence.records.get(signal.name)
    segments = record.segments if record else ()
    rollout = compare(signal, segments)
    step = compare(signal, [each for each in segments if each.step == evidence.step])
    margin, fails_at = signal.allowed / signal.scale, 1 / level

    low, high = least_rise(rollout, level), most_rise(step, risk)
    log_e, shown = log_evidence_of_rise(rollout, margin), totals(step.segments)
    # The ends of the interval are searched for, so they may be off by a little: what is
    # decided is certain.
    if log_e >= math.log(fails_at):
        verdict, shown, low = Verdict.FAILED, guilty(rollout, margin), max(low, margin)
    elif log_evidence_of_fall(step, margin) >= -math.log(risk):
        verdict, high = Verdict.SUCCESSFUL, min(high, margin)
    else:
        verdict = Verdict.INCONCLUSIVE

    low, high = low * signal.scale, high * signal.scale
    canary, stable = shown
    return Finding(
        signal=signal.name,
        verdict=verdict,
        reason=_reason(signal, verdict, shown, (low, high), begun=bool(segments)),
        dry_run=signal.dry_run,
        canary=value_of(signal, canary),
        n_canary=canary.count,
        stable=value_of(signal, stable),
        n_stable=stable.count,
        low=low,
        high=high,
        allowed=signal.allowed,
        e_value=math.exp(min(log_e, MOST)),
        fails_at=fails_at,
    )


def _reason(
    signal: Signal,
    verdict: Verdict,
    sides: tuple[Sums, Sums],
    interval: tuple[float, float],
    *,
    begun: bool,
) -> str:
    if not any(side.count for side in sides):
        return f"{signal.name}: nothing was counted {'at these weights ' if begun else ''}yet"
    canary, stable = (_shown(signal, side) for side in sides)
    measured = f"{signal.name} {canary}"
    if signal.is_compared:
        measured += f" against {stable}"
    low, high = (_number(signal, end, is_change=signal.is_compared) for end in interval)
    allowed = _number(signal, signal.allowed, is_change=signal.is_compared)
    change = {Kind.REWARD: "drop ", Kind.DIFFERING: ""}.get(signal.kind, "rise ")
    match verdict:
        case Verdict.FAILED:
            return f"{measured}: {change}at least {low}, allowed {allowed}"
        case Verdict.SUCCESSFUL:
            return f"{measured}: {change}at most {high}, allowed {allowed}"
        case Verdict.INCONCLUSIVE:
            return f"{measured}: {change}between {low} and {high}, allowed {allowed}"


def _shown(signal: Signal, sums: Sums) -> str:
    value = value_of(signal, sums)
    if value is None:
        return "of nothing"
    return f"{_number(signal, value, is_change=False)} of {sums.count}"


def _number(signal: Signal, value: float, *, is_change: bool) -> str:
    sign = "+" if is_change and signal.kind is not Kind.REWARD else ""
    if signal.kind is Kind.REWARD:
        return f"{value:{sign}.4g}"
    # Two digits that mean something, also of what is rare.
    digits = 1 if abs(value) >= 0.00995 or value == 0 else 2 if abs(value) >= 0.000995 else 3
    return f"{value:{sign}.{digits}%}"
