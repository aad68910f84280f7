"""The gateway's gRPC service behind a real server, and calls to it."""

import asyncio
import tempfile
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy as np

from deployments.gateway.grpc_methods import HEALTH, INFERENCE
from deployments.gateway.grpc_server import GrpcServer
from deployments.gateway.listeners import Address, Claim
from deployments.haproxy import free_port
from deployments.protocols import health_pb2
from deployments.protocols import open_inference_pb2 as pb
from deployments.schema import ExpressSpec
from tests.deployments.gateway.hosted import Fleet

Result = TypeVar("Result")

WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a call came to."""

    code: str
    details: str
    message: Any
    trailing: Mapping[str, Any]


async def open_grpc_port(fleet: Fleet, folder: Path, **spec: Any) -> tuple[GrpcServer, str]:
    """Start an express gRPC port; returns its server and address."""
    express = ExpressSpec(**{"grpc_port": free_port(), **spec})
    assert express.grpc_port is not None
    address = Address(express.host, express.grpc_port, "express.grpc_port")
    claim = Claim(address, "the tests", folder)
    server = GrpcServer(fleet.servicer, express, claim, fleet.app.max_body_bytes)
    await server.start()
    return server, f"{express.host}:{express.grpc_port}"


@asynccontextmanager
async def grpc_door(fleet: Fleet, **spec: Any) -> AsyncIterator["Client"]:
    """A fleet behind a real express gRPC port, and a client of it."""
    fleet.apply()
    with tempfile.TemporaryDirectory() as folder:
        server, address = await open_grpc_port(fleet, Path(folder), **spec)
        try:
            async with grpc.aio.insecure_channel(address) as channel:
                yield Client(channel)
        finally:
            await server.drain(1.0)


def on_grpc(fleet: Fleet, test: Callable[["Client"], Awaitable[Result]], **spec: Any) -> Result:
    """Run a test with a client of a fleet's express gRPC port."""

    async def run() -> Result:
        async with asyncio.timeout(WITHIN_S), grpc_door(fleet, **spec) as client:
            return await test(client)

    return asyncio.run(run())


async def until(condition: Callable[[], Any]) -> None:
    """Wait for what other tasks do; the test's own limit ends it."""
    while not condition():
        await asyncio.sleep(0.005)


class Client:
    """Calls methods by name, as generated clients do."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    async def call(
        self,
        method: str,
        request: Any,
        answer: Any,
        *,
        service: str = INFERENCE,
        metadata: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Reply:
        """Call a method with one answer."""
        body = request if isinstance(request, bytes) else request.SerializeToString()
        method_of: Any = self._channel.unary_unary(
            f"/{service}/{method}", response_deserializer=answer.FromString
        )
        call = method_of(body, metadata=tuple((metadata or {}).items()), **options)
        code = await call.code()
        message = await call if code is grpc.StatusCode.OK else None
        trailing = dict(await call.trailing_metadata())
        return Reply(code.name, await call.details(), message, trailing)

    async def infer(self, request: Any, **options: Any) -> Reply:
        """Call ModelInfer."""
        return await self.call("ModelInfer", request, pb.ModelInferResponse, **options)

    def begin(self, request: pb.ModelInferRequest) -> Any:
        """Call ModelInfer without waiting."""
        method: Any = self._channel.unary_unary(f"/{INFERENCE}/ModelInfer")
        return method(request.SerializeToString())

    def stream(self, requests: AsyncIterable[bytes], **options: Any) -> Any:
        """Call ModelStreamInfer."""
        method: Any = self._channel.stream_stream(
            f"/{INFERENCE}/ModelStreamInfer",
            response_deserializer=pb.ModelStreamInferResponse.FromString,
        )
        return method(requests, **options)

    async def check(self, service: str = "") -> Reply:
        """Call the health service."""
        return await self.call(
            "Check",
            health_pb2.HealthCheckRequest(service=service),
            health_pb2.HealthCheckResponse,
            service=HEALTH,
        )

    def watch(self, service: str = "") -> Any:
        """Watch the health service."""
        method: Any = self._channel.unary_stream(
            f"/{HEALTH}/Watch", response_deserializer=health_pb2.HealthCheckResponse.FromString
        )
        return method(health_pb2.HealthCheckRequest(service=service).SerializeToString())


def raw_request(*rows: tuple[float, float], **fields: Any) -> pb.ModelInferRequest:
    """Rows of two numbers for the model `churn`, packed."""
    message = pb.ModelInferRequest(**{"model_name": "churn", **fields})
    message.inputs.add(name="x", datatype="FP64", shape=[len(rows), 2])
    message.raw_input_contents.append(np.array(rows, "<f8").tobytes())
    return message


def typed_request(*rows: tuple[float, float], **fields: Any) -> pb.ModelInferRequest:
    """The same with typed contents."""
    message = pb.ModelInferRequest(**{"model_name": "churn", **fields})
    tensor = message.inputs.add(name="x", datatype="FP64", shape=[len(rows), 2])
    tensor.contents.fp64_contents.extend(number for row in rows for number in row)
    return message
