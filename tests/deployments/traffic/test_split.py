from collections import Counter
from collections.abc import Container, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from deployments.traffic.split import BUCKETS, bucket, choose, is_mirrored, lay_out
from deployments.traffic.table import Route, Track
from tests.deployments.traffic.keys import moves, owners
from tests.fakes import make_route
from tests.properties import examples

STABLE = "stable"
UNEVEN = st.lists(st.integers(0, 100), max_size=8).filter(lambda weights: sum(weights) <= 100)
EVEN = st.integers(1, 8).map(lambda count: [100 // (count + 1)] * count)
TWO = st.integers(0, 100).flatmap(lambda one: st.integers(0, 100 - one).map(lambda two: [one, two]))


def split(canary: int) -> tuple[Route, ...]:
    return (
        make_route(version="2", weight=canary, track=Track.CANARY),
        make_route(version="1", weight=100 - canary),
    )


def beside_stable(weights: Sequence[int], away: Container[int] = ()) -> tuple[Route, ...]:
    """Canaries 0, 1 and so on, of which some are asked to answer and cannot."""
    given = [0 if index in away else weight for index, weight in enumerate(weights)]
    canaries = (
        replace(make_route(version=str(index), weight=weight, track=Track.CANARY), start=start)
        for index, (weight, start) in enumerate(zip(given, lay_out(weights), strict=True))
    )
    return (*canaries, make_route(version=STABLE, weight=100 - sum(given)))


def chosen(model: str, routes: tuple[Route, ...], key: str) -> str:
    route = choose(model, routes, key)
    assert route is not None
    return route.version


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param((), None, id="no-routes"),
        pytest.param((0, 0), None, id="nothing-ready"),
        pytest.param((0, 100), "b", id="all-to-stable"),
        pytest.param((100, 0), "a", id="all-to-canary"),
        pytest.param((0, 100, 0), "b", id="zeros-around"),
    ],
)
def test_without_a_split_every_key_has_the_same_fate(
    weights: tuple[int, ...], expected: str | None
) -> None:
    routes = [
        make_route(version=name, weight=weight)
        for name, weight in zip("abc", weights, strict=False)
    ]

    found = [choose("m", routes, str(key)) for key in range(200)]

    assert {route.version if route else None for route in found} == {expected}


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_a_canary_gets_its_share_of_many_keys(percent: int) -> None:
    n_keys = 10_000
    routes = split(percent)

    hits = sum(chosen("churn", routes, f"user-{key}") == "2" for key in range(n_keys))

    # Keys are fixed, so this never flickers: 4 standard deviations of a fair binomial draw.
    share = percent / 100
    assert hits == pytest.approx(n_keys * share, abs=4 * (n_keys * share * (1 - share)) ** 0.5)


@examples(100)
@given(key=st.text(), percent=st.integers(0, 100))
def test_the_same_key_always_goes_to_the_same_version(key: str, percent: int) -> None:
    assert chosen("m", split(percent), key) == chosen("m", split(percent), key)


@examples(100)
@given(
    key=st.text(),
    before=st.integers(0, 100),
    after=st.integers(0, 100),
)
def test_raising_a_canary_moves_keys_to_it_and_none_away(key: str, before: int, after: int) -> None:
    low, high = sorted((before, after))

    if chosen("m", split(low), key) == "2":
        assert chosen("m", split(high), key) == "2"


@examples(100)
@given(key=st.text(max_size=20), weights=st.lists(st.integers(0, 33), min_size=3, max_size=3))
def test_raising_one_of_several_canaries_gives_no_key_back_to_stable(
    key: str, weights: list[int]
) -> None:
    def canaries(first: int) -> tuple[Route, ...]:
        others = [
            make_route(version=str(index), weight=weight, track=Track.CANARY)
            for index, weight in enumerate((first, weights[1], weights[2]))
        ]
        return (*others, make_route(version="stable", weight=100 - first - sum(weights[1:])))

    if chosen("m", canaries(weights[0]), key) != "stable":
        assert chosen("m", canaries(weights[0] + 1), key) != "stable"


@pytest.mark.parametrize(
    ("weights", "starts"),
    [
        pytest.param([], [], id="none"),
        pytest.param([20], [0], id="one-from-the-beginning"),
        pytest.param([33, 33], [0, 67], id="two-from-both-ends"),
        pytest.param([90, 10], [0, 90], id="two-that-take-everything"),
        pytest.param([25, 25, 25], [0, 25, 50], id="three-in-two-halves"),
        pytest.param([16, 0, 16, 16, 16], [0, 33, 33, 50, 66], id="one-that-was-dropped"),
        pytest.param([40, 11, 9], [0, 40, 51], id="more-than-their-half-one-after-the-other"),
    ],
)
def test_where_ranges_begin(weights: list[int], starts: list[int]) -> None:
    assert lay_out(weights) == starts


@examples(100)
@given(weights=UNEVEN | EVEN)
def test_each_version_has_its_share_of_the_keys(weights: list[int]) -> None:
    expected = {str(index): weight for index, weight in enumerate(weights)}

    found = Counter(owners(beside_stable(weights)))

    assert found == Counter({**expected, STABLE: 100 - sum(weights)})


@examples(100)
@given(weights=UNEVEN | EVEN, away=st.sets(st.integers(0, 7)))
def test_a_version_that_is_away_leaves_its_own_keys_to_stable(
    weights: list[int], away: set[int]
) -> None:
    everybody = owners(beside_stable(weights))

    found = owners(beside_stable(weights, away))

    names = set(map(str, away))
    assert found == [STABLE if version in names else version for version in everybody]


@examples(100)
@given(weights=EVEN, dropped=st.sets(st.integers(0, 7)))
def test_arms_that_are_dropped_leave_their_own_keys_to_stable(
    weights: list[int], dropped: set[int]
) -> None:
    left = [0 if index in dropped else weight for index, weight in enumerate(weights)]

    found = owners(beside_stable(left))

    names = set(map(str, dropped))
    before = owners(beside_stable(weights))
    assert found == [STABLE if version in names else version for version in before]


@examples(100)
@given(weights=TWO, other=st.integers(0, 100), which=st.integers(0, 1))
def test_a_weight_that_changes_moves_keys_one_way_between_it_and_stable(
    weights: list[int], other: int, which: int
) -> None:
    changed = [min(other, 100 - weights[1 - which])] * 2
    changed[1 - which] = weights[1 - which]

    moved = moves(owners(beside_stable(weights)), owners(beside_stable(changed)))

    gained, lost = (STABLE, str(which)), (str(which), STABLE)
    assert moved <= ({gained} if changed[which] > weights[which] else {lost})


def test_in_a_table_of_an_earlier_release_ranges_stand_one_after_the_other() -> None:
    arms = [replace(route, start=None) for route in beside_stable([33, 33])]

    assert owners(arms) == ["0"] * 33 + ["1"] * 33 + [STABLE] * 34


def test_models_split_their_keys_independently() -> None:
    keys = [str(key) for key in range(4_000)]

    both = Counter(
        (chosen("churn", split(50), key), chosen("fraud", split(50), key)) for key in keys
    )

    # A quarter each; with one salt for all, two of the four would be empty.
    assert set(both) == {("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")}
    assert all(count == pytest.approx(1_000, abs=110) for count in both.values())


def test_where_the_model_ends_and_the_key_begins_matters() -> None:
    assert bucket("ab", "c") != bucket("a", "bc")


@examples(100)
@given(key=st.text(max_size=50))
def test_any_key_has_a_bucket(key: str) -> None:
    assert 0 <= bucket("m", key) < BUCKETS


def test_a_key_keeps_its_bucket_on_every_machine_and_release() -> None:
    # By hand: blake2b of "churn", a zero byte and "user-1", its first 8 bytes little-endian.
    assert bucket("churn", "user-1") == 7472


@pytest.mark.parametrize("percent", [0, 1, 10, 50, 99, 100])
def test_a_version_mirrors_its_share_of_many_keys(percent: int) -> None:
    n_keys = 20_000

    share = sum(is_mirrored("m", percent, str(key)) for key in range(n_keys)) / n_keys

    # Five standard deviations of a fair draw.
    assert share == pytest.approx(percent / 100, abs=5 * 0.5 / n_keys**0.5)
    assert percent not in {0, 100} or share == percent / 100


def test_raising_a_mirror_adds_keys_and_takes_none_away() -> None:
    keys = [str(key) for key in range(2_000)]

    few = {key for key in keys if is_mirrored("m", 10, key)}
    more = {key for key in keys if is_mirrored("m", 30, key)}

    assert few < more


def test_mirroring_says_nothing_about_the_split() -> None:
    keys = [str(key) for key in range(20_000)]

    mirrored = [key for key in keys if is_mirrored("m", 50, key)]
    to_canary = sum(chosen("m", split(canary=50), key) == "2" for key in mirrored)

    assert to_canary / len(mirrored) == pytest.approx(0.5, abs=5 * 0.5 / len(mirrored) ** 0.5)
