"""The Serve shell around the ASGI application: it follows the controller's table.

With the controller, the registry and the store all gone, it goes on with the last table;
a gateway that starts in such a time takes the one on its node, else the store's.
"""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.errors import ConfigError
from deployments.gateway.app import GatewayApp
from deployments.gateway.budget import ByteBudget
from deployments.gateway.direct import DirectTransport
from deployments.gateway.express import ExpressServer
from deployments.gateway.fleet import ControllerFleet
from deployments.gateway.grpc_server import GrpcServer, open_grpc
from deployments.gateway.grpc_service import InferenceServicer
from deployments.gateway.inference import Inference
from deployments.gateway.inline import InlineTransport
from deployments.gateway.listeners import Address, Claim
from deployments.gateway.past_serve import open_serve_door
from deployments.gateway.pool import PoolableTransport, PoolReplicas, Pools
from deployments.gateway.request_log import make_request_log
from deployments.gateway.serve_door import READ_TIMEOUT_S
from deployments.gateway.transport import HandleTransport
from deployments.interpreter import ignore_warnings, loading, spare_what_stays, take_short_turns
from deployments.logs import log_as_serve_does
from deployments.node import node_folder
from deployments.predictor.predictor import Predictor
from deployments.predictor.runtimes.nvidia import hide_gpus
from deployments.schema import ExpressSpec, parse_application_name
from deployments.settings import Settings
from deployments.store.store import FleetStore
from deployments.telemetry import Counters
from deployments.traffic.feedback import Remembered
from deployments.traffic.table import Route, RoutingTable, decode_table

if TYPE_CHECKING:
    from deployments.gateway.traces import RequestTraces

logger = logging.getLogger(__name__)

RETRY_S = 0.5
"""Wait before an absent controller is asked again, seconds."""

POLL_TIMEOUT_S = 5.0
"""A poll is held for a second; one that takes this long has no controller behind it."""


class Gateway(InferenceServicer):
    """One replica of the ingress. `deployments.fleet` turns it into a deployment.

    Serve's gRPC door calls the methods that it inherits.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: Settings, controller: DeploymentHandle[Any]
    ) -> None:
        log_as_serve_does()
        take_short_turns()
        self._id = serve.get_replica_context().replica_id.unique_id
        self._controller = controller
        self._express: ExpressServer | None = None
        self._grpc: GrpcServer | None = None
        self._settings = settings
        self._counters = Counters(self._id)
        node = ray.get_runtime_context().get_node_id()

        def connect(application: str) -> PoolReplicas:
            handle = HandleTransport(application, self._id)
            return PoolReplicas(DirectTransport(self._id, node, handle), handle)

        def make_transport(application: str) -> InlineTransport:
            handle = HandleTransport(application, self._id)
            return InlineTransport(self._id, DirectTransport(self._id, node, handle), self._load)

        self._traces = self._open_traces()
        self._pools = Pools(connect)
        self._inference = Inference(
            lambda application: PoolableTransport(lambda: make_transport(application), self._pools),
            self._counters,
            traces=self._traces,
        )
        fleet = ControllerFleet(
            controller, self._inference, self._counters, settings.model_control_mode
        )
        lines = make_request_log(settings.logs.requests)
        most = settings.max_body_bytes
        budget = ByteBudget(most)
        super().__init__(self._inference, self._counters, fleet, most, lines=lines, budget=budget)
        express = settings.express
        read_timeout_s = express.read_timeout_s if express is not None else READ_TIMEOUT_S
        self._app = GatewayApp(
            self._inference,
            self._counters,
            fleet,
            most,
            read_timeout_s=read_timeout_s,
            lines=lines,
            budget=budget,
        )
        cluster = ray.get_runtime_context().get_session_name()
        self._kept = Path(settings.tables_folder) / f"{cluster}.json"
        self._store = FleetStore(settings.store_url, cluster)
        self._settled = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._following = loop.create_task(self._follow())
        self._shipping = loop.create_task(self._inference.memory.keep_shipping(self._ship))
        # KubeRay moves traffic here once the application is RUNNING, so it must not be
        # before the models are.
        await self._settled.wait()
        self._express = await self._open_express(settings.express, cluster)
        self._grpc = await open_grpc(self, settings, cluster)
        await open_serve_door(self._app, read_timeout_s)
        spare_what_stays()

    def __serve_build_asgi_app__(self) -> GatewayApp:
        """Hand Serve the application."""
        return self._app

    def check_health(self) -> None:
        """Serve replaces a gateway that no longer follows the table."""
        if self._following.done():
            raise RuntimeError("the gateway no longer follows the routing table")
        if self._express is not None:
            self._express.check()
        if self._grpc is not None:
            self._grpc.check()

    async def __del__(self) -> None:
        """Serve awaits it once its own door has drained."""
        doors = [door for door in (self._express, self._grpc) if door is not None]
        deadline_s = max(self._settings.request_deadline_s, self._inference.longest_deadline_s)
        await asyncio.gather(*[door.drain(deadline_s) for door in doors])
        self._shipping.cancel()
        await self._inference.memory.ship(self._ship)
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)

    def _load(self, route: Route) -> Predictor:
        """A copy of a version for this process."""
        hide_gpus()
        model, version = parse_application_name(route.application) or ("", route.version)
        uris = self._settings.tracking_uri, self._settings.registry_uri
        with loading():
            predictor = Predictor(model, version, route.runtime, *uris)
        ignore_warnings()
        if self._traces is not None:
            predictor.trace(self._traces.of_copies)
        return predictor

    def _open_traces(self) -> "RequestTraces | None":
        """What makes spans, if that is wanted.

        Raises:
            ConfigError: One of OpenTelemetry's variables means nothing to us.
        """
        if self._settings.traces is None:
            return None
        from deployments.gateway.traces import open_traces  # noqa: PLC0415, OpenTelemetry's part

        return open_traces(self._settings.traces, self._id, self._counters)

    async def _open_express(self, spec: ExpressSpec | None, fleet: str) -> ExpressServer | None:
        """Listen on the express port, if there is one.

        Raises:
            ConfigError: The port is another fleet's, or cannot be bound.
        """
        if spec is None:
            return None
        try:
            folder = node_folder()
            claim = await asyncio.to_thread(Claim, Address(spec.host, spec.port), fleet, folder)
            express = ExpressServer(self._app, spec, claim, self._id)
            await express.start()
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"express.port: {spec.port} on {spec.host}: {reason}") from None
        return express

    async def _follow(self) -> None:
        away = False
        while True:
            try:
                update = await asyncio.wait_for(self._poll(), POLL_TIMEOUT_S)
            except (RayError, RayServeException, TimeoutError) as error:
                self._inference.mirroring.unheard()
                if not away:
                    logger.warning("controller cannot be reached, keeping the table: %s", error)
                    away = True
                if not self._settled.is_set():
                    await self._start_without_controller()
                await asyncio.sleep(RETRY_S)
                continue
            if away:
                logger.info("controller is back")
                away = False
            if update is not None:
                revision, body = update
                self._put_in_force(decode_table(body))
                await asyncio.to_thread(self._keep, body)
                logger.info("applied routing table %d", revision)

    async def _poll(self) -> tuple[int, bytes] | None:
        reports = self._inference.mirroring.reports()
        answer: tuple[int, bytes] | None = await self._controller.poll.remote(
            self._id, self._inference.table.revision, self._counters.snapshot(), reports
        )
        self._inference.mirroring.heard(reports)
        return answer

    async def _ship(self, answers: list[Remembered]) -> bool:
        try:
            taken = await asyncio.wait_for(
                self._controller.remember.remote(answers), POLL_TIMEOUT_S
            )
        except (RayError, RayServeException, TimeoutError):
            return False
        return bool(taken)

    def _put_in_force(self, table: RoutingTable) -> None:
        self._pools.update(table.pools)
        self._inference.apply(table)
        if table.settled:
            self._settled.set()

    async def _start_without_controller(self) -> None:
        for source in (self._kept.read_bytes, self._store.load_table):
            try:
                body = await asyncio.to_thread(source)
                table = decode_table(body) if body is not None else None
            except Exception as error:  # noqa: BLE001, any driver's error: try the next source
                logger.info("no routing table from %s: %s", source, error)
                continue
            if table is not None:
                self._put_in_force(table)
                return

    def _keep(self, body: bytes) -> None:
        """Leave the table on this node, whole or not at all."""
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            draft = self._kept.with_name(f"{self._kept.name}.{self._id}")
            draft.touch(mode=0o600)  # the keys of the replicas' doors stand in it
            draft.write_bytes(body)
            draft.replace(self._kept)
        except OSError as error:
            logger.warning("cannot keep the routing table at %s: %s", self._kept, error)
