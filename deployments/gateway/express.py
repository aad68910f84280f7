"""The express port: the gateway's own HTTP server, beside Serve's door.

Serve's work for each request costs more than many a model's (DESIGN section 4). What Serve
does there for the application, this does too: it names the request, answers `/-/healthz`,
cancels the work for a client that left, drains before it goes, and reports its health.

A gateway that leaves hands its listening socket to a neighbour (`listeners`), tells every
client that still talks to it to connect anew, and closes what stays idle. So clients that
heed `Connection: close` lose no request.
"""

import asyncio
import itertools
import logging
import socket
import ssl
from functools import partial

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from deployments.errors import ConfigError
from deployments.gateway.app import GatewayApp
from deployments.gateway.connection import ANSWERING, Connection
from deployments.gateway.http import Answer, Receive, Scope, Send
from deployments.gateway.http_call import HttpCall
from deployments.gateway.listeners import NEIGHBOUR_TIMEOUT_S, Claim
from deployments.gateway.short_door import ShortDoor
from deployments.schema import ExpressSpec

logger = logging.getLogger(__name__)

HEALTH = "/-/healthz"
"""The path at which Serve's own proxies answer load balancers."""

PLAIN = b"text/plain"

ACCEPTS = 32
"""Connections taken at a time: gateways that share a port shall share a crowd, too."""

ACCEPT_RETRY_S = 1.0
"""After the process ran out of handles, seconds."""

LINGER_S = 3.0
"""How long a draining gateway leaves idle connections open: who is about to use one is told."""

POLL_S = 0.05
"""Between two looks at whether the clients are gone, seconds."""

TICK_S = 1.0
"""Between two values of the `Date` header, seconds."""

TICKS_TO_RENEWAL = 60
"""Between two looks at whether a cleaner of temporary files took the claim away."""


class ExpressServer:
    """The server of one gateway. One event loop owns it; neighbours' calls hop onto that loop."""

    def __init__(self, app: GatewayApp, spec: ExpressSpec, claim: Claim, name: str) -> None:
        """Prepare, without listening yet.

        Args:
            app: What answers.
            spec: Certificates and times.
            claim: This process's share of the port.
            name: Of the gateway, unique on the node.

        Raises:
            ConfigError: A certificate cannot be read, or is not the key's.
        """
        self._claim = claim
        self._name = name
        self._read_timeout_s = spec.read_timeout_s
        self._draining = False
        self._open: list[socket.socket] = []
        self._welcoming: set[asyncio.Task[None]] = set()
        self._door = _Door(app, lambda: self._draining)
        self._config = uvicorn.Config(
            self._door,
            http=HttpToolsProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=round(spec.keep_alive_timeout_s),
            ssl_keyfile=spec.ssl_keyfile,
            ssl_certfile=spec.ssl_certfile,
            ssl_keyfile_password=spec.ssl_keyfile_password,
            ssl_ca_certs=spec.ssl_ca_certs,
            ssl_cert_reqs=ssl.CERT_REQUIRED if spec.ssl_ca_certs else ssl.CERT_NONE,
        )
        try:
            self._config.load()
        except OSError as error:  # an SSLError is one, too
            files = f"{spec.ssl_keyfile}, {spec.ssl_certfile}"
            raise ConfigError(f"express.ssl_keyfile, ssl_certfile: {files}: {error}") from None
        self._uvicorn = uvicorn.Server(self._config)
        self._state: ServerState = self._uvicorn.server_state
        self._ticking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: The port cannot be bound.
        """
        self._loop = asyncio.get_running_loop()
        await self._uvicorn.on_tick(0)
        self._ticking = self._loop.create_task(self._tick())
        self._listen(await asyncio.to_thread(self._claim.listener))
        self._claim.answer_neighbours(self, self._name)
        where = self._claim.address
        logger.info("express port: listening on %s:%d", where.host, where.port)

    def check(self) -> None:
        """Raise a RuntimeError if nobody listens any more."""
        lost = self._ticking is None or self._ticking.done() or not self._open
        if lost and not self._draining:
            raise RuntimeError("the gateway no longer listens on the express port")

    async def drain(self, timeout_s: float) -> None:
        """Leave: hand the sockets over, finish what is in flight, and close.

        Args:
            timeout_s: How long requests in flight may take, seconds.
        """
        self._draining = True
        for connection in self._connections():
            connection.announce_end()
        await asyncio.to_thread(self._claim.stop_answering)
        await self._hand_over()
        # Meanwhile every answer says `Connection: close`. The last gateway of a node still
        # accepts: a client that is refused has nowhere else to go.
        await self._until_quiet(min(LINGER_S, timeout_s))
        await self._hand_over()  # to one that came meanwhile
        for listener in list(self._open):
            self._close(listener)
        for connection in self._connections():
            connection.shutdown()
        await self._until_quiet(timeout_s)
        for connection in self._connections():
            connection.abort()
        for task in list(self._state.tasks):
            task.cancel()
        if self._ticking is not None:
            self._ticking.cancel()
        await asyncio.to_thread(self._claim.release)

    def take(self, listener: socket.socket) -> bool:
        """See `Keeper.take`."""
        adding = asyncio.run_coroutine_threadsafe(self._take(listener), self._loop)
        return adding.result(NEIGHBOUR_TIMEOUT_S)

    def spare(self) -> socket.socket | None:
        """See `Keeper.spare`."""
        giving = asyncio.run_coroutine_threadsafe(self._spare(), self._loop)
        return giving.result(NEIGHBOUR_TIMEOUT_S)

    async def _hand_over(self) -> None:
        for listener in list(self._open):
            if await asyncio.to_thread(self._claim.hand_over, listener):
                self._close(listener)

    async def _take(self, listener: socket.socket) -> bool:
        if self._draining:
            listener.close()
            return False
        self._listen(listener)
        return True

    async def _spare(self) -> socket.socket | None:
        if len(self._open) < 2 or self._draining:
            return None
        listener = self._open[-1]
        copy = listener.dup()  # what waits to be accepted lives as long as any copy
        self._close(listener)
        return copy

    def _listen(self, listener: socket.socket) -> None:
        # Not by the loop's own servers: asyncio's drops what it has accepted and not yet
        # attached when one is closed (Python 3.11), and here they close under load.
        listener.setblocking(False)
        self._open.append(listener)
        self._loop.add_reader(listener, self._accept, listener)

    def _close(self, listener: socket.socket) -> None:
        self._open.remove(listener)
        self._loop.remove_reader(listener)
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTS):
            try:
                client, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no more handles or memory: not at once again
                logger.warning("express port: cannot accept connections: %s", error)
                self._loop.remove_reader(listener)
                self._loop.call_later(ACCEPT_RETRY_S, self._resume, listener)
                return
            task = self._loop.create_task(self._welcome(client))
            self._welcoming.add(task)
            task.add_done_callback(self._welcoming.discard)

    def _resume(self, listener: socket.socket) -> None:
        if listener in self._open:
            self._loop.add_reader(listener, self._accept, listener)

    async def _welcome(self, client: socket.socket) -> None:
        client.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._connection, client, ssl=self._config.ssl)
        except OSError as error:  # it left, or there is no talking TLS with it
            logger.debug("express port: no connection: %s", error)
            client.close()

    def _connections(self) -> list[Connection]:
        return [each for each in self._state.connections if isinstance(each, Connection)]

    def _connection(self) -> Connection:
        return Connection(self._config, self._state, self._read_timeout_s, self._door)

    async def _tick(self) -> None:
        for tick in itertools.count(1):
            await asyncio.sleep(TICK_S)
            await self._uvicorn.on_tick(0)
            if tick % TICKS_TO_RENEWAL == 0:
                await self._renew()

    async def _renew(self) -> None:
        try:
            await asyncio.to_thread(self._claim.renew)
        except (OSError, ConfigError) as error:
            logger.warning("express port: cannot renew the claim: %s", error)

    async def _until_quiet(self, timeout_s: float) -> None:
        due_s = self._loop.time() + timeout_s
        while self._is_busy() and self._loop.time() < due_s:
            await asyncio.sleep(POLL_S)

    def _is_busy(self) -> bool:
        return bool(self._state.connections or self._state.tasks or self._welcoming)


class _Door(ShortDoor):
    """What Serve's door does for each request, done here. One for all connections."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that ASGI carries."""
        call = HttpCall.of_scope(scope, receive)
        request_id = self.name(call)
        draining = self._draining()
        connection, cycle = scope[ANSWERING]
        deliver = partial(connection.deliver, cycle, request_id, draining)
        if call.path == HEALTH:
            body = b"draining" if draining else b"success"
            await deliver(Answer(503 if draining else 200, body, PLAIN))
            return
        connection.begin(cycle)
        try:
            await self._app.respond(call, deliver)
        except asyncio.CancelledError:
            if not cycle.disconnected:
                raise
        finally:
            connection.end()
