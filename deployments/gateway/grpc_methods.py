"""The gRPC services' methods, and how a server learns of them.

Without the messages themselves: Serve 2.60 has every application's first replicas know of the
methods, a model's too, and a model that is itself a client of Triton brings messages of the same
names along, which one process cannot hold twice. So bodies pass as bytes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import grpc

INFERENCE = "inference.GRPCInferenceService"
HEALTH = "grpc.health.v1.Health"

UNARY = grpc.unary_unary_rpc_method_handler
STREAMING = grpc.unary_stream_rpc_method_handler
BIDIRECTIONAL = grpc.stream_stream_rpc_method_handler

SERVICES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    INFERENCE: {
        "ServerLive": UNARY,
        "ServerReady": UNARY,
        "ModelReady": UNARY,
        "ServerMetadata": UNARY,
        "ModelMetadata": UNARY,
        "ModelInfer": UNARY,
        "ModelStreamInfer": BIDIRECTIONAL,
        "ModelConfig": UNARY,
        "ModelStatistics": UNARY,
        "RepositoryIndex": UNARY,
        "RepositoryModelLoad": UNARY,
        "RepositoryModelUnload": UNARY,
    },
    HEALTH: {"Check": UNARY, "Watch": STREAMING},
}
"""Methods by service, and the kind of each."""


def add_to_server(servicer: Any, server: Any) -> None:
    """Have a server answer both services.

    A config names this function in `grpc_options.grpc_servicer_functions`.

    Args:
        servicer: Has a method for each of `SERVICES`.
        server: gRPC's, or Serve's, which replaces the methods by calls to a replica.
    """
    for service, methods in SERVICES.items():
        handlers = {
            name: kind(getattr(servicer, name), None, _serialize) for name, kind in methods.items()
        }
        generic = grpc.method_handlers_generic_handler(service, handlers)
        server.add_generic_rpc_handlers((generic,))


def _serialize(message: Any) -> bytes:
    body: bytes = message.SerializeToString()
    return body
