"""The transports' contract over Serve's own handle, from a process of the cluster's environment.

`test_handle.py` runs it there: what HAProxy mode changes about handles, Serve 2.60 reads from the
environment when it is imported.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import ray
from ray import serve

from deployments.controller.applications import ONGOING_BATCHES
from deployments.gateway.transport import HandleTransport, Transport
from deployments.predictor.predictor import DEPLOYMENT
from tests.contracts import transport as contract
from tests.contracts.transport import Model, ReplicaTransportContract

pytestmark = pytest.mark.ray

APPLICATION = "contract"
"""Not a version's name, which the fleet's controller would take for a leftover."""


@pytest.fixture(autouse=True, scope="module")
def _application() -> Iterator[None]:
    """Two replicas of the contract's model."""
    # The cluster's processes do not find the tests' modules.
    ray.cloudpickle.register_pickle_by_value(contract)  # type: ignore[no-untyped-call]
    ray.init(log_to_driver=False)
    decorate = serve.deployment(
        name=DEPLOYMENT,
        num_replicas=2,
        max_ongoing_requests=ONGOING_BATCHES,
        graceful_shutdown_timeout_s=1.0,
        ray_actor_options={"num_cpus": 0},
    )
    serve.run(decorate(Model).bind(partial(os._exit, 1)), name=APPLICATION, route_prefix=None)
    yield
    serve.delete(APPLICATION, _blocking=False)
    ray.shutdown()


class TestServesHandle(ReplicaTransportContract):
    runner = asyncio.Runner()

    def transport(self) -> AbstractAsyncContextManager[Transport]:
        return self._by_handle()

    def execute(self, whole: Coroutine[Any, Any, None]) -> None:
        # In HAProxy mode handles live on the loop of those who ask; Serve knows of one only.
        self.runner.run(whole)

    @asynccontextmanager
    async def _by_handle(self) -> AsyncIterator[Transport]:
        yield HandleTransport(APPLICATION, "gateway-1")
