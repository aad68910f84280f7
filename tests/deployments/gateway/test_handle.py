"""What Serve's handle raises, in the words of a transport."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import NodeDiedError, ObjectLostError, WorkerCrashedError
from ray.serve.exceptions import ReplicaUnavailableError

from deployments.gateway.pool import PooledTransport
from deployments.gateway.transport import HandleTransport, ReplicaGoneError
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Form
from tests.contracts.transport import batch

pytestmark = pytest.mark.ray


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(WorkerCrashedError(), id="worker"),
        pytest.param(NodeDiedError("the node died"), id="node"),  # type: ignore[no-untyped-call]
        pytest.param(ObjectLostError("00" * 28, None, ""), id="object"),
        pytest.param(ReplicaUnavailableError("replica-1"), id="replica"),
    ],
)
def test_what_is_lost_on_the_way_may_be_tried_again(error: Exception) -> None:
    async def fail(*_: Any) -> None:
        raise error

    handle: Any = SimpleNamespace(
        _predict=SimpleNamespace(remote=fail), _gateway="gateway-1", _application="churn--v1"
    )

    with pytest.raises(ReplicaGoneError):
        asyncio.run(HandleTransport.predict(handle, batch(1.0), 1, 1.0))


def test_replicas_that_are_gone_are_forgotten() -> None:
    """Else a version that is asked for months remembers every replica that its pool ever had."""
    links: list[Any] = []
    direct: Any = SimpleNamespace(ready=links, replicas=set[str]())
    replicas: Any = SimpleNamespace(direct=direct, handle=None, depths={})
    transport = PooledTransport(replicas, "churn--v1", ("churn", "1", "sklearn", 0))

    for n in range(5):
        direct.ready = [SimpleNamespace(replica=f"replica-{n}", in_flight=0)]
        direct.replicas = {f"replica-{n}"}
        link = transport._choose()
        assert link is not None
        transport._sent(link.replica, 1)
        transport._answered(link.replica, Prediction({}, Form.ARRAY, 0.0, 0.0))

    assert (transport._own, transport._warm) == ({}, {"replica-4"})
    assert replicas.depths == {}
