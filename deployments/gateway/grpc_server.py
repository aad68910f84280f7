"""The express gRPC port: the gateway's own gRPC server, beside Serve's door.

gRPC binds its sockets itself, so that unlike HTTP's (`express`) they cannot be handed to a
neighbour. And a server of it that stops cancels the calls which reach it on connections that
are open still; ten in four seconds of load, in a test of this. So no connection gets old here:
each is told in time to go on with a new one, which takes nothing from its calls, spreads clients
over gateways that came later, and lets a gateway that leaves wait until all are gone.
"""

import asyncio
import logging
import os
import socket
from pathlib import Path

import grpc
import psutil
from cryptography.hazmat.primitives import serialization

from deployments.errors import ConfigError
from deployments.gateway.grpc_methods import add_to_server
from deployments.gateway.grpc_service import InferenceServicer
from deployments.gateway.listeners import Address, Claim
from deployments.node import node_folder
from deployments.schema import ExpressSpec
from deployments.settings import Settings

logger = logging.getLogger(__name__)

MIN_PING_MS = 10_000
"""Clients that ask more often whether the connection still stands are sent away, milliseconds."""

KEEPALIVE_MS = 60_000
"""Silence after which a client is asked whether it is still there, milliseconds."""

MOST_CALLS = 10_000
"""At a time, streams among them; more are answered RESOURCE_EXHAUSTED before they are read."""

MAX_AGE_S = 10.0
"""Life of a connection before its client is told to make a new one, seconds, give or take 10 %."""

LINGER_S = 1.2 * MAX_AGE_S
"""How long a leaving gateway waits for its clients to be gone, seconds."""

POLL_S = 0.05
"""Between two looks at whether they are, seconds."""

RENEWAL_S = 60.0
"""Between two looks at whether a cleaner of temporary files took the claim away, seconds."""


async def open_grpc(
    servicer: InferenceServicer, settings: Settings, fleet: str
) -> "GrpcServer | None":
    """Listen on the express gRPC port, if there is one.

    Args:
        servicer: What answers.
        settings: The fleet's.
        fleet: Whose port it is; all gateways of a fleet say the same.

    Raises:
        ConfigError: The port is another fleet's, or cannot be bound, or a certificate is none.
    """
    spec = settings.express
    if spec is None or spec.grpc_port is None:
        return None
    address = Address(spec.host, spec.grpc_port, "express.grpc_port")
    try:
        claim = await asyncio.to_thread(Claim, address, fleet, node_folder())
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{address.setting}: {address.port}: {reason}") from None
    server = GrpcServer(servicer, spec, claim, settings.max_body_bytes)
    await server.start()
    return server


class GrpcServer:
    """The server of one gateway. One event loop owns it."""

    def __init__(
        self, servicer: InferenceServicer, spec: ExpressSpec, claim: Claim, max_message_bytes: int
    ) -> None:
        """Prepare, without listening yet.

        Args:
            servicer: What answers.
            spec: Certificates and times.
            claim: This process's share of the port.
            max_message_bytes: Largest message that is read, decompressed.

        Raises:
            ConfigError: A certificate cannot be read.
        """
        self._servicer = servicer
        self._claim = claim
        self._credentials = _credentials(spec)
        self._options = [
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_connection_idle_ms", round(1000 * spec.keep_alive_timeout_s)),
            ("grpc.max_connection_age_ms", round(1000 * MAX_AGE_S)),
            ("grpc.server_handshake_timeout_ms", round(1000 * spec.read_timeout_s)),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_MS),
        ]
        self._listening: set[int] = set()
        self._ended: asyncio.Task[bool] | None = None
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            ConfigError: The port cannot be bound.
        """
        self._server = grpc.aio.server(options=self._options, maximum_concurrent_rpcs=MOST_CALLS)
        add_to_server(self._servicer, self._server)
        where = self._claim.address
        host = f"[{where.host}]" if ":" in where.host else where.host
        place = f"{host}:{where.port}"
        before = self._sockets(psutil.CONN_LISTEN)
        try:
            if self._credentials is None:
                self._server.add_insecure_port(place)
            else:
                self._server.add_secure_port(place, self._credentials)
        except RuntimeError as error:
            raise ConfigError(f"{where.setting}: {where.port} on {where.host}: {error}") from None
        await self._server.start()
        self._listening = self._sockets(psutil.CONN_LISTEN) - before
        self._ended = asyncio.create_task(self._server.wait_for_termination())
        self._renewing = asyncio.create_task(self._renew())
        logger.info("express gRPC port: listening on %s", place)

    def check(self) -> None:
        """Raise a RuntimeError if nobody listens any more."""
        if self._ended is None or self._ended.done():
            raise RuntimeError("the gateway no longer listens on the express gRPC port")

    async def drain(self, timeout_s: float) -> None:
        """Leave: send clients away, finish what is in flight, and close.

        Args:
            timeout_s: How long requests in flight may take, seconds.
        """
        self._servicer.leave()
        self._stop_listening()
        loop = asyncio.get_running_loop()
        due_s = loop.time() + min(LINGER_S, timeout_s)
        while self._sockets(psutil.CONN_ESTABLISHED) and loop.time() < due_s:
            await asyncio.sleep(POLL_S)
        await self._server.stop(timeout_s)
        if self._renewing is not None:
            self._renewing.cancel()
        await asyncio.to_thread(self._claim.release)

    def _stop_listening(self) -> None:
        # gRPC knows no way to do this but to stop altogether.
        for handle in self._listening & self._sockets(psutil.CONN_LISTEN):
            with socket.socket(fileno=os.dup(handle)) as listener:
                listener.shutdown(socket.SHUT_RDWR)

    def _sockets(self, status: str) -> set[int]:
        """Handles of this process's own sockets on the port, in one state."""
        port = self._claim.address.port
        found = psutil.Process().net_connections("tcp")
        return {each.fd for each in found if each.status == status and each.laddr.port == port}

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEWAL_S)
            try:
                await asyncio.to_thread(self._claim.renew)
            except (OSError, ConfigError) as error:
                logger.warning("express gRPC port: cannot renew the claim: %s", error)


def _credentials(spec: ExpressSpec) -> grpc.ServerCredentials | None:
    if spec.ssl_certfile is None or spec.ssl_keyfile is None:
        return None
    try:
        key = Path(spec.ssl_keyfile).read_bytes()
        if spec.ssl_keyfile_password is not None:
            key = _without_password(key, spec.ssl_keyfile_password)
        chain = Path(spec.ssl_certfile).read_bytes()
        authorities = Path(spec.ssl_ca_certs).read_bytes() if spec.ssl_ca_certs else None
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"express.ssl_keyfile, ssl_certfile, ssl_ca_certs: {error}") from None
    credentials: grpc.ServerCredentials = grpc.ssl_server_credentials(
        [(key, chain)],
        root_certificates=authorities,
        require_client_auth=authorities is not None,
    )
    return credentials


def _without_password(key: bytes, password: str) -> bytes:
    # gRPC asks nobody for a password.
    return serialization.load_pem_private_key(key, password.encode()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
