"""What every inference request goes through, whatever carried it: routing, answering, counting."""

import math
import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING
from typing import Protocol as Contract

import msgspec

from deployments.errors import DeadlineExceededError, FleetError, MalformedRequestError
from deployments.gateway.batching import VersionQueue
from deployments.gateway.inference import Inference
from deployments.gateway.joining import AnyRequest
from deployments.gateway.waiting import Ending, Waiting, time_with_model_s
from deployments.protocols.statuses import Origin, origin
from deployments.protocols.tensors import Outputs, Request, has_nan
from deployments.telemetry import ERRORS, LATENCY, REQUESTS, Counters
from deployments.traffic.table import Route

if TYPE_CHECKING:
    from deployments.gateway.traces import RequestSpan

ROUTING_KEY = b"x-routing-key"
REQUEST_ID = b"x-request-id"
REQUEST_TIMEOUT = b"x-request-timeout-ms"
MODEL_VERSION = b"x-model-version"

LEAST_WITH_MODEL_S = 0.1
"""What a caller gave up counts against the version if that had the request so long, seconds."""

MAX_LOGGED_ID = 128
"""Characters of a caller's id that log lines keep."""


class Protocol(StrEnum):
    """How requests and errors are written."""

    OPEN_INFERENCE = "open_inference"
    MLFLOW_SCORING = "mlflow_scoring"


class Call(msgspec.Struct, kw_only=True):
    """One request on its way through the gateway, and what will be counted of it."""

    protocol: Protocol = Protocol.OPEN_INFERENCE

    started_s: float = 0.0
    """When its last byte had arrived, by the gateway's clock."""

    timeout_s: float = math.inf
    """How long its sender waits from then on, seconds."""

    model: str = ""
    version: str = ""
    track: str = ""
    routing_key: str | None = None
    """The header's; None or empty without one."""

    given_id: str = ""
    """Names the request where its body does not."""

    counted: bool = False
    failed_version: bool = False

    request_id: str = ""
    """The headers', or one that was made up; empty before it is known."""

    error: str = ""
    """Class of what it failed with; empty where nothing did, or nobody asks."""

    origin: str = ""
    """Where that arose: caller, version or fleet."""

    span: "RequestSpan | None" = None
    """Where it is traced."""

    @property
    def logged_id(self) -> bytes:
        """See `Sender.logged_id`."""
        named = self.request_id or self.header(REQUEST_ID) or ""
        return named[:MAX_LOGGED_ID].encode("latin-1", "replace")

    def header(self, name: bytes) -> str | None:
        """What its sender said of it beside the body; None where that is nothing."""
        return None

    def described(self) -> tuple[str, dict[str, str]]:
        """Its span's name, and what the door knows of it, in OpenTelemetry's words."""
        return "infer", {}


class Lines(Contract):
    """Hears of calls that were answered; see `request_log`."""

    @property
    def all(self) -> bool:
        """Whether of those without an error, too."""
        ...

    def note(self, call: Call, code: str, seconds: float) -> None:
        """Write one down."""
        ...


class Calls:
    """The way of a call through the gateway, without the bytes at either end."""

    def __init__(
        self,
        inference: Inference,
        counters: Counters,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.inference = inference
        self.counters = counters
        self.clock = clock
        self._traces = inference.traces

        self.lines: Lines | None = None
        """Writes a log line for calls; None where none are to be written."""

    def begin(self, call: Call, model: str) -> None:
        """Count this call from now on, against a model.

        Raises:
            NotFoundError: No such model.
        """
        call.counted = True
        if self._traces is not None:
            call.span = self._traces.begin(call)
        self.inference.model(model)
        # Only now: a name that is not hosted is not a label, or anyone could make up a million.
        call.model = model

    def route(
        self,
        call: Call,
        *,
        version: str | None,
        routing_key: str | None,
        request_id: str | None,
        own_id: Callable[[], str | None],
    ) -> tuple[Route, str]:
        """Choose the version and name the request.

        The routing key is the header's, else the request's id: the one in its body, else the
        one in its headers, else one that we make up.

        Args:
            call: A call that has begun.
            version: Pinned by the caller; None leaves it to the split.
            routing_key: The header's; None or empty without one.
            request_id: The header's; None or empty without one.
            own_id: Reads the id in the body, at a cost.

        Raises:
            NotFoundError: The model does not host this version.
            ModelNotReadyError: No version can answer yet.
        """
        given_id = request_id or secrets.token_hex(16)  # on the express port, there is one
        if version is not None:
            route = self.inference.pinned(call.model, version)
        elif routing_key or not self.inference.is_split(call.model):
            route = self.inference.choose(call.model, routing_key or given_id)
        else:
            given_id = own_id() or given_id
            route = self.inference.choose(call.model, given_id)
        call.version, call.track = route.version, route.track
        call.request_id = call.request_id or given_id
        call.routing_key, call.given_id = routing_key, given_id
        return route, given_id

    async def answer(self, call: Call, route: Route, request: Request) -> Outputs:
        """Have the version answer, in what is left of the caller's time.

        Raises:
            FleetError: What `Inference.answer` raises.
        """
        queue = self.inference.queue(call.model, route)
        return self.answered(call, await queue.answer(request, self._left_s(call), call))

    def put(
        self, call: Call, route: Route, request: AnyRequest, told: Callable[[Ending], None]
    ) -> Callable[[], None]:
        """Queue a request without waiting for it: see `VersionQueue.put`.

        Returns:
            What gives it up.

        Raises:
            FleetError: What `Inference.queue` and `VersionQueue.put` raise.
        """
        queue = self.inference.queue(call.model, route)
        waiting = queue.put(request, self._left_s(call), told, call)
        if call.span is not None:
            return partial(_give_up, queue, waiting, call.span)
        return partial(queue.give_up, waiting)

    def answered(self, call: Call, outputs: Outputs) -> Outputs:
        """Take note of what a version answered."""
        # Answered as it is, since clients may expect it, but a promise was broken.
        call.failed_version = has_nan(outputs)
        return outputs

    def _left_s(self, call: Call) -> float:
        left_s = call.timeout_s - (self.clock() - call.started_s)
        return min(left_s, self.inference.model(call.model).deadline_s)

    def count_error(self, call: Call, error: FleetError, code: str) -> None:
        """Count what a call failed with; `count` is due as well."""
        arose = self._origin(call, error)
        if self.lines is not None or call.span is not None:
            call.error, call.origin = type(error).__name__, arose
        if not call.counted:
            return
        if arose == Origin.VERSION:
            call.failed_version = False  # one failure, however many reasons
        self.counters.add(ERRORS, (*_labels(call), code, arose))

    def _origin(self, call: Call, error: FleetError) -> Origin:
        """Tell who is to blame: for a deadline that the caller has set, mostly the caller.

        But a version that hangs would never be found out if all callers were in a hurry.
        """
        routes = self.inference.table.models.get(call.model)
        if (
            isinstance(error, DeadlineExceededError)
            and routes is not None
            and call.timeout_s < routes.deadline_s
            and time_with_model_s(error) < LEAST_WITH_MODEL_S
        ):
            return Origin.CALLER
        return origin(error)

    def count(self, call: Call, code: str) -> None:
        """Count an answer, good or bad."""
        if not call.counted:
            return
        labels = _labels(call)
        self.counters.add(REQUESTS, (*labels, code))
        seconds = self.clock() - call.started_s
        self.counters.observe(LATENCY, labels, seconds)
        if call.failed_version:
            self.counters.add(ERRORS, (*labels, code, Origin.VERSION))
        if self.lines is None and call.span is None:
            return
        if call.failed_version:
            call.error, call.origin = "NaN", Origin.VERSION
        if self.lines is not None:
            self.lines.note(call, code, seconds)
        if call.span is not None:
            of_version = call.model, call.version, call.track
            call.span.answered(of_version, call.request_id, code, call.error, call.origin)


def _give_up(queue: VersionQueue, waiting: Waiting, span: "RequestSpan") -> None:
    queue.give_up(waiting)
    span.left()


def timeout_s(text: str | None) -> float:
    """How long a caller waits for the answer, seconds; infinite when it does not say.

    Args:
        text: What it gave as `X-Request-Timeout-Ms`; None for nothing.

    Raises:
        MalformedRequestError: It is not a positive number.
    """
    if text is None:
        return math.inf
    try:
        milliseconds = float(text)
    except ValueError:
        milliseconds = math.nan
    if not milliseconds > 0:
        raise MalformedRequestError(
            f"X-Request-Timeout-Ms {text[:40]!r} must be a positive number of milliseconds"
        )
    return milliseconds / 1000


def _labels(call: Call) -> tuple[str, str, str, str]:
    return (call.model, call.version, call.track, call.protocol)
