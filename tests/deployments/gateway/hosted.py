"""The gateway's application on a table of its own, and requests to it."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from ray.serve._private.http_util import (
    configure_http_options_with_defaults,
    start_asgi_http_server,
)
from ray.serve.config import HTTPOptions

from deployments.errors import FleetError
from deployments.gateway.app import GatewayApp
from deployments.gateway.express import HEALTH, ExpressServer
from deployments.gateway.grpc_service import InferenceServicer
from deployments.gateway.http import Answer, send_answer
from deployments.gateway.inference import Inference
from deployments.gateway.listeners import Address, Claim
from deployments.gateway.past_serve import ServeDoor
from deployments.gateway.serve_door import READ_TIMEOUT_S, Heir, middlewares
from deployments.haproxy import free_port
from deployments.schema import ExpressSpec
from deployments.telemetry import REQUESTS, Counters, Snapshot
from deployments.traffic.table import RouteState, RoutingTable, Track
from tests.fakes import FakeTransport, make_route, make_table, sums

MAX_BODY = 4096
ROW = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2.0]}]}
INFER = "/v2/models/churn/infer"
INVOKE = "/models/churn/invocations"
JSON = {"content-type": "application/json"}
READY = make_table(churn=(make_route(),))
SPLIT = make_table(
    churn=(make_route(version="2", weight=30, track=Track.CANARY), make_route(weight=70))
)
LOADING = make_route(weight=0, state=RouteState.LOADING, reason="its first replica is starting")


@asynccontextmanager
async def plain_door(app: GatewayApp) -> AsyncIterator[httpx.AsyncClient]:
    """The application as Serve calls it, without a network."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://fleet") as client:
        yield client


@asynccontextmanager
async def express_door(
    app: GatewayApp, folder: Path | None = None, **spec: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """The application behind a real express port."""
    with tempfile.TemporaryDirectory() as made:
        server, url = await open_express(app, folder or Path(made), **spec)
        try:
            async with httpx.AsyncClient(base_url=url) as client:
                yield client
        finally:
            await server.drain(5.0)


@asynccontextmanager
async def serve_port(
    app: GatewayApp, read_timeout_s: float = READ_TIMEOUT_S, **options: Any
) -> AsyncIterator["ServePort"]:
    """The application behind Serve's own server, whose connections its gateway takes over."""
    port = ServePort(app)
    asked_for = HTTPOptions(host="127.0.0.1", port=free_port(), **options)
    listening = configure_http_options_with_defaults(asked_for)
    listening.middlewares.extend(middlewares())
    loop = asyncio.get_running_loop()
    serving, server = await start_asgi_http_server(port, listening, event_loop=loop)
    port.url, port.server, port.serving = f"http://127.0.0.1:{listening.port}", server, serving
    Heir.told = ServeDoor(app, read_timeout_s).take_over
    try:
        while not server.started:
            await asyncio.sleep(0.001)
        yield port
    finally:
        Heir.told = None
        # Its own way out looks ten times a second whether it should end.
        for listening_server in server.servers:
            listening_server.close()
        serving.cancel()
        await asyncio.wait([serving])


class ServePort:
    """Serve's side of its port: it answers itself whether it is healthy."""

    url: str
    server: uvicorn.Server
    serving: "asyncio.Task[None]"

    def __init__(self, app: GatewayApp) -> None:
        self._app = app
        self.asked: list[str] = []
        """Paths of the requests that came by here."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        if scope["path"] == HEALTH:
            await send_answer(send, Answer(200, b"success"))
        else:
            await self._app(scope, receive, send)


@asynccontextmanager
async def taken_door(app: GatewayApp) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a connection to Serve's port that its gateway has taken over."""
    one = httpx.Limits(max_connections=1)
    async with (
        serve_port(app) as port,
        httpx.AsyncClient(base_url=port.url, limits=one) as client,
    ):
        await client.get(HEALTH)
        yield client


async def open_express(
    app: GatewayApp, folder: Path, name: str = "gateway-1", **spec: Any
) -> tuple[ExpressServer, str]:
    """Start an express port; returns its server and address."""
    express = ExpressSpec(**{"port": free_port(), **spec})
    claim = Claim(Address(express.host, express.port), "the tests", folder)
    server = ExpressServer(app, express, claim, name)
    await server.start()
    return server, f"http://{express.host}:{express.port}"


DOOR: ContextVar[Callable[[GatewayApp], AbstractAsyncContextManager[httpx.AsyncClient]]] = (
    ContextVar("DOOR", default=plain_door)
)
"""Where requests of the tests go in."""


class Surroundings:
    """The fleet around a gateway: it records what is asked of it, and refuses if told to."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: FleetError | None = None

    async def snapshots(self) -> list[Snapshot]:
        return [self._counters.snapshot()]

    async def load(self, model: str, settings: Mapping[str, Any] | None) -> None:
        self._ask("load", model, settings)

    async def unload(self, model: str) -> None:
        self._ask("unload", model)

    def _ask(self, *what: Any) -> None:
        self.asked.append(what)
        if self.refusal is not None:
            raise self.refusal


class Fleet:
    """A gateway, what it counts and what reaches its replicas."""

    def __init__(
        self, table: RoutingTable = READY, predict: Any = sums, traces: Any = None, **others: Any
    ) -> None:
        """Begin.

        Args:
            table: To put in force.
            predict: What all versions answer.
            traces: Makes spans.
            others: What some answer instead, by version: `v2=...`.
        """
        self.counters = Counters("gateway-1")
        self.transport = FakeTransport(predict)
        self.others = {name: FakeTransport(other) for name, other in others.items()}
        inference = Inference(
            lambda application: self.others.get(application.rpartition("--")[2], self.transport),
            self.counters,
            traces=traces,
        )
        self.surroundings = Surroundings(self.counters)
        self.app = GatewayApp(inference, self.counters, self.surroundings, MAX_BODY)
        self.servicer = InferenceServicer(inference, self.counters, self.surroundings, MAX_BODY)
        self._inference = inference
        self._table = table

    def apply(self, table: RoutingTable | None = None) -> None:
        """Put the table in force, or another one; needs a running loop."""
        self._table = table or self._table
        if self._inference.table is not self._table:
            self._inference.apply(self._table)

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        self.apply()
        async with DOOR.get()(self.app) as client:
            return await client.request(method, path, **options)

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self.ask(method, path, **options))

    @property
    def inference(self) -> Inference:
        """Its table and queues."""
        return self._inference

    def counted(self, family: Any = REQUESTS) -> dict[tuple[str, ...], float]:
        rows = self.counters.snapshot().families[family.name]
        return {row.labels: sum(row.counts) for row in rows}


def post(fleet: Fleet, path: str, body: Any = None, **options: Any) -> httpx.Response:
    """Send JSON, or bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body if body is not None else ROW)
    headers = {**JSON, **options.pop("headers", {})}
    return fleet("POST", path, content=content, headers=headers, **options)
