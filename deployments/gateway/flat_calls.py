"""Flat requests on the express port: from a known head to written bytes, at the least cost.

What `app` does for any request, done here for the one that most clients send
(`protocols.flat_infer`), with all that can be known beforehand looked up once for each routing
table: the version's queue, the beginning of its answers, its counters. Whatever is not so, and
every error, goes the general way, whose answers these must not differ from.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from deployments.errors import FleetError
from deployments.gateway.answers import Asked
from deployments.gateway.app import GatewayApp
from deployments.gateway.batching import VersionQueue
from deployments.gateway.calls import MAX_LOGGED_ID, MODEL_VERSION, REQUEST_ID, Protocol
from deployments.gateway.cycles import NOBODY, Answered
from deployments.gateway.heads import KnownHead
from deployments.gateway.http import Answer, header_text
from deployments.gateway.http_call import HttpCall, described
from deployments.gateway.waiting import Ending, Share, Waiting
from deployments.gateway.weighing import HEAVY_ROW_BYTES, LARGE_BYTES
from deployments.protocols.compression import MIN_BYTES
from deployments.protocols.flat_infer import (
    FlatPlan,
    FlatRequest,
    WrittenOutput,
    cut_rows,
    decode_flat,
    flat_plan,
    write_rows,
)
from deployments.telemetry import LATENCY, REQUESTS, Distribution
from deployments.traffic.split import choose
from deployments.traffic.table import EMPTY, Route

if TYPE_CHECKING:
    from deployments.gateway.traces import RequestSpan

NOT_FLAT: list[WrittenOutput] = []
"""Stands for a batch's answer that only the general way can write."""

OK = "200"


class Lane:
    """One version, as far as flat requests to it are concerned."""

    __slots__ = ("begin", "labels", "latency", "lines", "model", "queue", "requests", "route")

    def __init__(self, model: str, route: Route, queue: VersionQueue) -> None:
        self.model = model
        self.route = route
        self.queue = queue
        self.labels = (model, route.version, route.track, Protocol.OPEN_INFERENCE)
        self.begin = b'{"model_name":%b,"model_version":%b,"id":' % (
            orjson.dumps(model),
            orjson.dumps(route.version),
        )
        self.lines = b"%b: %b\r\ncontent-type: application/json\r\n" % (
            MODEL_VERSION,
            route.version.encode(),
        )
        # Made with the first answer: a version that answered nothing has no series.
        self.requests: Any = None
        self.latency: Distribution | None = None


class Way:
    """What a path leads to: one version, or several that share the model's traffic."""

    __slots__ = ("by_version", "deadline_s", "only", "plan", "routes")

    def __init__(self, plan: FlatPlan, routes: tuple[Route, ...], deadline_s: float) -> None:
        self.plan = plan
        self.routes = routes
        self.deadline_s = deadline_s
        self.by_version: dict[str, Lane] = {}
        self.only: Lane | None = None


class FlatCall:
    """One flat request that is being answered; to its connection, uvicorn's state of it."""

    method = "POST"
    scope: Mapping[str, Any] = {"method": method}
    message_event = NOBODY
    more_body = False
    disconnected = response_started = response_complete = waiting_for_100_continue = False

    waiting: Waiting
    span: "RequestSpan | None" = None

    def __init__(
        self,
        end: "Callable[[FlatCall, Ending], None]",
        connection: Answered,
        head: KnownHead,
        lane: Lane,
        request: FlatRequest,
        request_id: bytes,
        *,
        started_s: float,
        keep_alive: bool,
    ) -> None:
        self._end = end
        self.connection = connection
        self.head = head
        self.lane = lane
        self.request = request
        self.request_id = request_id
        self.started_s = started_s
        self.keep_alive = keep_alive

    @property
    def routing_key(self) -> str | None:
        """See `Sender.routing_key`."""
        return self.head.routing_key

    @property
    def given_id(self) -> str:
        """See `Sender.given_id`."""
        return self.request_id.decode("latin-1")

    @property
    def logged_id(self) -> bytes:
        """See `Sender.logged_id`."""
        return self.request_id[:MAX_LOGGED_ID]

    def header(self, name: bytes) -> str | None:
        """See `Call.header`."""
        return header_text(self.head.headers, name)

    def described(self) -> tuple[str, dict[str, str]]:
        """See `Call.described`."""
        return described(self.method, self.head.path)

    def told(self, ending: Ending) -> None:
        """Hear how it ended."""
        self._end(self, ending)

    def give_up(self) -> None:
        """End the work on it, for a client that left."""
        self.lane.queue.give_up(self.waiting)
        if self.span is not None:
            self.span.left()

    def on_response(self) -> None:
        """Tell the connection that it has been answered."""
        self.connection.on_response_complete()


class FlatCalls:
    """Answers flat requests, on the same queues as the application. One event loop owns it."""

    def __init__(
        self, app: GatewayApp, draining: Callable[[], bool], new_id: Callable[[], bytes]
    ) -> None:
        """Begin with no table.

        Args:
            app: Answers all others.
            draining: Whether connections end with the next answer.
            new_id: Makes up a request's id.
        """
        self._app = app
        self._inference = app.calls.inference
        self._counters = app.calls.counters
        self._clock = app.calls.clock
        self._traces = self._inference.traces
        lines = app.calls.lines
        self._lines_of_all = lines is not None and lines.all  # those are written elsewhere
        self._draining = draining
        self._new_id = new_id
        self._table = EMPTY
        self._ways: dict[tuple[str, str | None], Way | None] = {}

    def begin(self, connection: Answered, head: KnownHead, body: bytes) -> FlatCall | None:
        """Answer a request if it is flat, and nothing is wrong with it; None leaves it alone.

        Args:
            connection: Where the answer goes.
            head: What came before the body.
            body: All of it.
        """
        started_s = self._clock()
        if self._inference.table is not self._table:
            self._table = self._inference.table
            self._ways = {}
        try:
            way = self._ways[head.target]
        except KeyError:
            way = self._ways[head.target] = self._find(*head.target)
        if way is None or len(body) > self._app.max_body_bytes or self._lines_of_all:
            return None
        request = decode_flat(body, way.plan)
        if request is None:
            return None
        request_id = head.request_id or self._new_id()
        lane = way.only or self._choose(way, head, request, request_id)
        call = FlatCall(
            self._end, connection, head, lane, request, request_id,
            started_s=started_s, keep_alive=not self._draining(),
        )  # fmt: skip
        if self._traces is not None:
            call.span = self._traces.begin(call)
        left_s = min(head.timeout_s - (self._clock() - started_s), way.deadline_s)
        try:
            call.waiting = lane.queue.put(request, left_s, call.told, call)
        except FleetError as error:
            self._end_generally(call, error)
        return call

    def _end(self, call: FlatCall, ending: Ending) -> None:
        text = _text(call, ending) if type(ending) is Share else None
        if text is None or (call.head.accepts and len(text) >= MIN_BYTES):
            self._end_generally(call, ending)
            return
        lane = call.lane
        if not call.connection.write_flat(call, call.request_id, lane.lines, text):
            self._end_generally(call, ending)
            return
        if lane.latency is None:
            lane.requests = self._counters.cell(REQUESTS, (*lane.labels, OK))
            lane.latency = self._counters.distribution(LATENCY, lane.labels)
        lane.requests.value += 1
        lane.latency.observe(self._clock() - call.started_s)
        if call.span is not None:
            call.span.answered(lane.labels[:3], call.given_id, OK)

    def _end_generally(self, call: FlatCall, ending: Ending) -> None:
        route = call.lane.route
        headers = {**call.head.headers, REQUEST_ID: call.request_id}
        general = HttpCall(
            method=call.method,
            path=call.head.path,
            headers=headers,
            body=b"",
            model=call.lane.model,
            version=route.version,
            track=route.track,
            started_s=call.started_s,
            timeout_s=call.head.timeout_s,
            counted=True,
            request_id=call.request_id.decode("latin-1"),
            extra_headers=[(MODEL_VERSION, route.version.encode())],
            span=call.span,
        )
        asked = Asked(general, route, call.request, call.request_id.decode("latin-1"))

        def deliver(answer: Answer) -> None:
            call.connection.deliver_soon(call, call.request_id, not call.keep_alive, answer)

        self._app.finish(asked, deliver, ending)

    def _choose(self, way: Way, head: KnownHead, request: FlatRequest, request_id: bytes) -> Lane:
        key = head.routing_key or request.id or request_id.decode("latin-1")
        route = choose(head.target[0], way.routes, key)
        return way.by_version[route.version if route is not None else ""]

    def _find(self, model: str, version: str | None) -> Way | None:
        """Where flat requests to a path go; None where there are none."""
        try:
            routes = self._inference.model(model)
            pinned = None if version is None else self._inference.pinned(model, version)
            asked = [each for each in routes.routes if each.weight] if pinned is None else [pinned]
            queues = [self._inference.queue(model, route) for route in asked]
        except FleetError:
            return None
        plans = [plan for route in asked if (plan := flat_plan(route.signature)) is not None]
        if not plans or len(plans) < len(asked) or len({plan.shape for plan in plans}) > 1:
            return None
        way = Way(plans[0], routes.routes, routes.deadline_s)
        way.by_version = {
            route.version: Lane(model, route, queue)
            for route, queue in zip(asked, queues, strict=True)
        }
        if len(asked) == 1:
            (way.only,) = way.by_version.values()
        return way


def _text(call: FlatCall, share: Share) -> bytes | None:
    """The body of the answer; None where only the general way can write it."""
    batch = share.batch
    written = batch.written
    if written is None:
        heavy = batch.weight > max(LARGE_BYTES, HEAVY_ROW_BYTES * batch.rows)
        written = None if heavy else write_rows(batch.outputs, batch.rows)
        written = batch.written = written or NOT_FLAT
    if written is NOT_FLAT:
        return None
    text = orjson.dumps(call.request.id or call.request_id.decode("latin-1"))
    return b'%b%b,"outputs":[%b]}' % (
        call.lane.begin,
        text,
        cut_rows(written, share.start, share.stop),
    )
