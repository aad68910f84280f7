"""The methods of the Open Inference Protocol's gRPC service that carry no tensors."""

from typing import Any

from google.protobuf.message import Message

from deployments.errors import ModelNotReadyError
from deployments.gateway.fleet import Fleet
from deployments.gateway.grpc_context import RpcContext, told
from deployments.gateway.inference import Inference
from deployments.gateway.pages import (
    config_page,
    hosted_versions,
    metadata_page,
    ready_page,
    repository_page,
)
from deployments.gateway.repository import load_settings
from deployments.gateway.statistics import statistics
from deployments.protocols import open_inference_pb2 as pb
from deployments.protocols.open_inference_grpc import from_json, parameter_values, parse
from deployments.protocols.open_inference_pages import server_metadata


class PageServicer:
    """Answers about the server and its models, and has the fleet load and unload them."""

    def __init__(self, inference: Inference, fleet: Fleet) -> None:
        self._inference = inference
        self._fleet = fleet

    async def ServerLive(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Answer that the gateway runs."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Answer whether the fleet is ready."""
        return pb.ServerReadyResponse(ready=self._inference.table.settled)

    async def ModelReady(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Answer whether a model can predict."""

        async def tell() -> Message:
            asked = parse(pb.ModelReadyRequest, request)
            try:
                ready_page(self._inference, asked.name, asked.version or None)
            except ModelNotReadyError:
                return pb.ModelReadyResponse(ready=False)
            return pb.ModelReadyResponse(ready=True)

        return await told(grpc_context, tell())

    async def ServerMetadata(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Answer who this server is."""
        return _message(server_metadata(), pb.ServerMetadataResponse)

    async def ModelMetadata(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Describe a model's inputs and outputs."""

        async def tell() -> Message:
            asked = parse(pb.ModelMetadataRequest, request)
            page = metadata_page(self._inference, asked.name, asked.version or None)
            return _message(page, pb.ModelMetadataResponse)

        return await told(grpc_context, tell())

    async def ModelConfig(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Describe a model as Triton's configs do."""

        async def tell() -> Message:
            asked = parse(pb.ModelConfigRequest, request)
            page = config_page(self._inference, asked.name, asked.version or None)
            return _message(b'{"config": %b}' % page, pb.ModelConfigResponse)

        return await told(grpc_context, tell())

    async def ModelStatistics(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Tell how versions have been used."""

        async def tell() -> Message:
            asked = parse(pb.ModelStatisticsRequest, request)
            versions = hosted_versions(self._inference, asked.name or None, asked.version or None)
            page = statistics(await self._fleet.snapshots(), versions)
            return _message(page, pb.ModelStatisticsResponse)

        return await told(grpc_context, tell())

    async def RepositoryIndex(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """List the hosted versions and their states."""

        async def tell() -> Message:
            asked = parse(pb.RepositoryIndexRequest, request)
            page = repository_page(self._inference, only_ready=asked.ready)
            return _message(b'{"models": %b}' % page, pb.RepositoryIndexResponse)

        return await told(grpc_context, tell())

    async def RepositoryModelLoad(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Host a registered model, and answer once it is ready."""

        async def load() -> Message:
            asked = parse(pb.RepositoryModelLoadRequest, request)
            settings = load_settings(parameter_values(asked.parameters))
            await self._fleet.load(asked.model_name, settings)
            return pb.RepositoryModelLoadResponse()

        return await told(grpc_context, load())

    async def RepositoryModelUnload(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Host a model no longer, and answer once it takes no more requests."""

        async def unload() -> Message:
            asked = parse(pb.RepositoryModelUnloadRequest, request)
            await self._fleet.unload(asked.model_name)
            return pb.RepositoryModelUnloadResponse()

        return await told(grpc_context, unload())


def _message(page: bytes, kind: Any) -> Message:
    message: Message = from_json(page, kind)
    return message
