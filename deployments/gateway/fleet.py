"""What a gateway asks of the rest of its fleet, apart from predictions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.errors import (
    DeadlineExceededError,
    DependencyError,
    FleetError,
    ForbiddenError,
    ModelNotReadyError,
)
from deployments.gateway.inference import Inference
from deployments.telemetry import Counters, Snapshot
from deployments.traffic.table import RouteState, RoutingTable

SCRAPE_TIMEOUT_S = 2.0
"""Longest wait for the merged counters before a scrape gets this gateway's alone, seconds."""

LOAD_TIMEOUT_S = 300.0
"""Longest wait for a model to be loaded; clients give up earlier by themselves, seconds."""


POLL_S = 0.05
"""Between two looks at whether all gateways have a table, seconds."""


class Fleet(Protocol):
    """The fleet around one gateway."""

    async def snapshots(self) -> list[Snapshot]:
        """What all gateways have counted, or this one alone while nobody knows of the others."""
        ...

    async def load(self, model: str, settings: Mapping[str, Any] | None) -> None:
        """Host a registered model, and wait until it answers with these settings everywhere.

        Args:
            model: Its name.
            settings: How, in the config's words; None leaves what is hosted as it is.

        Raises:
            FleetError: It cannot be, or must not be.
        """
        ...

    async def unload(self, model: str) -> None:
        """Host a model no longer, and wait until it takes no more requests.

        Raises:
            FleetError: It cannot be, or must not be.
        """
        ...


class ControllerFleet:
    """The fleet as its controller knows it."""

    def __init__(
        self,
        controller: DeploymentHandle[Any],
        inference: Inference,
        counters: Counters,
        model_control_mode: str,
    ) -> None:
        self._controller = controller
        self._inference = inference
        self._counters = counters
        self._mode = model_control_mode

    async def snapshots(self) -> list[Snapshot]:
        """See `Fleet.snapshots`."""
        own = self._counters.snapshot()
        try:
            async with asyncio.timeout(SCRAPE_TIMEOUT_S):
                merged: list[Snapshot] = await self._controller.counters.remote(own)
        except (RayError, RayServeException, TimeoutError):
            # What other gateways last said may be older than what was shown of them
            # elsewhere, and a counter must not run backwards: only ours is certain.
            return [own]
        return merged

    async def load(self, model: str, settings: Mapping[str, Any] | None) -> None:
        """See `Fleet.load`."""
        async with self._limited(model):
            revision: int = await self._change("load", model, settings)
            await self._until(lambda table: table.revision >= revision and _is_loaded(table, model))

    async def unload(self, model: str) -> None:
        """See `Fleet.unload`."""
        async with self._limited(model):
            await self._change("unload", model)
            await self._until(lambda table: model not in table.models)

    @asynccontextmanager
    async def _limited(self, model: str) -> AsyncIterator[None]:
        """Wait no longer than `LOAD_TIMEOUT_S`, and say in our words what went wrong.

        Raises:
            FleetError: The controller's own, or it was too long or is away.
        """
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_S):
                yield
        except TimeoutError:
            raise DeadlineExceededError(model, LOAD_TIMEOUT_S) from None
        except RayTaskError as error:
            # An error from another process is both our class and a RayTaskError, whose text
            # is the remote traceback with host and pid.
            if isinstance(error.cause, FleetError):
                raise error.cause from None
            raise
        except (RayError, RayServeException) as error:
            raise DependencyError("controller", type(error).__name__) from None

    async def _change(self, method: str, *args: Any) -> Any:
        if self._mode != "explicit":
            raise ForbiddenError(
                "models are loaded and unloaded by the fleet's config alone;"
                " args.model_control_mode: explicit allows this"
            )
        return await getattr(self._controller, method).remote(*args)

    async def _until(self, holds: Callable[[RoutingTable], bool]) -> None:
        await self._inference.until(holds)
        revision = self._inference.table.revision
        # The next request may meet another gateway.
        while not await self._controller.is_applied.remote(revision):
            await asyncio.sleep(POLL_S)


def _is_loaded(table: RoutingTable, model: str) -> bool:
    """Whether a model is ready.

    Raises:
        ModelNotReadyError: It could not be loaded.
    """
    routes = table.models.get(model)
    if routes is None:
        return False
    stable = routes.stable
    if not routes.ready and stable is not None and stable.state is RouteState.UNAVAILABLE:
        raise ModelNotReadyError(model, stable.reason)
    return routes.ready
