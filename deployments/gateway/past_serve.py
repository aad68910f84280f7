"""Short requests at Serve's port, past Serve's work for each of them.

In HAProxy mode Serve's port leads to a uvicorn server in the gateway's own process, where Serve
does 140 µs of work for each request, ours left aside: it makes up an id, looks for a deadline and a
session in the headers, counts what is in flight, writes a line of its log and answers by several
messages. HAProxy keeps its connections, so once Serve has answered the first request of one, the
gateway takes the connection over, as uvicorn itself hands one over to a WebSocket's protocol. From
then on `Connection` answers short inference requests as it does at the express port, and leaves
all others to Serve. A logistic regression on two cores, 32 connections: 2.7 times the requests a
second with `transport: direct`, 2.3 times with `handle`; a lone client's p50 0.75 of what it was
(`python -m benchmarks.serving --cases linear --targets rayfleet direct-http`).

What Serve did for a request, the gateway does here: its own limits, deadlines and counters are
those of the express port, and Serve's server knows the connection, so that it waits for what is in
flight before it goes. HAProxy goes on counting requests for Serve. Where Serve's configuration
wants to be asked about each request, nothing is taken over.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from ray import serve
from ray.serve.context import _get_global_client
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from deployments.gateway.app import GatewayApp
from deployments.gateway.connection import Connection
from deployments.gateway.cycles import ShortCycle
from deployments.gateway.http import Receive
from deployments.gateway.http_call import Short
from deployments.gateway.serve_door import Heir
from deployments.gateway.short_door import ShortDoor

logger = logging.getLogger(__name__)

SERVES_OWN = {b"x-request-timeout-seconds", b"x-request-disconnect-disabled"}
"""Headers by which a client asks something of Serve, in lower case."""


class ServeDoor(ShortDoor):
    """Answers the short requests of connections to Serve's port that were taken over."""

    def __init__(self, app: GatewayApp, read_timeout_s: float) -> None:
        """Begin without a connection.

        Args:
            app: What answers.
            read_timeout_s: Longest time from a request's first byte to its last, seconds.
        """
        super().__init__(app, lambda: False)  # Serve's server ends connections itself
        self._read_timeout_s = read_timeout_s
        self._loop = asyncio.get_running_loop()

    def short_target(self, url: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Short | None:
        """See `Door.short_target`."""
        said = list(headers)
        if any(name in SERVES_OWN or not value.isascii() for name, value in said):
            return None
        return super().short_target(url, said)

    def take_over(self, receive: Receive) -> None:
        """Take a connection over after an answer, if it is uvicorn's and idle now.

        Args:
            receive: ASGI's, of the request that was answered.
        """
        cycle = getattr(receive, "__self__", None)
        if not isinstance(cycle, RequestResponseCycle) or not _is_over(cycle):
            return
        transport = cycle.transport
        old = transport.get_protocol()
        # A class of ours is here already; and user code on another loop must be left to Serve.
        if type(old) is not HttpToolsProtocol or asyncio.get_running_loop() is not self._loop:
            return
        if not _is_idle(old, cycle):
            return
        old.connections.discard(old)
        old._unset_keepalive_if_required()  # noqa: SLF001, as its heirs do
        new = _TakenOver(old.config, old.server_state, self._read_timeout_s, self)
        new.connection_made(transport)
        transport.set_protocol(new)


class _TakenOver(Connection):
    """A connection to Serve's port that is the gateway's now."""

    def _give_up(self) -> None:
        # Of all other requests the application limits the body itself.
        cycle: object = self.cycle
        if self._in_head or isinstance(cycle, ShortCycle):
            super()._give_up()


async def open_serve_door(app: GatewayApp, read_timeout_s: float) -> None:
    """Take connections to Serve's port over, unless Serve has to see each request.

    Args:
        app: What answers.
        read_timeout_s: See `ServeDoor`.
    """
    wish = await asyncio.to_thread(_wish)
    if wish is not None:
        logger.info("Serve's port: Serve sees each request, since %s is set", wish)
        return
    Heir.told = ServeDoor(app, read_timeout_s).take_over


def _wish() -> str | None:
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return None
    context = serve.get_replica_context()
    return wish_of(client.get_serve_details(), context.app_name, context.deployment)


def wish_of(details: Mapping[str, Any], application: str, deployment: str) -> str | None:
    """What in Serve's configuration needs Serve to see each request.

    Args:
        details: What its REST API says of it.
        application: The gateway's.
        deployment: The gateway's.
    """
    if (details["http_options"] or {}).get("request_timeout_s"):
        return "http_options.request_timeout_s"
    deployments = details["applications"].get(application, {}).get("deployments", {})
    options = deployments.get(deployment, {}).get("deployment_config") or {}
    return "autoscaling_config" if options.get("autoscaling_config") else None


def _is_over(cycle: RequestResponseCycle) -> bool:
    return cycle.response_complete and cycle.keep_alive and not cycle.more_body


def _is_idle(protocol: HttpToolsProtocol, cycle: RequestResponseCycle) -> bool:
    # Another scope says that the parser has found the first byte of another request.
    is_last = protocol.cycle is cycle and protocol.scope is cycle.scope and not protocol.pipeline
    flow = protocol.flow
    return is_last and not (
        flow.read_paused or flow.write_paused or protocol.transport.is_closing()
    )
