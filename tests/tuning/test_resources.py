from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties import examples
from tuning.resources import Node, ResourcesSpec
from tuning.trainers.trainer import Workers


def resources(**fields: Any) -> ResourcesSpec:
    return ResourcesSpec.load(fields)


@pytest.mark.parametrize(
    ("fields", "nodes", "trials"),
    [
        pytest.param({}, [(2, 0)], 2, id="one-core-each"),
        pytest.param({"cpu": 0.1}, [(2, 0)], 20, id="tenths-of-a-core-lose-none"),
        pytest.param({"gpu": 0.5}, [(8, 2)], 4, id="two-to-a-gpu"),
        pytest.param({"gpu": 0.1}, [(16, 1)], 10, id="ten-to-a-gpu"),
        pytest.param({"gpu": 0.6}, [(8, 2)], 2, id="parts-of-two-gpus-make-no-whole"),
        pytest.param({"gpu": 2}, [(8, 5)], 2, id="whole-gpus"),
        pytest.param({"gpu": 1}, [(8, 0)], 0, id="no-gpu"),
        pytest.param({"num_workers": 2}, [(3, 0)], 1, id="a-gang-is-all-or-nothing"),
        pytest.param({"num_workers": 4}, [(3, 0)], 0, id="a-gang-of-more-than-there-is"),
        pytest.param({"num_workers": 2, "gpu": 0.5}, [(8, 1)], 1, id="both-on-one-gpu"),
        pytest.param({"num_workers": 2}, [(1, 0), (1, 0)], 1, id="packed-on-two-nodes"),
        pytest.param({"cpu": 2}, [(1, 0), (1, 0)], 0, id="a-worker-is-on-one-node"),
        pytest.param(
            {"num_workers": 2, "placement_strategy": "STRICT_PACK"}, [(3, 0), (3, 0)], 2,
            id="each-gang-on-one-node",
        ),
        pytest.param(
            {"num_workers": 2, "placement_strategy": "STRICT_SPREAD"}, [(4, 0)], 0,
            id="strictly-spread-over-one-node",
        ),
        pytest.param(
            {"num_workers": 2, "placement_strategy": "STRICT_SPREAD"}, [(9, 0), (2, 0), (1, 0)], 3,
            id="strictly-spread-over-what-there-is",
        ),
    ],
)  # fmt: skip
def test_trials_that_fit(fields: dict[str, Any], nodes: list[Node], trials: int) -> None:
    assert resources(**fields).trials_in(nodes) == trials


def test_a_trial_takes_what_its_workers_take() -> None:
    gang = resources(cpu=2, gpu=0.25, num_workers=3)

    assert (gang.total_cpu, gang.total_gpu) == (6, 0.75)
    assert gang.per_worker == {"CPU": 2, "GPU": 0.25}
    assert str(gang) == "num_workers 3 of cpu 2, gpu 0.25"


@examples(50)
@given(n_rows=st.integers(0, 200), size=st.integers(1, 9))
def test_shares_make_up_the_batch_and_differ_by_a_row_at_most(n_rows: int, size: int) -> None:
    batch = list(range(n_rows))

    shares = [batch[Workers(rank, size).share(n_rows)] for rank in range(size)]

    assert [row for share in shares for row in share] == batch
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
