import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.rollout.comparison import (
    compare,
    guilty,
    least_rise,
    log_evidence_of_fall,
    log_evidence_of_rise,
    most_rise,
    totals,
)
from deployments.rollout.evidence import Segment, begin, observe
from deployments.rollout.sequences import Floats, log_e_value
from deployments.rollout.signals import Counts, Kind, Signal, Sums
from deployments.rollout.wealth import SHARE_PRIOR, Side, share_growth
from tests.deployments.rollout.rollouts import ERRORS, observed
from tests.properties import examples

REWARD = Signal("reward", Kind.REWARD, allowed=0.02)
DIFFERING = Signal("differing share", Kind.DIFFERING, allowed=0.05)

MARGINS = st.floats(-0.5, 0.5)
SIZES = st.integers(20, 2000)
SHARES = st.floats(0, 1)


def segment(
    canary: tuple[int, int], stable: tuple[int, int], *, step: int = 0, odds: int | None = 0
) -> Segment:
    expected = canary[0] / stable[0] * stable[1] if stable[0] else 0.0
    return Segment(
        step,
        odds,
        Sums(canary[0], canary[1], canary[1]),
        Sums(stable[0], stable[1], stable[1]),
        expected,
    )


@given(SIZES, SHARES, SHARES, MARGINS)
@examples(50)
def test_evidence_of_a_rise_grows_with_the_canary_s_failures_and_falls_with_stable_s(
    size: int, canary: float, stable: float, margin: float
) -> None:
    bad = int(canary * size), int(stable * size)

    def evidence(more_canary: int, more_stable: int, margin: float = margin) -> float:
        one = segment((size + 5, bad[0] + more_canary), (size + 5, bad[1] + more_stable))
        return log_evidence_of_rise(compare(ERRORS, [one]), margin)

    assert evidence(1, 0) >= evidence(0, 0) - 1e-9
    assert evidence(0, 1) <= evidence(0, 0) + 1e-9
    assert evidence(0, 0, margin + 0.1) <= evidence(0, 0) + 1e-9


@given(SIZES, SHARES, SHARES, MARGINS)
@examples(50)
def test_a_canary_that_is_better_is_a_stable_that_is_worse(
    size: int, canary: float, stable: float, margin: float
) -> None:
    sides = (size, int(canary * size)), (3 * size, int(stable * 3 * size))
    growth = share_growth(Side(*sides[1]), Side(*sides[0]), 1 / 1.02, -margin)

    found = log_evidence_of_fall(compare(ERRORS, [segment(*sides, odds=0)]), margin)

    assert found == pytest.approx(float(np.logaddexp.reduce(growth + SHARE_PRIOR)))


@given(st.integers(1, 500), st.integers(1, 20), st.integers(2, 9), MARGINS)
@examples(50)
def test_clusters_count_as_one_request_each(
    requests: int, bad: int, size: int, margin: float
) -> None:
    alone = segment((requests + bad, bad), (requests * 9, bad))
    together = segment((size * (requests + bad), size * bad), (size * requests * 9, size * bad))
    clustered = Signal("error rate", Kind.ERRORS, allowed=0.0, cluster_size=size)

    assert log_evidence_of_rise(compare(clustered, [together]), margin) == pytest.approx(
        log_evidence_of_rise(compare(ERRORS, [alone]), margin)
    )


@pytest.mark.parametrize(
    ("signal", "one"),
    [
        pytest.param(ERRORS, segment((1000, 30), (1000, 10)), id="errors"),
        pytest.param(ERRORS, segment((1000, 0), (1000, 0)), id="no-errors"),
        pytest.param(ERRORS, segment((1000, 1000), (1000, 1000)), id="nothing-but-errors"),
        pytest.param(DIFFERING, segment((1000, 30), (0, 0), odds=None), id="differing"),
        pytest.param(REWARD, segment((1000, 300), (1000, 100)), id="reward"),
    ],
)
def test_bounds_are_on_both_sides_of_the_estimate_and_nearer_with_more_requests(
    signal: Signal, one: Segment
) -> None:
    estimate = (one.canary.total - one.expected) / one.canary.count
    more = Segment(
        one.step, one.odds, nine_times(one.canary), nine_times(one.stable), 9 * one.expected
    )

    low, high = (bound(compare(signal, [one]), 0.05) for bound in (least_rise, most_rise))
    low_of_more, high_of_more = (
        bound(compare(signal, [more]), 0.05) for bound in (least_rise, most_rise)
    )

    assert low <= estimate <= high
    assert low <= low_of_more <= estimate <= high_of_more <= high
    assert high - low > 1.5 * (high_of_more - low_of_more)


def nine_times(sums: Sums) -> Sums:
    return Sums(9 * sums.count, 9 * sums.total, 9 * sums.squares)


@pytest.mark.parametrize("level", [0.05, 0.01])
def test_evidence_at_a_bound_is_what_the_level_asks_for(level: float) -> None:
    comparison = compare(ERRORS, [segment((1000, 30), (1000, 10))])

    low, high = least_rise(comparison, level), most_rise(comparison, level)

    assert log_evidence_of_rise(comparison, low) == pytest.approx(-np.log(level), rel=0.05)
    assert log_evidence_of_fall(comparison, high) == pytest.approx(-np.log(level), rel=0.05)


@pytest.mark.parametrize(
    ("signal", "low"),
    [pytest.param(ERRORS, -1.0, id="rise"), pytest.param(DIFFERING, 0.0, id="share")],
)
def test_of_nothing_nothing_is_known(signal: Signal, low: float) -> None:
    comparison = compare(signal, [])

    assert (least_rise(comparison, 0.01), most_rise(comparison, 0.05)) == (low, 1.0)
    assert log_evidence_of_rise(comparison, 0.0) == 0.0
    assert totals([]) == (Sums(), Sums())


def test_a_version_that_is_bad_only_in_a_late_step_is_found_without_its_good_name() -> None:
    good = segment((20_000, 200), (20_000, 200))
    bad = segment((1000, 40), (1000, 10), step=1)

    since_the_start = compare(ERRORS, [good, segment((1000, 40), (1000, 10))])
    afresh = compare(ERRORS, [good, bad])

    assert log_evidence_of_rise(since_the_start, 0.0) < 0
    assert log_evidence_of_rise(afresh, 0.0) > np.log(100)
    assert guilty(afresh, 0.0) == (bad.canary, bad.stable)


def test_guilty_are_all_steps_of_a_version_that_is_bad_from_the_start() -> None:
    parts = [segment((500, 20), (500, 5), step=step) for step in (0, 1)]

    assert guilty(compare(ERRORS, parts), 0.0) == (Sums(1000, 40, 40), Sums(1000, 10, 10))


def test_what_hits_both_tracks_alike_says_nothing() -> None:
    calm = [(100, 1, 900, 9)] * 20
    incident = [(100, 20, 900, 180)] * 5
    # The canary has half of the traffic in the incident and a tenth before it.
    more = [(500, 100, 500, 100)] * 5

    evidence = observed([*calm, *incident, *more])

    comparison = compare(ERRORS, evidence.records[ERRORS.name].segments)
    assert log_evidence_of_rise(comparison, 0.0) < 0
    canary, stable = totals(comparison.segments)
    assert canary.total / canary.count > 1.5 * stable.total / stable.count


def false_aborts(rise: float, margin: float, random: np.random.Generator) -> float:
    """Share of rollouts aborted at any of 150 looks at a level of 5 %, both rates drifting."""
    n_rollouts, growth = 1000, np.zeros((1000, 1, len(SHARE_PRIOR)))
    aborted = np.zeros(n_rollouts, dtype=bool)
    for look in range(150):
        rate = 0.04 * 3 ** np.sin(look / 10)
        n_canary = random.binomial(100, 0.2, n_rollouts).clip(1)
        n_stable = 100 - n_canary
        canary = Side(n_canary, random.binomial(n_canary, rate + rise))
        stable = Side(n_stable, random.binomial(n_stable, rate))
        growth[:, 0] += share_growth(canary, stable, n_stable / n_canary, margin)
        aborted |= log_e_value(growth, SHARE_PRIOR) >= np.log(20)
    return float(aborted.mean())


@pytest.mark.parametrize("rise", [0.0, 0.02], ids=["no-worse", "worse-by-what-is-allowed"])
def test_a_version_that_is_no_worse_than_allowed_is_seldom_aborted(rise: float) -> None:
    assert 0.0 < false_aborts(rise, rise, np.random.default_rng(4)) <= 0.05


def test_a_version_that_is_worse_is_aborted() -> None:
    assert false_aborts(0.05, 0.0, np.random.default_rng(4)) > 0.95


def reward_aborts(drop: float, random: np.random.Generator) -> float:
    signal = Signal("reward", Kind.REWARD, allowed=0.0)
    aborted = 0
    for _ in range(60):
        evidence, totals = begin([signal], canary=Counts(), stable=Counts()), [Sums(), Sums()]
        for _ in range(10):
            for side, mean in enumerate((0.7 - drop, 0.7)):
                values: Floats = random.beta(8 * mean, 8 * (1 - mean), 40)
                totals[side] += Sums(40, float(values.sum()), float((values**2).sum()))
            counts = [Counts(rewards=each) for each in totals]
            evidence = observe(evidence, [signal], canary=counts[0], stable=counts[1], step=0)
            comparison = compare(signal, evidence.records["reward"].segments)
            if log_evidence_of_rise(comparison, 0.0) >= np.log(20):
                aborted += 1
                break
    return aborted / 60


@pytest.mark.parametrize(
    ("drop", "least", "most"),
    [pytest.param(0.0, 0.0, 0.05, id="alike"), pytest.param(0.1, 0.95, 1.0, id="worse")],
)
def test_rewards_tell_a_worse_version_from_one_that_is_not(
    drop: float, least: float, most: float
) -> None:
    assert least <= reward_aborts(drop, np.random.default_rng(2)) <= most
