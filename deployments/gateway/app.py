"""The ASGI application behind every door: paths and protocols in, the fleet's answers out.

Raw ASGI, since a framework's per-request work costs more than a linear model's predict
(DESIGN section 4). A request goes: read → find the version → decode against its signature
→ queue → encode → count. Whatever happens before the model is called is the caller's.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from deployments.errors import (
    FleetError,
    MethodNotAllowedError,
    NotFoundError,
    RequestTooLargeError,
)
from deployments.gateway.answers import Asked, compressed, inferred, is_long
from deployments.gateway.budget import ByteBudget
from deployments.gateway.calls import (
    MODEL_VERSION,
    REQUEST_ID,
    REQUEST_TIMEOUT,
    ROUTING_KEY,
    Calls,
    Lines,
    Protocol,
    timeout_s,
)
from deployments.gateway.documentation import find_documentation
from deployments.gateway.fleet import Fleet
from deployments.gateway.http import (
    Answer,
    ClientGoneError,
    Receive,
    Scope,
    Send,
    answer_lifespan,
    header_text,
    send_answer,
)
from deployments.gateway.http_call import HEADER_LENGTH, HttpCall, protocol_of
from deployments.gateway.inference import Inference
from deployments.gateway.pages import find_page, index_page, stats_versions
from deployments.gateway.repository import change_repository
from deployments.gateway.serve_door import READ_TIMEOUT_S, limited
from deployments.gateway.statistics import statistics
from deployments.gateway.waiting import Ending, Share
from deployments.gateway.weighing import (
    LARGE_BYTES,
    LARGE_ELEMENTS_BYTES,
    SHORT_CODED_BYTES,
    reads_slowly,
    weight,
    writes_slowly,
)
from deployments.protocols import mlflow_scoring, open_inference
from deployments.protocols.compression import decompress
from deployments.protocols.infer_envelope import peek_id
from deployments.protocols.statuses import mlflow_error, open_inference_error
from deployments.protocols.tensors import Outputs
from deployments.telemetry import Counters, exposition
from deployments.traffic.table import Route

logger = logging.getLogger(__name__)

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


Deliver = Callable[[Answer], Awaitable[None]]
"""How an answer leaves by one of the doors."""


ERROR_FORMS = {
    Protocol.OPEN_INFERENCE: open_inference_error,
    Protocol.MLFLOW_SCORING: mlflow_error,
}


class GatewayApp:
    """Answers HTTP requests on a table and queues that somebody else keeps up to date."""

    def __init__(
        self,
        inference: Inference,
        counters: Counters,
        fleet: Fleet,
        max_body_bytes: int,
        clock: Callable[[], float] = time.perf_counter,
        *,
        read_timeout_s: float = READ_TIMEOUT_S,
        lines: Lines | None = None,
        budget: ByteBudget | None = None,
    ) -> None:
        self._read_timeout_s = read_timeout_s
        self._inference = inference
        self.calls = Calls(inference, counters, clock)
        self.calls.lines = lines
        self._fleet = fleet
        self.max_body_bytes = max_body_bytes
        self.budget = budget or ByteBudget(max_body_bytes)
        self._clock = clock
        self._aside: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Speak ASGI, at Serve's door."""
        if scope["type"] == "lifespan":
            await answer_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        in_time = limited(receive, self._read_timeout_s)
        await self.respond(HttpCall.of_scope(scope, in_time), partial(send_answer, send))

    async def respond(self, call: HttpCall, deliver: Deliver) -> None:
        """Answer one HTTP request.

        Args:
            call: The request.
            deliver: Writes the answer.
        """
        call.protocol = protocol_of(call.path)
        call.started_s = self._clock()
        try:
            answer = await self._respond(call)
            if is_long(call, answer):
                await deliver(await asyncio.to_thread(compressed, call, answer))
            else:
                await deliver(compressed(call, answer))
            self.calls.count(call, str(answer.status))
        except ClientGoneError:
            return
        finally:
            call.release()
            if call.span is not None:
                call.span.left()

    async def _respond(self, call: HttpCall) -> Answer:
        try:
            return await self._dispatch(call)
        except (ClientGoneError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001, the boundary: a fault is one request's
            return self._failed(call, error)

    def respond_soon(
        self,
        call: HttpCall,
        model: str,
        version: str | None,
        deliver: Callable[[Answer], None],
    ) -> Callable[[], object] | None:
        """Answer a short inference request that has been read whole, without a task for it.

        A task and the coroutines in it cost as much again as all else that is done here.

        Args:
            call: The request, with its body.
            model: What `inference_path` finds in its path, as the next.
            version: As above.
            deliver: Writes the answer, now or later.

        Returns:
            What ends the work; None if the answer has been delivered.
        """
        call.started_s = self._clock()
        try:
            if len(call.body or b"") > LARGE_ELEMENTS_BYTES and call.reads_slowly:
                return self._begin_aside(self.respond(call, _later(deliver))).cancel
            asked = self._read_whole(call, model, version)
            told = partial(self.finish, asked, deliver)
            return self.calls.put(call, asked.route, asked.request, told)
        except Exception as error:  # noqa: BLE001, as in `_respond`
            self._end(call, self._failed(call, error), deliver)
            return None

    def fail_soon(
        self, call: HttpCall, model: str, error: FleetError, deliver: Callable[[Answer], None]
    ) -> None:
        """Answer as `respond_soon` does a request of which not all came, with an error."""
        call.started_s = self._clock()
        with suppress(NotFoundError):
            self.calls.begin(call, model)
        self._end(call, self._failed(call, error), deliver)

    def finish(self, asked: Asked, deliver: Callable[[Answer], None], ending: Ending) -> None:
        """Answer an inference request once it is known how it ended.

        Args:
            asked: The request.
            deliver: Writes the answer.
            ending: What came of it.
        """
        if isinstance(ending, Share):
            # The whole batch's first, so that most answers need not be looked at.
            if ending.batch.weight > LARGE_BYTES and writes_slowly(asked.request, ending.outputs):
                self._begin_aside(self._finish_aside(asked, deliver, ending.outputs))
                return
            answer = self._shared(asked, ending)
        elif isinstance(ending, Exception):
            answer = self._failed(asked.call, ending)
        else:
            return  # the loop ends
        self._end(asked.call, answer, deliver)

    def _shared(self, asked: Asked, share: Share) -> Answer:
        try:
            return self._answer_with(asked, share.outputs)
        except Exception as error:  # noqa: BLE001, as in `_respond`
            return self._failed(asked.call, error)

    def _end(self, call: HttpCall, answer: Answer, deliver: Callable[[Answer], None]) -> None:
        call.release()
        if is_long(call, answer):
            self._begin_aside(self._end_aside(call, answer, deliver))
            return
        deliver(compressed(call, answer))
        self.calls.count(call, str(answer.status))

    def _answer_with(self, asked: Asked, outputs: Outputs) -> Answer:
        return inferred(asked, self.calls.answered(asked.call, outputs))

    async def _finish_aside(
        self, asked: Asked, deliver: Callable[[Answer], None], outputs: Outputs
    ) -> None:
        try:
            answer = await asyncio.to_thread(self._answer_with, asked, outputs)
        except Exception as error:  # noqa: BLE001, as in `_respond`
            answer = self._failed(asked.call, error)
        self._end(asked.call, answer, deliver)

    async def _end_aside(
        self, call: HttpCall, answer: Answer, deliver: Callable[[Answer], None]
    ) -> None:
        deliver(await asyncio.to_thread(compressed, call, answer))
        self.calls.count(call, str(answer.status))

    def _begin_aside(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)
        return task

    def _failed(self, call: HttpCall, error: Exception) -> Answer:
        if not isinstance(error, FleetError):
            logger.error("%s %s failed", call.method, call.path, exc_info=error)
            error = FleetError("internal error, see the gateway's log")
        response = ERROR_FORMS[call.protocol](error)
        self.calls.count_error(call, error, str(response.status))
        headers = tuple((name.lower().encode(), text.encode()) for name, text in response.headers)
        return Answer(response.status, response.body, None, (*headers, *call.extra_headers))

    async def _dispatch(self, call: HttpCall) -> Answer:
        match call.path.strip("/").split("/"):
            case ["v2", "models", model, "infer"]:
                return await self._infer(call, model, None)
            case ["v2", "models", model, "versions", version, "infer"]:
                return await self._infer(call, model, version)
            case ["models", model, "invocations"]:
                return await self._invoke(call, model, None)
            case ["models", model, "versions", version, "invocations"]:
                return await self._invoke(call, model, version)
            case segments:
                return await self._describe(call, segments)

    async def _describe(self, call: HttpCall, segments: list[str]) -> Answer:
        """Answer the paths that carry no tensors."""
        match segments:
            case ["metrics"]:
                _require(call, "GET")
                snapshots = await self._fleet.snapshots()
                return Answer(200, await asyncio.to_thread(exposition, snapshots), METRICS_TYPE)
            case ["v2", "models", *path, "stats"]:
                _require(call, "GET")
                versions = stats_versions(self._inference, path)
                return Answer(200, statistics(await self._fleet.snapshots(), versions))
            case ["v2", "repository", "index"]:
                _require(call, "POST")
                body = self._decoded(call, await self._read(call))
                return Answer(200, index_page(self._inference, body))
            case ["v2", "repository", "models", model, action]:
                _require(call, "POST")
                body = self._decoded(call, await self._read(call))
                await change_repository(self._fleet, model, action, body)
                return Answer(200, b"{}")
        page = find_page(segments)
        if page is None:
            answer = await asyncio.to_thread(find_documentation, segments)
            if answer is not None:
                _require(call, "GET")
                return answer
            raise NotFoundError(f"unknown path {call.path!r}")
        _require(call, "GET")
        return Answer(200, page(self._inference))

    async def _read(self, call: HttpCall) -> bytes:
        return await call.read(self.max_body_bytes, self.budget)

    async def _infer(self, call: HttpCall, model: str, version: str | None) -> Answer:
        body = await self._start(call, model)
        header_length = header_text(call.headers, HEADER_LENGTH)

        route, given_id = self._route(call, version, lambda: peek_id(body, header_length))
        if reads_slowly(body, header_length):
            request = await asyncio.to_thread(
                open_inference.decode_infer, body, header_length, route.signature
            )
        else:
            request = open_inference.decode_infer(body, header_length, route.signature)
        outputs = await self.calls.answer(call, route, request)
        asked = Asked(call, route, request, given_id)
        if writes_slowly(request, outputs):
            return await asyncio.to_thread(inferred, asked, outputs)
        return inferred(asked, outputs)

    def _read_whole(self, call: HttpCall, model: str, version: str | None) -> Asked:
        self._begin(call, model)
        body = call.body or b""
        if len(body) > self.max_body_bytes:
            raise RequestTooLargeError(len(body), self.max_body_bytes)
        body = self._decoded(call, body)
        header_length = header_text(call.headers, HEADER_LENGTH)
        route, given_id = self._route(call, version, lambda: peek_id(body, header_length))
        request = open_inference.decode_infer(body, header_length, route.signature)
        return Asked(call, route, request, given_id)

    async def _invoke(self, call: HttpCall, model: str, version: str | None) -> Answer:
        body = await self._start(call, model)
        content_type = header_text(call.headers, b"content-type")

        route, _ = self._route(call, version, lambda: None)
        request = mlflow_scoring.decode_cheaply(body, content_type, route.signature)
        if request is None:
            request = await asyncio.to_thread(
                mlflow_scoring.decode_invocation, body, content_type, route.signature
            )
        outputs = await self.calls.answer(call, route, request)
        encode = partial(
            mlflow_scoring.encode_predictions,
            outputs, model=model, version=route.version, wrapped=request.wrapped,
        )  # fmt: skip
        text = await asyncio.to_thread(encode) if weight(outputs) > LARGE_BYTES else encode()
        return Answer(200, text, headers=tuple(call.extra_headers))

    async def _start(self, call: HttpCall, model: str) -> bytes:
        """Check the method and the model's name, read the body, and start the clock."""
        self._begin(call, model)
        body = await self._read(call)
        call.started_s = self._clock()
        if len(body) > SHORT_CODED_BYTES and b"content-encoding" in call.headers:
            body = await asyncio.to_thread(self._decoded, call, body)
            if call.hold is not None:
                call.hold.grow(len(body))
            return body
        return self._decoded(call, body)

    def _begin(self, call: HttpCall, model: str) -> None:
        self.calls.begin(call, model)
        _require(call, "POST")
        call.timeout_s = timeout_s(header_text(call.headers, REQUEST_TIMEOUT))

    def _decoded(self, call: HttpCall, body: bytes) -> bytes:
        encoding = call.headers.get(b"content-encoding")
        if encoding is not None:
            body = decompress(body, encoding.decode("latin-1"), self.max_body_bytes)
        return body

    def _route(
        self, call: HttpCall, version: str | None, own_id: Callable[[], str | None]
    ) -> tuple[Route, str]:
        route, given_id = self.calls.route(
            call,
            version=version,
            routing_key=header_text(call.headers, ROUTING_KEY),
            request_id=header_text(call.headers, REQUEST_ID),
            own_id=own_id,
        )
        # The request's id is added by Serve's door itself.
        call.extra_headers.append((MODEL_VERSION, route.version.encode()))
        return route, given_id


def _later(deliver: Callable[[Answer], None]) -> Deliver:
    async def delivering(answer: Answer) -> None:
        deliver(answer)

    return delivering


def _require(call: HttpCall, method: str) -> None:
    if call.method != method and (call.method, method) != ("HEAD", "GET"):
        raise MethodNotAllowedError(call.method, method)
