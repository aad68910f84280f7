import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.rollout.evidence import (
    MIN_BATCH,
    ODDS_RATIO,
    Evidence,
    Segment,
    begin,
    observe,
    odds_class,
)
from deployments.rollout.signals import Counts, Kind, Signal, Sums
from tests.deployments.rollout.rollouts import ERRORS, Batch, observed
from tests.properties import examples

DIFFERING = Signal("differing share", Kind.DIFFERING, allowed=0.05)
REWARD = Signal("reward", Kind.REWARD, allowed=0.05)

BATCHES = st.tuples(st.integers(1, 200), st.integers(0, 5), st.integers(20, 999), st.integers(0, 9))


def possible(batch: Batch) -> Batch:
    return batch[0], min(batch[1], batch[0]), batch[2], batch[3]


def segments(evidence: Evidence, signal: Signal = ERRORS) -> tuple[Segment, ...]:
    return evidence.records[signal.name].segments


def test_what_was_counted_before_the_rollout_is_no_evidence() -> None:
    past = Counts(requests=10_000, errors=900)
    evidence = begin([ERRORS], canary=Counts(), stable=past)

    now = Counts(requests=10_100, errors=901)
    evidence = observe(evidence, [ERRORS], canary=Counts(requests=10), stable=now, step=0)

    (segment,) = segments(evidence)
    assert (segment.canary, segment.stable) == (Sums(10), Sums(100, 1, 1))


def test_looking_twice_at_the_same_counts_adds_nothing() -> None:
    evidence = observed([(10, 1, 190, 2)])
    counts = Counts(requests=10, errors=1), Counts(requests=190, errors=2)

    again = observe(evidence, [ERRORS], canary=counts[0], stable=counts[1], step=0)

    assert again == evidence


@pytest.mark.parametrize(
    ("batch", "is_taken"),
    [
        pytest.param((1, 0, MIN_BATCH - 1, 0), True, id="just-enough"),
        pytest.param((1, 0, MIN_BATCH - 2, 0), False, id="one-too-few"),
        pytest.param((0, 0, 500, 9), False, id="no-canary"),
        pytest.param((500, 9, 0, 0), False, id="no-stable"),
    ],
)
def test_a_batch_that_cannot_tell_waits(batch: Batch, is_taken: bool) -> None:
    assert (len(segments(observed([batch]))) == 1) is is_taken


def test_a_batch_that_waited_is_taken_with_the_next() -> None:
    waiting = observed([(1, 1, 10, 0), (1, 0, 10, 0)])

    assert segments(waiting) == segments(observed([(2, 1, 20, 0)]))


@pytest.mark.parametrize(
    ("canary", "stable"),
    [
        pytest.param(Counts(requests=50), Counts(requests=900, errors=9), id="restarted"),
        pytest.param(Counts(requests=150, errors=90), Counts(requests=2000), id="errors-fell"),
        pytest.param(
            Counts(requests=110, errors=50), Counts(requests=2000, errors=9), id="more-than-all"
        ),
    ],
)
def test_an_impossible_batch_is_left_out_and_counting_goes_on(
    canary: Counts, stable: Counts
) -> None:
    before = observed([(100, 1, 1900, 9)])

    after = observe(before, [ERRORS], canary=canary, stable=stable, step=0)

    assert segments(after) == segments(before)
    more = Counts(canary.requests + 10, canary.errors), Counts(stable.requests + 190, stable.errors)
    last = observe(after, [ERRORS], canary=more[0], stable=more[1], step=0)
    assert sum(segment.canary.count for segment in segments(last)) == 110


def test_a_step_never_falls() -> None:
    evidence = observed([(2, (10, 0, 190, 0))])

    with pytest.raises(ValueError, match="step 1 is before step 2"):
        observe(evidence, [ERRORS], canary=Counts(), stable=Counts(), step=1)


def test_a_signal_that_joins_later_begins_there() -> None:
    evidence = observed([(100, 1, 1900, 9)])
    counts = Counts(requests=200, mirrored=50, differing=40), Counts(requests=3800)

    joined = observe(evidence, [DIFFERING], canary=counts[0], stable=counts[1], step=0)

    assert segments(joined, DIFFERING) == ()
    assert segments(joined) == segments(evidence)


@examples(50)
@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_class_holds_the_odds_of_its_batches(canary: int, stable: int) -> None:
    power = odds_class(canary, stable)

    assert ODDS_RATIO**power <= stable / canary * (1 + 1e-9)
    assert stable / canary <= ODDS_RATIO ** (power + 1) * (1 + 1e-9)


def test_batches_of_other_shares_or_steps_stay_apart() -> None:
    alike = observed([(10, 0, 190, 0), (100, 1, 1900, 3)])
    apart = observed([(10, 0, 190, 0), (20, 0, 180, 0), (1, (20, 0, 180, 0))])

    assert len(segments(alike)) == 1
    assert [(each.step, each.canary.count) for each in segments(apart)] == [
        (0, 20),
        (0, 10),
        (1, 20),
    ]


def test_rewards_share_wider_classes() -> None:
    evidence = begin([REWARD], canary=Counts(), stable=Counts())
    for n_canary, n_stable in [(10, 190), (21, 390), (60, 560)]:
        counts = (
            Counts(rewards=Sums(count, 0.8 * count, 0.7 * count)) for count in (n_canary, n_stable)
        )
        canary, stable = counts
        evidence = observe(evidence, [REWARD], canary=canary, stable=stable, step=0)

    # Batches of 10 to 190 and 11 to 200, then one of 39 to 170.
    odds = [ODDS_RATIO ** (segment.odds or 0) for segment in segments(evidence, REWARD)]
    assert [segment.canary.count for segment in segments(evidence, REWARD)] == [39, 21]
    assert (odds[0] <= 170 / 39, odds[1] <= 200 / 11) == (True, True)


def test_the_expected_total_has_each_batch_s_own_odds() -> None:
    # 4 of 100 stable requests failed, so 1 of 25; then none.
    evidence = observed([(25, 0, 100, 4), (25, 0, 100, 0)])

    assert segments(evidence)[0].expected == 1.0


def test_mirrored_answers_need_no_stable_side() -> None:
    evidence = begin([DIFFERING], canary=Counts(), stable=Counts())
    for mirrored in (1, 7, 30):
        canary = Counts(mirrored=mirrored, differing=1)
        evidence = observe(evidence, [DIFFERING], canary=canary, stable=Counts(), step=0)

    assert segments(evidence, DIFFERING) == (Segment(0, None, Sums(30, 1, 1), Sums(), 0.0),)


@given(st.lists(BATCHES.map(possible), max_size=6), st.integers(2, 5))
@examples(50)
def test_batches_with_equal_shares_may_be_split_or_joined(batches: list[Batch], times: int) -> None:
    parts = [batch for batch in batches for _ in range(times)]
    whole = [
        (times * canary, times * bad_canary, times * stable, times * bad_stable)
        for canary, bad_canary, stable, bad_stable in batches
    ]

    assert sums(observed(parts)) == sums(observed(whole))


def sums(evidence: Evidence) -> list[tuple[int, int | None, Sums, Sums]]:
    return [(each.step, each.odds, each.canary, each.stable) for each in segments(evidence)]


@given(
    st.lists(BATCHES.map(possible), max_size=6).flatmap(
        lambda batches: st.tuples(st.just(batches), st.permutations(batches))
    )
)
@examples(50)
def test_the_order_of_batches_in_a_step_does_not_matter(
    pair: tuple[list[Batch], list[Batch]],
) -> None:
    assert sums(observed(pair[0])) == sums(observed(pair[1]))


def test_rewards_that_are_all_the_best_are_possible() -> None:
    # Sums of floats: what is missing to the best comes out as a tiny negative number.
    sums = Sums(3, 3 * 0.3, 3 * 0.3**2)
    signal = Signal("reward", Kind.REWARD, allowed=0.01, low=0.0, high=0.3)
    evidence = begin([signal], canary=Counts(), stable=Counts())
    counts = Counts(rewards=sums), Counts(rewards=Sums(30, 30 * 0.3, 30 * 0.3**2))

    evidence = observe(evidence, [signal], canary=counts[0], stable=counts[1], step=0)

    assert len(segments(evidence, signal)) == 1


def test_evidence_survives_the_store_and_other_processes() -> None:
    evidence = observed([(100, 1, 1900, 9), (1, (100, 3, 900, 9))], ERRORS, DIFFERING, REWARD)

    assert msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence) == evidence
    assert pickle.loads(pickle.dumps(evidence)) == evidence  # noqa: S301, our own bytes
