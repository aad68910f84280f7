from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module

import pytest

from deployments.predictor.autoscaling import (
    DEPTH_TTL_S,
    MOST_GATEWAYS,
    POLICY,
    QUEUE_METRIC,
    QueueDepths,
    replicas_for_queue,
)
from tests.fakes import FakeClock


@dataclass
class FakeConfig:
    target: float = 32.0

    def get_target_ongoing_requests(self) -> float:
        return self.target


@dataclass
class FakeContext:
    """What the policy reads of Serve's `AutoscalingContext`."""

    aggregated_metrics: Mapping[str, Mapping[str, float]] | None = None
    total_num_requests: float = 0.0
    target_num_replicas: int = 3
    current_num_replicas: int = 0
    config: FakeConfig | None = field(default_factory=FakeConfig)


def depths(**by_replica: float) -> dict[str, dict[str, float]]:
    return {QUEUE_METRIC: by_replica}


@pytest.mark.parametrize(
    ("context", "replicas"),
    [
        pytest.param(FakeContext(), 0, id="idle"),
        pytest.param(FakeContext(depths(a=0.0)), 0, id="empty-queues"),
        pytest.param(FakeContext(depths(a=1.0)), 1, id="one-request-wakes-it"),
        pytest.param(FakeContext(depths(a=32.0)), 1, id="on-target"),
        pytest.param(FakeContext(depths(a=33.0)), 2, id="just-above"),
        pytest.param(FakeContext(depths(a=100.0, b=90.0)), 4, id="largest-report-not-the-sum"),
        pytest.param(FakeContext(None, 65.0), 3, id="serve-s-own-count"),
        pytest.param(FakeContext(depths(a=1.0), 65.0), 3, id="whichever-is-larger"),
        pytest.param(FakeContext({"other": {"a": 500.0}}), 0, id="metrics-of-others"),
        pytest.param(FakeContext(depths(a=9.0), config=FakeConfig(2.0)), 5, id="own-target"),
        pytest.param(FakeContext(None, current_num_replicas=2), 3, id="silence-is-no-rest"),
        pytest.param(FakeContext({}, 9.0, current_num_replicas=2), 1, id="silent-but-asked"),
        pytest.param(FakeContext(depths(a=0.0), current_num_replicas=2), 0, id="at-rest"),
        pytest.param(FakeContext(depths(a=9.0), config=None), 3, id="no-config-no-change"),
    ],
)
def test_replicas_for_queue(context: FakeContext, replicas: int) -> None:
    assert replicas_for_queue(context) == (replicas, {})  # type: ignore[arg-type]


def test_serve_finds_the_policy_by_its_path() -> None:
    module, _, name = POLICY.partition(":")

    assert getattr(import_module(module), name) is replicas_for_queue


def test_a_depth_counts_while_a_batch_of_its_gateway_is_under_way() -> None:
    """It may take minutes, and nothing is heard meanwhile: 500 requests would become none."""
    clock = FakeClock()
    depths = QueueDepths(clock)
    depths.heard("busy", 500)
    depths.heard("gone", 7)

    totals = []
    for _ in range(3):
        clock.advance(DEPTH_TTL_S - 1.0)
        totals.append(depths.total(["busy", "never-heard"]))
    clock.advance(DEPTH_TTL_S + 1.0)

    assert totals == [507.0, 500.0, 500.0]
    assert depths.total() == 0.0


def test_gateways_that_are_gone_are_forgotten() -> None:
    clock = FakeClock()
    depths = QueueDepths(clock)

    for n in range(3 * MOST_GATEWAYS):
        depths.heard(f"gateway-{n}", 1)
        clock.advance(1.0)

    assert len(depths._depths) <= MOST_GATEWAYS
