"""How often rules abort what they should not, and how soon what they should."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from benchmarks.judging.rules import Facts, Judge, MannWhitney, Rule, Threshold
from benchmarks.judging.streams import Random, Scenario, Tick, stream
from deployments.rollout.wealth import Floats, Side

POWER = 0.8
"""Of the fixed-size test that delays are compared with."""

INTERVAL = 10
"""Ticks between two looks of the usual practice, where the judge looks at every tick."""

JUDGE = "the judge"
TRUSTING = "the same, by asked weight"
THRESHOLD = "threshold per tick"
MANN_WHITNEY = "Mann-Whitney per tick"


@dataclass(frozen=True, slots=True)
class FalseAborts:
    """What happens to versions that are no worse than allowed."""

    scenario: Scenario
    aborted: dict[str, list[float]]
    """By rule: share of the rollouts aborted up to each look."""

    successful: float | None
    """Share that the judge called successful at some look of the first step, where the version
    is as bad as allowed."""


@dataclass(frozen=True, slots=True)
class Delay:
    """How many requests a bad version answers."""

    rate: float
    """The canary's; stable has that of the scenario."""

    fixed: float
    """Canary requests that a one-sided test of fixed size needs."""

    requests: dict[str, Floats]
    """By rule: canary requests until each rollout was aborted; infinite if it was not."""

    def median(self, rule: str = JUDGE) -> float:
        """Canary requests until half of the rollouts are aborted."""
        return float(np.median(self.requests[rule]))


@dataclass(frozen=True, slots=True)
class Success:
    """How many requests a good version must answer."""

    weight: int
    rate: float
    requests: Floats
    """Canary requests until each rollout was successful; infinite if it was not."""


def false_aborts(
    scenario: Scenario, n_rollouts: int, random: Random, *, alpha: float, risk: float
) -> FalseAborts:
    """Run all rules over the same rollouts; with sticky keys, also a judge that trusts weights."""
    at_the_limit = scenario.rise > 0
    judge = Judge(scenario, n_rollouts, alpha=alpha, may_succeed=at_the_limit)
    rules: dict[str, Rule] = {
        JUDGE: judge,
        THRESHOLD: Threshold(n_rollouts),
        MANN_WHITNEY: MannWhitney(n_rollouts, scenario.n_ticks, alpha=alpha),
    }
    if scenario.keys:
        rules[TRUSTING] = Judge(scenario, n_rollouts, alpha=alpha, trusts_weights=True)
    aborted = {name: np.zeros(n_rollouts, dtype=bool) for name in rules}
    shares: dict[str, list[float]] = {name: [] for name in rules}
    successful = np.zeros(n_rollouts, dtype=bool)
    for tick in stream(scenario, n_rollouts, random):
        for name, rule in rules.items():
            aborted[name] |= rule.look(tick)
            shares[name].append(float(aborted[name].mean()))
        if tick.step == 0 and at_the_limit:
            successful |= judge.succeeds(risk)
    return FalseAborts(scenario, shares, float(successful.mean()) if at_the_limit else None)


def delay(scenario: Scenario, n_rollouts: int, random: Random, *, alpha: float) -> Delay:
    """Run all rules until the judge has aborted every rollout, or the plan ends."""
    judge = Judge(scenario, n_rollouts, alpha=alpha)
    usual: dict[str, Rule] = {
        THRESHOLD: Threshold(n_rollouts),
        MANN_WHITNEY: MannWhitney(n_rollouts, scenario.n_ticks, alpha=alpha),
    }
    requests = {name: np.full(n_rollouts, math.inf) for name in (JUDGE, *usual)}
    seen = np.zeros(n_rollouts)
    since: list[Tick] = []
    for tick in stream(scenario, n_rollouts, random):
        seen += tick.canary.count
        _note(requests[JUDGE], judge.look(tick), seen)
        since.append(tick)
        if len(since) == INTERVAL:
            interval = _join(since)
            for name, rule in usual.items():
                _note(requests[name], rule.look(interval), seen)
            since = []
        if all(np.isfinite(found).all() for found in requests.values()):
            break
    rate = scenario.rate + scenario.rise
    odds = (100 - scenario.plan[0][0]) / scenario.plan[0][0]
    return Delay(rate, fixed_size(rate, scenario.rate, odds, alpha), requests)


def success(scenario: Scenario, n_rollouts: int, random: Random, *, risk: float) -> Success:
    """Run the judge until every rollout is successful, or the plan ends."""
    judge = Judge(scenario, n_rollouts, alpha=risk, may_succeed=True)
    requests, seen = np.full(n_rollouts, math.inf), np.zeros(n_rollouts)
    for tick in stream(scenario, n_rollouts, random):
        seen += tick.canary.count
        judge.look(tick)
        _note(requests, judge.succeeds(risk), seen)
        if np.isfinite(requests).all():
            break
    return Success(scenario.plan[0][0], scenario.rate, requests)


def fixed_size(canary: float, stable: float, odds: float, alpha: float) -> float:
    """Canary requests that a one-sided test of two proportions needs, looking once.

    Args:
        canary: Its rate.
        stable: Its rate.
        odds: Stable requests for each of the canary.
        alpha: Level of the test.

    Source:
        J. Fleiss, B. Levin, M. Paik, "Statistical Methods for Rates and Proportions", Wiley
        2003, chapter 4, without continuity correction.
    """
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(POWER)
    variance = canary * (1 - canary) + stable * (1 - stable) / odds
    return z**2 * variance / (canary - stable) ** 2


def _note(requests: Floats, now: Facts, seen: Floats) -> None:
    first = now & np.isinf(requests)
    requests[first] = seen[first]


def _join(ticks: list[Tick]) -> Tick:
    def joined(sides: list[Side]) -> Side:
        return Side(sum(side.count for side in sides), sum(side.total for side in sides))

    return Tick(
        ticks[0].step,
        ticks[0].weight,
        joined([tick.canary for tick in ticks]),
        joined([tick.stable for tick in ticks]),
    )
