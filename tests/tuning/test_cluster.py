import os
from typing import Any

import pytest

from tuning.cluster import Cluster, require_room
from tuning.errors import ConfigError
from tuning.resources import ResourcesSpec

pytestmark = pytest.mark.ray  # imports Ray, though it starts none

CORES = os.cpu_count() or 1


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        pytest.param(
            {"gpu": 100}, r"resources: cpu 1, gpu 100: no trial fits, allowed: up to cpu \d+, gpu",
            id="more-gpus-than-there-are",
        ),
        pytest.param(
            {"num_workers": CORES + 1},
            rf"resources: num_workers {CORES + 1} of cpu 1, gpu 0: no trial fits, allowed: up to "
            rf"cpu {CORES}, gpu \d+ in all$",
            id="more-workers-than-cores",
        ),
        pytest.param(
            {"num_workers": 2, "cpu": 0.1, "placement_strategy": "STRICT_SPREAD"},
            r"resources.placement_strategy: 'STRICT_SPREAD': 2 workers on as many nodes, but "
            r"without RAY_ADDRESS there is one, allowed: PACK, SPREAD, STRICT_PACK$",
            id="more-nodes-than-there-are",
        ),
    ],
)  # fmt: skip
def test_a_ray_of_ones_own_refuses_what_it_could_never_hold(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], fault: str
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    with pytest.raises(ConfigError, match=fault):
        require_room(ResourcesSpec.load(fields))


def test_a_cluster_that_may_grow_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")

    require_room(ResourcesSpec.load({"num_workers": 1000}))


@pytest.mark.parametrize(
    ("own", "wanted", "trials"),
    [
        pytest.param(True, None, 2, id="as-many-as-fit"),
        pytest.param(True, 8, 2, id="one-machine-does-not-grow"),
        pytest.param(True, 1, 1, id="fewer-than-fit"),
        pytest.param(False, None, 2, id="as-many-as-fit-on-a-cluster"),
        pytest.param(False, 8, 8, id="a-cluster-grows-for-what-waits"),
        pytest.param(False, 1, 1, id="fewer-than-fit-on-a-cluster"),
    ],
)
def test_a_cluster_that_may_grow_is_asked_for_all_that_is_wanted(
    own: bool, wanted: int | None, trials: int
) -> None:
    cluster = Cluster(capacity=2, lacks=None, job_id="01", own=own)

    assert cluster.side_by_side(wanted) == trials
