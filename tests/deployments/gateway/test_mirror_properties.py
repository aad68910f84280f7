"""Whatever happens to copies, each is counted once and nothing of it stays behind."""

import asyncio
from collections.abc import Mapping

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import PredictionError
from deployments.gateway.mirror import Mirror
from deployments.gateway.transport import ReplicaGoneError
from deployments.protocols.tensors import Array, Batch
from tests.deployments.gateway.mirrors import Gateway, mirrored
from tests.fakes import sums

HALF_AN_HOUR_S = 1_800.0
BAD, DEADLY, WRONG, SHORT = 91.0, 92.0, 93.0, 94.0

REQUESTS = st.lists(
    st.tuples(
        st.sampled_from([1.0, 2.0, 3.0, BAD, DEADLY, WRONG, SHORT]),
        st.integers(1, 7),  # rows; four share a call
        st.sampled_from([0.0, 0.0, 0.001, 0.05, 1.0, 40.0]),  # until the next one, seconds
        st.booleans(),  # other params
    ),
    max_size=25,
)


def troubled(batch: Batch) -> Mapping[str, Array]:
    """A version that raises, dies, answers wrongly, or not row by row, as it is told."""
    first = set(batch.inputs["x"][:, 0].tolist())
    if BAD in first:
        raise PredictionError("churn", "2", "no")
    if DEADLY in first:
        raise ReplicaGoneError("gone")
    answers = sums(batch)["output-0"]
    if SHORT in first:
        return {"output-0": answers[:1]}
    return {"output-0": np.where(batch.inputs["x"][:, 0] == WRONG, 0.0, answers)}


@settings(max_examples=60, deadline=None)
@given(requests=REQUESTS, takes_s=st.sampled_from([0.0, 0.01, 3.0, 31.0]))
def test_every_copy_has_one_outcome(
    requests: list[tuple[float, int, float, bool]], takes_s: float
) -> None:
    async def ask(gateway: Gateway) -> None:
        for number, rows, pause_s, odd in requests:
            await gateway.ask(number, rows=rows, params={"odd": 1} if odd else {})
            await asyncio.sleep(pause_s)
        await asyncio.sleep(HALF_AN_HOUR_S)

    gateway = mirrored(ask, Gateway(troubled, takes_s=takes_s))

    found = gateway.outcomes()
    numbers = [number for number, *_ in requests]
    assert sum(found.values()) == len(requests)
    assert found.get("dropped", 0) == 0
    if takes_s <= 30:
        assert found.get("failed", 0) >= numbers.count(BAD)
        assert found.get("differed", 0) <= numbers.count(WRONG) + numbers.count(SHORT)
    else:
        assert set(found) <= {"failed"}
    (mirror,) = gateway.inference.queue("churn", gateway.routes[1]).onlookers
    assert isinstance(mirror, Mirror)
    assert mirror.held == (0, 0)
    assert gateway.shadow.most_running <= 1
