"""Rules on arrays of rollouts do what they would do on one."""

import numpy as np
import pytest

from benchmarks.judging.rules import (
    FAILURE_LIMIT,
    Judge,
    MannWhitney,
    Threshold,
)
from benchmarks.judging.streams import Scenario, Tick, stream
from deployments.rollout.analysis import Verdict, judge
from deployments.rollout.evidence import begin, observe
from deployments.rollout.signals import Counts, Kind, Signal
from deployments.rollout.wealth import Side

ALPHA, RISK = 0.01, 0.05


def tick(canary: tuple[int, int], stable: tuple[int, int], weight: int = 10) -> Tick:
    """One rollout's requests and failures."""
    sides = (Side(*(np.array([float(number)]) for number in side)) for side in (canary, stable))
    return Tick(0, weight, *sides)


def verdicts_of_the_real_judge(scenario: Scenario, ticks: list[Tick], row: int) -> list[Verdict]:
    signal = Signal("error rate", Kind.ERRORS, scenario.allowed, cluster_size=scenario.cluster_size)
    evidence = begin([signal], canary=Counts(), stable=Counts())
    totals, verdicts = np.zeros(4, dtype=int), []
    for each in ticks:
        sides = (each.canary, each.stable)
        totals += [int(number[row]) for side in sides for number in (side.count, side.total)]
        evidence = observe(
            evidence,
            [signal],
            canary=Counts(requests=int(totals[0]), errors=int(totals[1])),
            stable=Counts(requests=int(totals[2]), errors=int(totals[3])),
            step=each.step,
        )
        verdicts.append(judge(evidence, [signal], alpha=ALPHA, risk=RISK).verdict)
    return verdicts


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(
            Scenario("steps", ((5, 10), (50, 10)), requests=100, rate=0.1, rise=0.1), id="steps"
        ),
        pytest.param(
            Scenario("few", ((30, 40),), requests=6, rate=0.1, rise=0.7, allowed=0.1), id="few"
        ),
        pytest.param(
            Scenario("good", ((20, 20),), requests=500, allowed=0.05, drifts=True), id="good"
        ),
        pytest.param(
            Scenario("eights", ((20, 20),), requests=400, rise=0.2, cluster_size=8), id="clusters"
        ),
    ],
)
def test_simulated_judge_says_what_the_real_one_says(scenario: Scenario) -> None:
    ticks = list(stream(scenario, 4, np.random.default_rng(3)))
    rule = Judge(scenario, 4, alpha=ALPHA, may_succeed=True)

    looks = [(rule.look(each), rule.succeeds(RISK)) for each in ticks]

    decided = set()
    for row in range(4):
        verdicts = verdicts_of_the_real_judge(scenario, ticks, row)
        decided |= set(verdicts)
        assert verdicts == [
            Verdict.FAILED
            if fails[row]
            else Verdict.SUCCESSFUL
            if succeeds[row]
            else Verdict.INCONCLUSIVE
            for fails, succeeds in looks
        ]
    assert len(decided) > 1, "a scenario in which nothing is decided tests nothing"


def test_a_judge_that_trusts_weights_takes_more_traffic_for_more_failures() -> None:
    # Twice the asked 10 %, at the same rate of failures.
    twice = tick((200, 20), (800, 80))
    scenario = Scenario("sticky", ((10, 20),))
    judges = [Judge(scenario, 1, alpha=ALPHA, trusts_weights=trusts) for trusts in (False, True)]

    aborted = [[bool(rule.look(twice)) for _ in range(10)][-1] for rule in judges]

    assert aborted == [False, True]


def test_threshold_counts_intervals_above_it() -> None:
    rule = Threshold(1)

    looks = [bool(rule.look(tick((100, bad), (900, 0)))) for bad in (6, 5, 6, 6, 6, 0)]

    assert looks == [False, False, False, False, True, True]
    assert FAILURE_LIMIT == 3


@pytest.mark.parametrize("size", [7, 1000], ids=["many-ties", "few-ties"])
def test_mann_whitney_is_scipy_s_at_every_look(size: int) -> None:
    from scipy.stats import mannwhitneyu  # noqa: PLC0415, a second for whoever collects this

    random = np.random.default_rng(8)
    n_looks, levels = 12, (0.3, 0.1, 0.02)
    rules = [MannWhitney(1, n_looks, alpha=level) for level in levels]
    canary, stable = [], []

    for look in range(n_looks):
        bad = random.binomial(size, 0.3), random.binomial(size, 0.2)
        canary.append(bad[0] / size)
        stable.append(bad[1] / size)
        found = [bool(rule.look(tick((size, bad[0]), (size, bad[1])))) for rule in rules]
        if look + 1 >= MannWhitney.FEWEST:
            p_value = mannwhitneyu(
                canary, stable, alternative="greater", method="asymptotic"
            ).pvalue
            assert found == [p_value < level for level in levels]
