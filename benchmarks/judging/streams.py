"""Traffic of many simulated rollouts at a time: what both tracks count between two looks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deployments.rollout.wealth import Floats, Side

Rates = Callable[[int], Floats | float]
"""Stable's rate of failures in a tick; one for all rollouts, or one for each."""

Random = np.random.Generator
Ints = NDArray[np.int64]

TINY = 1e-12
"""In place of no traffic at all."""


@dataclass(frozen=True, slots=True)
class Tick:
    """What was counted since the last look, an element for each rollout."""

    step: int
    weight: int
    """Percent that the canary was asked to get."""

    canary: Side
    stable: Side


@dataclass(frozen=True, slots=True)
class Scenario:
    """A plan, and how requests fare under it."""

    title: str

    plan: tuple[tuple[int, int], ...] = ((5, 100), (25, 100), (50, 100))
    """Weights in percent, and how many ticks each is held."""

    requests: int = 1000
    """Of both tracks in a tick."""

    rate: float = 0.01
    """Stable's rate of failures where it is constant."""

    rise: float = 0.0
    """Added to the canary's."""

    allowed: float = 0.0
    """Largest rise that the rules are told to allow."""

    drifts: bool = False
    """Whether the rate of both changes by the hour, with incidents that hit both."""

    keys: int | None = None
    """Sticky keys behind the traffic, few of them busy; None: each request is its own."""

    keys_differ: bool = False
    """Whether some keys fail much more than others, whichever version answers them."""

    cluster_size: int = 1
    """Requests that fail together, if one does."""

    @property
    def n_ticks(self) -> int:
        """Length of the whole plan."""
        return sum(ticks for _, ticks in self.plan)


def stream(scenario: Scenario, n_rollouts: int, random: Random) -> Iterator[Tick]:
    """Draw rollouts, tick by tick."""
    rates = _drifting(scenario, n_rollouts, random) if scenario.drifts else None
    keys = _Keys.draw(scenario.keys, n_rollouts, random) if scenario.keys else None
    number = 0
    for step, (weight, ticks) in enumerate(scenario.plan):
        share = keys.share(weight) if keys else np.full(n_rollouts, weight / 100)
        factors = keys.factors(weight) if keys and scenario.keys_differ else (1.0, 1.0)
        for _ in range(ticks):
            rate = rates(number) if rates else scenario.rate
            n_canary = random.binomial(scenario.requests, share)
            n_stable = scenario.requests - n_canary
            canary = _fail(scenario, n_canary, rate * factors[0] + scenario.rise, random)
            stable = _fail(scenario, n_stable, rate * factors[1], random)
            yield Tick(step, weight, canary, stable)
            number += 1


def _fail(scenario: Scenario, requests: Ints, rate: Floats | float, random: Random) -> Side:
    size = scenario.cluster_size
    whole, rest = np.divmod(requests, size)
    bad = size * random.binomial(whole, rate) + rest * random.binomial(rest > 0, rate)
    return Side(requests.astype(float), bad.astype(float))


def _drifting(scenario: Scenario, n_rollouts: int, random: Random) -> Rates:
    """A wave from a fifth to five times the rate, and incidents in which a fifth fails."""
    phases = random.uniform(0, 2 * np.pi, n_rollouts)
    incidents = random.random((scenario.n_ticks, n_rollouts)) < 0.01

    def rate(number: int) -> Floats:
        wave = scenario.rate * 5 ** np.sin(phases + 2 * np.pi * number / 60)
        return np.where(incidents[number], 0.2, wave)

    return rate


@dataclass(frozen=True, slots=True)
class _Keys:
    """Who sends the requests of each rollout, where their hashes lie, and how they fare."""

    traffic: Floats
    """Share of each key, shape (keys,): the n-th busiest sends 1 / n of the busiest."""

    places: Floats
    """In [0, 1), shape (rollouts, keys); a weight sends to the canary those below it."""

    factors_of_keys: Floats
    """How often a key's requests fail, as a multiple of the average; shape as above."""

    @classmethod
    def draw(cls, n_keys: int, n_rollouts: int, random: Random) -> "_Keys":
        traffic = 1.0 / np.arange(1, n_keys + 1)
        factors = random.gamma(0.5, 2.0, (n_rollouts, n_keys))
        return cls(traffic / traffic.sum(), random.random((n_rollouts, n_keys)), factors)

    def share(self, weight: int) -> Floats:
        """Of the traffic that the canary really gets."""
        share: Floats = (self.places < weight / 100) @ self.traffic
        return share

    def factors(self, weight: int) -> tuple[Floats, Floats]:
        """Average over the canary's requests, and over stable's."""
        on_canary = self.places < weight / 100
        canary = (on_canary * self.factors_of_keys) @ self.traffic
        stable = (~on_canary * self.factors_of_keys) @ self.traffic
        share = self.share(weight)
        return canary / np.maximum(share, TINY), stable / np.maximum(1 - share, TINY)
