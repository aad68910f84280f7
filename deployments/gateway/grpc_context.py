"""The context of a call as gRPC and Serve both give it, and how an error leaves through it.

Serve 2.60 takes a status from the context, so that an error need not be raised, which would be
logged as a fault of ours.
"""

import logging
from collections.abc import Awaitable, Iterable
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from deployments.errors import FleetError
from deployments.protocols import open_inference_pb2 as pb
from deployments.protocols.statuses import grpc_details, grpc_name, headers

logger = logging.getLogger(__name__)

NOTHING = pb.ModelStreamInferResponse()
"""What is returned beside an error; gRPC does not send it."""


class RpcContext(Protocol):
    """What gRPC's and Serve's contexts have in common."""

    def invocation_metadata(self) -> Iterable[tuple[str, Any]]:
        """What the client sent beside the message."""
        ...

    def set_code(self, code: grpc.StatusCode) -> None:
        """Answer with this status."""
        ...

    def set_details(self, details: str) -> None:
        """Answer with this message beside the status."""
        ...

    def set_trailing_metadata(self, trailing_metadata: list[tuple[str, str]]) -> None:
        """Send this after the answer."""
        ...


async def told(context: RpcContext, telling: Awaitable[Message]) -> Message:
    """Answer with what is told, or with the error that came instead."""
    try:
        return await telling
    except FleetError as error:
        return fail(context, error)
    except Exception:  # the boundary: a fault of ours tells nobody our insides
        logger.exception("a call without tensors failed")
        return fail(context, internal_error())


def fail(
    context: RpcContext, error: FleetError, trailing: Iterable[tuple[str, str]] = ()
) -> Message:
    """Answer with an error.

    Args:
        context: The call's.
        error: What the caller reads.
        trailing: Metadata to send beside the error's own.
    """
    context.set_code(grpc.StatusCode[grpc_name(error)])
    context.set_details(grpc_details(error))
    own = [(name.lower(), text) for name, text in headers(error)]
    context.set_trailing_metadata([*trailing, *own])
    return NOTHING


def internal_error() -> FleetError:
    """What a caller reads of a fault of ours."""
    return FleetError("internal error, see the gateway's log")
