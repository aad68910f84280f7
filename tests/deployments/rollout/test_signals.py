import pytest

from deployments.errors import ConfigError
from deployments.rollout.signals import (
    Counts,
    Kind,
    Signal,
    Sums,
    read,
    slow_bucket,
    stable_bucket,
    value_of,
)

COUNTS = Counts(
    requests=100,
    errors=3,
    latency=(50, 30, 15, 4),
    mirrored=20,
    differing=5,
    labels=40,
    mistakes=8,
    rewards=Sums(4, 14.0, 54.0),
)
EDGES = (0.1, 0.5, 1.0)


@pytest.mark.parametrize(
    ("signal", "count", "bad"),
    [
        pytest.param(Signal("e", Kind.ERRORS, 0.01), 100, 3, id="errors"),
        pytest.param(Signal("s", Kind.SLOW, 0.01, bucket=2), 99, 19, id="slow"),
        pytest.param(Signal("s", Kind.SLOW, 0.01, bucket=3), 99, 4, id="only-the-open-bucket"),
        pytest.param(Signal("d", Kind.DIFFERING, 0.01), 20, 5, id="differing"),
        pytest.param(Signal("m", Kind.MISTAKES, 0.01), 40, 8, id="mistakes"),
    ],
)
def test_each_kind_reads_its_own_counts(signal: Signal, count: int, bad: int) -> None:
    assert read(signal, COUNTS) == Sums(count, bad, bad)
    assert value_of(signal, read(signal, COUNTS)) == bad / count


def test_a_reward_is_read_as_what_is_missing_to_the_best() -> None:
    # Rewards 2, 3, 4 and 5 between 1 and 5: 3/4, 2/4, 1/4 and nothing of the range missing.
    signal = Signal("r", Kind.REWARD, 0.1, low=1.0, high=5.0)

    sums = read(signal, COUNTS)

    assert sums == Sums(4, 1.5, 14 / 16)
    assert value_of(signal, sums) == 3.5


def test_of_nothing_there_is_no_value() -> None:
    assert value_of(Signal("e", Kind.ERRORS, 0.01), Sums()) is None


@pytest.mark.parametrize(
    ("target_s", "bucket"),
    [
        pytest.param(0.05, 1, id="below-the-first-edge"),
        pytest.param(0.1, 1, id="at-an-edge"),
        pytest.param(0.11, 2, id="between-edges-goes-up"),
        pytest.param(1.0, 3, id="at-the-last-edge"),
    ],
)
def test_nothing_within_the_target_counts_as_slow(target_s: float, bucket: int) -> None:
    assert slow_bucket(target_s, EDGES) == bucket
    assert target_s <= EDGES[bucket - 1]


def test_a_target_beyond_the_last_bucket_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"target 1\.5 s is beyond the last bucket, 1 s"):
        slow_bucket(1.5, EDGES)


@pytest.mark.parametrize(
    ("past", "bucket"),
    [
        pytest.param((950, 40, 10, 0), 1, id="5-percent-beyond-the-first-edge"),
        pytest.param((949, 41, 10, 0), 2, id="a-little-more"),
        pytest.param((200, 190, 10, 0), 2, id="just-enough-requests"),
        pytest.param((199, 190, 10, 0), None, id="too-few-requests"),
        pytest.param((900, 0, 0, 100), None, id="in-the-open-bucket"),
        pytest.param((), None, id="no-past"),
    ],
)
def test_stable_s_quantile_is_an_edge(past: tuple[int, ...], bucket: int | None) -> None:
    assert stable_bucket(past, 0.95) == bucket


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"allowed": -0.1}, r"allowed -0.1 is not in \[0, 1\)", id="negative"),
        pytest.param({"allowed": 1.0}, r"allowed 1 is not in \[0, 1\)", id="everything"),
        pytest.param({"low": 1.0}, "range 1 to 1 holds nothing", id="empty-range"),
        pytest.param({"high": float("inf")}, "range 0 to inf", id="unbounded"),
        pytest.param({"cluster_size": 0}, "cluster_size 0 is not 1 or more", id="no-cluster"),
    ],
)
def test_impossible_signals_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Signal("reward", Kind.REWARD, **({"allowed": 0.1} | changes))  # type: ignore[arg-type]


def test_what_is_allowed_is_in_the_reward_s_unit() -> None:
    assert Signal("reward", Kind.REWARD, 3.0, low=0.0, high=5.0).allowed == 3.0
