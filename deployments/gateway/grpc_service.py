"""The Open Inference Protocol's gRPC service, and gRPC's health service.

The methods bear their names on the wire, since Ray Serve 2.60 calls a deployment's methods by
these; it passes the context as `grpc_context`. The gateway's own server (`grpc_server`) calls
the same methods.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import Message

from deployments.errors import (
    DeadlineExceededError,
    FleetError,
    NotFoundError,
    RequestTooLargeError,
)
from deployments.gateway.budget import SMALL_BYTES, ByteBudget, Hold
from deployments.gateway.calls import (
    MODEL_VERSION,
    REQUEST_ID,
    REQUEST_TIMEOUT,
    ROUTING_KEY,
    Call,
    Calls,
    Lines,
    Protocol,
    timeout_s,
)
from deployments.gateway.fleet import Fleet
from deployments.gateway.grpc_context import RpcContext, fail, internal_error, told
from deployments.gateway.grpc_methods import SERVICES
from deployments.gateway.grpc_pages import PageServicer
from deployments.gateway.grpc_stream import AnswerStream
from deployments.gateway.inference import Inference
from deployments.gateway.weighing import LARGE_BYTES, LARGE_ELEMENTS_BYTES, writes_slowly
from deployments.protocols import health_pb2, open_inference_grpc
from deployments.protocols import open_inference_pb2 as pb
from deployments.protocols.statuses import GRPC_OK, grpc_details, grpc_name
from deployments.telemetry import Counters

logger = logging.getLogger(__name__)

STREAM_LIMIT = 128
"""Requests of one stream that are read and not answered; gRPC holds the client back then."""

HEALTH_POLL_S = 0.5
"""Between two looks at whether the health that somebody watches has changed, seconds."""

DEADLINE_SLACK_S = 0.05
"""A client gives up this much before its deadline at most, by our clock, seconds."""


METHOD = "inference.GRPCInferenceService/ModelInfer"
"""What a traced call asks for; a stream's requests are calls of their own."""


class RpcCall(Call, kw_only=True):
    """A call that gRPC carries."""

    metadata: Mapping[str, str]

    remaining_s: float
    """Until the client's deadline, seconds; infinite where there is none, or none is known."""

    own_id: str = ""
    """The message's."""

    def header(self, name: bytes) -> str | None:
        """See `Call.header`."""
        return self.metadata.get(name.decode())

    def described(self) -> tuple[str, dict[str, str]]:
        """See `Call.described`."""
        return METHOD, {"rpc.system.name": "grpc", "rpc.method": METHOD}


class InferenceServicer(PageServicer):
    """Answers the methods of `SERVICES`. One event loop owns it."""

    def __init__(
        self,
        inference: Inference,
        counters: Counters,
        fleet: Fleet,
        max_body_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
        *,
        lines: Lines | None = None,
        budget: ByteBudget | None = None,
    ) -> None:
        super().__init__(inference, fleet)
        self._calls = Calls(inference, counters, clock)
        self._calls.lines = lines
        self._max_body_bytes = max_body_bytes
        self._budget = budget or ByteBudget(max_body_bytes)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Say that this gateway is going, and end the streams once they are answered."""
        self._leaving.set()

    async def ModelInfer(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Predict."""
        metadata = _texts(grpc_context)
        call = self._call(metadata, grpc_context)
        call.request_id = metadata.get(REQUEST_ID.decode()) or secrets.token_hex(16)
        answer = await self._answer(call, request)
        trailing = [(REQUEST_ID.decode(), call.request_id)]
        if call.version:
            trailing.append((MODEL_VERSION.decode(), call.version))
        if isinstance(answer, FleetError):
            return fail(grpc_context, answer, trailing)
        grpc_context.set_trailing_metadata(trailing)
        return answer

    async def ModelStreamInfer(  # noqa: N802
        self, request: AsyncIterable[bytes], grpc_context: RpcContext
    ) -> AsyncIterator[Message]:
        """Predict for each request of a stream; an error is the answer to one of them."""
        metadata = _texts(grpc_context)

        async def answer(body: bytes) -> Message:
            call = self._call(metadata, grpc_context)
            answered = await self._answer(call, body)
            if isinstance(answered, FleetError):
                named = pb.ModelInferResponse(
                    model_name=call.model, model_version=call.version, id=call.own_id
                )
                return pb.ModelStreamInferResponse(
                    error_message=grpc_details(answered), infer_response=named
                )
            return pb.ModelStreamInferResponse(infer_response=answered)

        answers = AnswerStream(
            request, answer, self._leaving, STREAM_LIMIT, self._max_body_bytes, len
        )
        async with aclosing(aiter(answers)) as closing:
            async for each in closing:
                yield each
        if answers.cut_short:
            grpc_context.set_code(grpc.StatusCode.UNAVAILABLE)
            grpc_context.set_details("this gateway is leaving, open the stream again")

    async def Check(self, request: bytes, grpc_context: RpcContext) -> Message:  # noqa: N802
        """Answer whether requests may come, as load balancers ask it."""

        async def tell() -> Message:
            status = self._health(request)
            if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
                raise NotFoundError(f"unknown service, expected one of {', '.join(SERVICES)}")
            return health_pb2.HealthCheckResponse(status=status)

        return await told(grpc_context, tell())

    async def Watch(  # noqa: N802
        self, request: bytes, grpc_context: RpcContext
    ) -> AsyncIterator[Message]:
        """Answer `Check` now and whenever it changes, until this gateway leaves."""
        last = None
        while True:
            leaving = self._leaving.is_set()  # before what is told, which takes a while
            try:
                status = self._health(request)
            except FleetError as error:
                fail(grpc_context, error)
                return
            if status != last:
                yield health_pb2.HealthCheckResponse(status=status)
                last = status
            if leaving:
                return
            try:
                async with asyncio.timeout(HEALTH_POLL_S):
                    await self._leaving.wait()
            except TimeoutError:
                continue

    def _health(self, request: bytes) -> Any:
        asked = open_inference_grpc.parse(health_pb2.HealthCheckRequest, request)
        if asked.service and asked.service not in SERVICES:
            return health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        if self._leaving.is_set() or not self._inference.table.settled:
            return health_pb2.HealthCheckResponse.NOT_SERVING
        return health_pb2.HealthCheckResponse.SERVING

    def _call(self, metadata: Mapping[str, str], context: RpcContext) -> RpcCall:
        return RpcCall(
            protocol=Protocol.OPEN_INFERENCE,
            started_s=self._calls.clock(),
            counted=True,
            metadata=metadata,
            remaining_s=_remaining_s(context),
        )

    async def _answer(self, call: RpcCall, body: bytes) -> pb.ModelInferResponse | FleetError:
        """Answer one request, and count it."""
        answer: pb.ModelInferResponse | FleetError
        hold: Hold | None = None
        try:
            if len(body) > SMALL_BYTES:
                hold = self._budget.hold(min(len(body), self._max_body_bytes))
            answer = await self._infer(call, body)
        except FleetError as error:
            answer = error
        except asyncio.CancelledError as cancelled:
            if self._calls.clock() - call.started_s > call.remaining_s - DEADLINE_SLACK_S:
                # gRPC ended the call at the deadline, perhaps a moment before we would have.
                late = DeadlineExceededError(call.model, call.remaining_s)
                late.__dict__.update(cancelled.__dict__)  # see `time_with_model_s`
                self._count(call, late)
            if call.span is not None:
                call.span.left()
            raise
        except Exception:  # the boundary: a fault of ours is one request's, with its traceback
            logger.exception("ModelInfer failed")
            answer = internal_error()
        finally:
            if hold is not None:
                hold.release()
        self._count(call, answer if isinstance(answer, FleetError) else None)
        return answer

    def _count(self, call: Call, error: FleetError | None) -> None:
        if error is not None:
            self._calls.count_error(call, error, grpc_name(error))
        self._calls.count(call, GRPC_OK if error is None else grpc_name(error))

    async def _infer(self, call: RpcCall, body: bytes) -> pb.ModelInferResponse:
        if len(body) > self._max_body_bytes:
            raise RequestTooLargeError(len(body), self._max_body_bytes)
        message: pb.ModelInferRequest = open_inference_grpc.parse(pb.ModelInferRequest, body)
        call.own_id = message.id
        self._calls.begin(call, message.model_name)
        said_s = timeout_s(call.metadata.get(REQUEST_TIMEOUT.decode()))
        call.timeout_s = min(call.remaining_s, said_s)
        route, given_id = self._calls.route(
            call,
            version=message.model_version or None,
            routing_key=call.metadata.get(ROUTING_KEY.decode()),
            request_id=call.request_id,
            own_id=lambda: message.id,
        )
        if _reads_slowly(len(body), message):
            request = await asyncio.to_thread(
                open_inference_grpc.decode_infer, message, route.signature
            )
        else:
            request = open_inference_grpc.decode_infer(message, route.signature)
        outputs = await self._calls.answer(call, route, request)
        encode = partial(
            open_inference_grpc.encode_infer,
            request,
            outputs,
            model=call.model,
            version=route.version,
            request_id=request.id or given_id,
        )
        return await asyncio.to_thread(encode) if writes_slowly(request, outputs) else encode()


def _reads_slowly(size_bytes: int, message: pb.ModelInferRequest) -> bool:
    if size_bytes <= LARGE_ELEMENTS_BYTES:
        return False
    if not message.raw_input_contents:
        return size_bytes > LARGE_BYTES
    return any(tensor.datatype in {"BYTES", "BF16"} for tensor in message.inputs)


def _texts(context: RpcContext) -> dict[str, str]:
    """Metadata by lower-case name; what is not text means nothing to us."""
    pairs = context.invocation_metadata()
    return {name: value for name, value in pairs if isinstance(value, str)}


def _remaining_s(context: RpcContext) -> float:
    # Serve 2.60 keeps the deadline to itself; there the call is cancelled when it is over.
    time_remaining = getattr(context, "time_remaining", None)
    remaining_s: float | None = time_remaining() if time_remaining is not None else None
    return math.inf if remaining_s is None else remaining_s
