"""The control API's own port, in the controller's process and on its event loop."""

import asyncio
import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

from deployments.controlspec import ControlSpec

logger = logging.getLogger(__name__)

RETRY_S = 1.0
"""Wait before a port that is taken is tried again, seconds."""

BACKLOG = 128


class ControlDoor:
    """Listens as soon as the port can be had; predictions never depend on it.

    A controller that replaces another one finds the port taken for a moment.
    """

    def __init__(self, app: ASGIApp, spec: ControlSpec) -> None:
        self._spec = spec
        self._server = _Server(
            uvicorn.Config(
                app, log_config=None, access_log=False, server_header=False, lifespan="off"
            )
        )
        self._serving = asyncio.get_running_loop().create_task(self._serve())

    async def close(self) -> None:
        """Answer what is in flight, and stop listening."""
        self._server.should_exit = True
        if not self._server.started:
            self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)

    async def _serve(self) -> None:
        warned = False
        while True:
            try:
                listener = self._listener()
            except OSError as error:
                if not warned:
                    logger.warning(
                        "control API: port %d on %s: %s; trying again until it can be had",
                        self._spec.port, self._spec.host, error.strerror or error,
                    )  # fmt: skip
                    warned = True
                await asyncio.sleep(RETRY_S)
            else:
                break
        logger.info("control API: listening on %s:%d", self._spec.host, self._spec.port)
        with listener:
            await self._server.serve(sockets=[listener])

    def _listener(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._spec.host else socket.AF_INET
        address = self._spec.host, self._spec.port
        return socket.create_server(address, family=family, backlog=BACKLOG)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals to Ray."""
        yield
