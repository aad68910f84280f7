"""Rules that look at thousands of rollouts at once: the judge's own, and the usual practice."""

import math
from statistics import NormalDist
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.judging.streams import Scenario, Tick
from deployments.rollout.evidence import MIN_BATCH, ODDS_RATIO
from deployments.rollout.sequences import log_e_value, log_mean
from deployments.rollout.wealth import SHARE_PRIOR, Floats, Side, share_growth

Facts = NDArray[np.bool_]

LARGEST_RATE = 0.05
FAILURE_LIMIT = 3
"""`successCondition: result[0] >= 0.95` and `failureLimit: 3`, from the first analysis template
in Argo Rollouts' manual."""


class Rule(Protocol):
    """Follows all rollouts of a scenario."""

    def look(self, tick: Tick) -> Facts:
        """Take what was counted since the last look; tell which rollouts it would abort now."""
        ...


class Judge:
    """The judge on one signal that is a share: its own arithmetic on arrays of rollouts.

    `tests/benchmarks/judging/test_rules.py` holds it against `analysis.judge`.
    """

    def __init__(
        self,
        scenario: Scenario,
        n_rollouts: int,
        *,
        alpha: float,
        may_succeed: bool = False,
        trusts_weights: bool = False,
    ) -> None:
        """Begin.

        Args:
            scenario: What the canary is allowed, and how large clusters are.
            n_rollouts: How many it will see at a time.
            alpha: Of this signal.
            may_succeed: Whether it will be asked who is successful.
            trusts_weights: Whether to take the weight that was asked for as the share that
                there was, as the judge does not.
        """
        self._scenario = scenario
        self._limit = -math.log(alpha)
        self._may_succeed = may_succeed
        self._trusts_weights = trusts_weights
        shape = (n_rollouts, len(scenario.plan), len(SHARE_PRIOR))
        self._rise, self._fall = np.zeros(shape), np.zeros(shape)
        self._pending = np.zeros((4, n_rollouts))
        self._step = 0

    def look(self, tick: Tick) -> Facts:
        """See `Rule`."""
        self._step = tick.step
        self._pending += [
            tick.canary.count, tick.canary.total, tick.stable.count, tick.stable.total,
        ]  # fmt: skip
        n_canary, bad_canary, n_stable, bad_stable = self._pending
        enough = (n_canary > 0) & (n_stable > 0) & (n_canary + n_stable >= MIN_BATCH)
        # A batch that waits is judged as an empty one, whatever its odds.
        odds = np.where(enough, n_stable, 1) / np.where(enough, n_canary, 1)
        fewest = ODDS_RATIO ** np.floor(np.log(odds) / math.log(ODDS_RATIO))
        if self._trusts_weights:
            fewest = np.full_like(fewest, (100 - tick.weight) / tick.weight)
        canary = Side(n_canary * enough, bad_canary * enough)
        stable = Side(n_stable * enough, bad_stable * enough)
        allowed, size = self._scenario.allowed, self._scenario.cluster_size
        self._rise[:, tick.step] += share_growth(canary, stable, fewest, allowed) / size
        if self._may_succeed:
            most = fewest * ODDS_RATIO
            self._fall[:, tick.step] += share_growth(stable, canary, 1 / most, -allowed) / size
        self._pending *= ~enough
        seen = self._rise[:, : tick.step + 1]
        return np.asarray(log_e_value(seen, SHARE_PRIOR) >= self._limit)

    def succeeds(self, risk: float) -> Facts:
        """Tell which rollouts are successful in the present step."""
        return np.asarray(log_mean(self._fall[:, self._step], SHARE_PRIOR) >= -math.log(risk))


class Threshold:
    """A bound on the canary's rate in each interval, and on how many intervals may break it."""

    def __init__(self, n_rollouts: int) -> None:
        self._failed = np.zeros(n_rollouts, dtype=int)

    def look(self, tick: Tick) -> Facts:
        """See `Rule`."""
        self._failed += _rate(tick.canary) > LARGEST_RATE
        return np.asarray(self._failed > FAILURE_LIMIT)


class MannWhitney:
    """A one-sided rank test of the intervals' rates so far, asked again after each interval.

    Source:
        H. Mann, D. Whitney, Ann. Math. Statist. 18 (1947) 50-60; normal approximation with
        correction for ties, as Kayenta's judge uses on the points of an interval.
    """

    FEWEST = 5
    """Intervals before it is asked: with fewer, no outcome is significant."""

    def __init__(self, n_rollouts: int, n_intervals: int, *, alpha: float) -> None:
        self._rates = np.full((2, n_intervals, n_rollouts), np.nan)
        self._wins = np.zeros(n_rollouts)
        self._ties = np.zeros(n_rollouts)
        self._n = 0
        self._limit = NormalDist().inv_cdf(1 - alpha)

    def look(self, tick: Tick) -> Facts:
        """See `Rule`."""
        for side, counted in enumerate((tick.canary, tick.stable)):
            self._add(side, _rate(counted))
        self._n += 1
        n = self._n
        if n < self.FEWEST:
            return np.zeros(len(self._wins), dtype=bool)
        mean = n * n / 2
        variance = n * n / 12 * ((2 * n + 1) - self._ties / (2 * n * (2 * n - 1)))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (self._wins - mean - 0.5) / np.sqrt(variance)
        return np.asarray(np.where(variance > 0, z, 0.0) > self._limit)

    def _add(self, side: int, rates: Floats) -> None:
        """Count pairs that the canary's rate wins, and keep the sum of t^3 - t over ties."""
        n_own = self._n
        n_other = self._n + side  # the canary's came first
        own, other = self._rates[side, :n_own], self._rates[1 - side, :n_other]
        above = (rates > other).sum(axis=0) + 0.5 * (rates == other).sum(axis=0)
        self._wins += above if side == 0 else n_other - above
        alike = (rates == own).sum(axis=0) + (rates == other).sum(axis=0)
        self._ties += 3 * alike**2 + 3 * alike
        self._rates[side, n_own] = rates


def _rate(side: Side) -> Floats:
    rate: Floats = side.total / np.maximum(side.count, 1)
    return rate
