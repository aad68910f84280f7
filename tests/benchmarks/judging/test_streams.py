import numpy as np
import pytest

from benchmarks.judging.streams import Scenario, Tick, stream
from deployments.rollout.wealth import Floats


def drawn(scenario: Scenario, n_rollouts: int = 200) -> list[Tick]:
    return list(stream(scenario, n_rollouts, np.random.default_rng(1)))


def share(tick: Tick) -> Floats:
    found: Floats = tick.canary.count / (tick.canary.count + tick.stable.count)
    return found


def test_the_canary_gets_its_weight_and_its_rate() -> None:
    ticks = drawn(Scenario("", ((20, 30), (50, 30)), rate=0.05, rise=0.05))

    assert [ticks[0].step, ticks[-1].step] == [0, 1]
    assert np.mean(share(ticks[0])) == pytest.approx(0.2, rel=0.02)
    assert np.mean(share(ticks[-1])) == pytest.approx(0.5, rel=0.02)
    rates = [
        sum(side.total.sum() for side in sides) / sum(side.count.sum() for side in sides)
        for sides in ([tick.canary for tick in ticks], [tick.stable for tick in ticks])
    ]
    assert rates == pytest.approx([0.10, 0.05], rel=0.02)


def test_a_drifting_rate_is_that_of_both_tracks() -> None:
    ticks = drawn(Scenario("", ((50, 120),), requests=20_000, rate=0.01, drifts=True), 1)

    canary, stable = (
        np.array([float(side.total[0] / side.count[0]) for side in sides])
        for sides in ([tick.canary for tick in ticks], [tick.stable for tick in ticks])
    )

    assert stable.max() > 10 * stable.min()
    assert np.corrcoef(canary, stable)[0, 1] > 0.99


def test_sticky_keys_give_every_rollout_its_own_share_and_only_join_the_canary() -> None:
    ticks = drawn(Scenario("", ((10, 1), (50, 1)), requests=100_000, keys=100))

    first, second = share(ticks[0]), share(ticks[-1])

    assert np.std(first) > 0.05
    assert np.mean(first) == pytest.approx(0.1, abs=0.02)
    assert (second >= first - 0.01).all()


@pytest.mark.parametrize(
    ("differ", "spread"), [(False, 0.002), (True, 0.02)], ids=["alike", "differ"]
)
def test_keys_may_differ_in_how_they_fare(differ: bool, spread: float) -> None:
    scenario = Scenario("", ((50, 1),), requests=100_000, rate=0.05, keys=50, keys_differ=differ)
    (tick,) = drawn(scenario)

    rises = tick.canary.total / tick.canary.count - tick.stable.total / tick.stable.count

    assert np.mean(rises) == pytest.approx(0, abs=0.01)
    assert spread / 2 < np.std(rises) < 3 * spread


def test_clusters_fail_together() -> None:
    (tick,) = drawn(Scenario("", ((50, 1),), requests=1600, rate=0.05, cluster_size=8))

    whole = tick.stable.count % 8 == 0
    assert whole.any()
    assert (tick.stable.total[whole] % 8 == 0).all()
    assert np.mean(tick.stable.total) == pytest.approx(40, rel=0.1)
