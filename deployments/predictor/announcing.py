"""A replica's door and the announcements by which the gateways come to know of it."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from deployments.node import node_folder
from deployments.predictor.direct import DirectDoor
from deployments.traffic.table import Endpoint

logger = logging.getLogger(__name__)

CONTROLLER = "Controller"
"""Deployment in the fleet's application that keeps the routing table."""

HEARTBEAT_S = 5.0
"""Between two announcements: a controller forgets a replica that is silent for long."""

RETRY_S = 0.5
ANNOUNCE_TIMEOUT_S = 5.0

LEAVE_TIMEOUT_S = 2.0
"""Longest wait for the controller when leaving; the gateways are told directly, seconds."""


class AnnouncedDoor:
    """Where this process, a replica of Serve's, takes batches without it."""

    def __init__(
        self,
        door: DirectDoor,
        fleet: str,
        deadline_s: float,
        hear: Callable[[frozenset[str] | None], None] | None = None,
    ) -> None:
        """Begin closed.

        Args:
            door: What listens.
            fleet: Application of the controller.
            deadline_s: How long a request may take, and so this replica to leave, seconds.
            hear: Takes what the controller answers to each announcement.
        """
        self._door = door
        self._deadline_s = deadline_s
        self._hear = hear
        self._controller = serve.get_deployment_handle(CONTROLLER, fleet, _check_exists=False)
        self._application = serve.get_replica_context().app_name
        self._announcing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen, and have the controller know; without a door, Serve's handle remains."""
        process = ray.get_runtime_context()
        try:
            endpoint = await self._door.open(
                serve.get_replica_context().replica_id.unique_id,
                process.get_node_id(),
                ray.util.get_node_ip_address(),  # type: ignore[no-untyped-call]
                node_folder(),
                process.get_actor_id() or "",
            )
        except OSError as error:
            logger.warning("no direct door, Serve's handle remains: %s", error)
            return
        self._endpoint = endpoint
        self._announcing = asyncio.get_running_loop().create_task(self._announce(endpoint))

    async def leave(self) -> None:
        """Take no more batches, and answer those under way."""
        if self._announcing is None:
            return
        self._announcing.cancel()
        retracting = self._ask("retract", self._application, self._endpoint.replica)
        await asyncio.gather(
            asyncio.wait_for(retracting, LEAVE_TIMEOUT_S),
            self._door.drain(self._deadline_s),
            return_exceptions=True,
        )

    async def _announce(self, endpoint: Endpoint) -> None:
        while True:
            try:
                announcing = self._ask("announce", self._application, endpoint)
                answer = await asyncio.wait_for(announcing, ANNOUNCE_TIMEOUT_S)
            except (RayError, RayServeException, TimeoutError) as error:
                logger.debug("the controller cannot be reached: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                if self._hear is not None:
                    self._hear(answer)
                await asyncio.sleep(HEARTBEAT_S)

    async def _ask(self, method: str, *args: Any) -> Any:
        return await getattr(self._controller, method).remote(*args)
