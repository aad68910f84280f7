"""A predictor as Serve runs it: with a door of its own, which the controller hears of."""

import asyncio
import logging
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from deployments.garbage import spare_what_stays
from deployments.node import node_folder
from deployments.predictor.direct import DirectDoor
from deployments.predictor.prediction import Prediction
from deployments.predictor.predictor import Predictor
from deployments.predictor.runtimes.nvidia import hide_gpus
from deployments.predictor.runtimes.runtime import RuntimeOptions
from deployments.protocols.tensors import Batch
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


class ServedPredictor:
    """One replica of one version. `controller.applications` turns it into a deployment."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        *,
        model: str,
        version: str,
        runtime: str,
        tracking_uri: str,
        registry_uri: str,
        fleet: str,
        deadline_s: float,
        options: RuntimeOptions,
    ) -> None:
        """Load the version and open the door.

        Args:
            model: See `Predictor`, as the next four.
            version: As above.
            runtime: As above.
            tracking_uri: As above.
            registry_uri: As above.
            fleet: Application of the controller.
            deadline_s: How long a request may take, and so this replica to leave, seconds.
            options: See `Predictor`.
        """
        if not options.claim.num_gpus:
            hide_gpus()
        self._predictor = Predictor(
            model, version, runtime, tracking_uri, registry_uri, options=options
        )
        spare_what_stays()
        self._deadline_s = deadline_s
        self._door = DirectDoor(self._predictor.predict, model, version)
        self._controller = serve.get_deployment_handle(CONTROLLER, fleet, _check_exists=False)
        context = serve.get_replica_context()
        self._application = context.app_name
        self._announcing: asyncio.Task[None] | None = None
        process = ray.get_runtime_context()
        try:
            endpoint = await self._door.open(
                context.replica_id.unique_id,
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

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        """See `Predictor.predict`; this is what Serve's handle calls."""
        return await self._predictor.predict(batch, gateway, depth)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """See `Predictor.record_autoscaling_stats`."""
        return self._predictor.record_autoscaling_stats()

    async def __del__(self) -> None:
        """Serve awaits it once its own calls are answered."""
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
                await asyncio.wait_for(announcing, ANNOUNCE_TIMEOUT_S)
            except (RayError, RayServeException, TimeoutError) as error:
                logger.debug("the controller cannot be reached: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                await asyncio.sleep(HEARTBEAT_S)

    async def _ask(self, method: str, *args: Any) -> None:
        await getattr(self._controller, method).remote(*args)
