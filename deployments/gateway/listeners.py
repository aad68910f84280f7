"""The listening sockets of the express port on one node: who may have one, how none is lost.

Each gateway listens on a socket of its own (`SO_REUSEPORT`), so that the kernel spreads the
connections among them. That is dangerous in two ways. Any process of the same user may join
such a port, another fleet's gateways too: a lock that says whose port it is keeps those out.
And the kernel resets what a closed socket had not yet accepted: so a gateway that leaves
hands its socket to another one of its node, and the next one that comes takes it over.
"""

import fcntl
import hashlib
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deployments.errors import ConfigError

logger = logging.getLogger(__name__)

BACKLOG = 2048
"""Connections that may wait to be accepted, as far as the kernel allows."""

NEIGHBOUR_TIMEOUT_S = 2.0
"""Longest wait for another gateway's answer; one that hangs is passed over, seconds."""

SPARE, TAKE, DONE, NONE = b"spare", b"take", b"done", b"none"


class Keeper(Protocol):
    """The gateway's side of a neighbour's request. Called from another thread than the loop's."""

    def take(self, listener: socket.socket) -> bool:
        """Accept connections from this socket too; False when this gateway leaves itself."""
        ...

    def spare(self) -> socket.socket | None:
        """Give up a socket that a gateway left behind; None when there is but one's own."""
        ...


@dataclass(frozen=True, slots=True)
class Address:
    """Where an express port is."""

    host: str
    port: int

    setting: str = "express.port"
    """What the config calls the port."""

    @property
    def switch(self) -> str:
        """What the config sets to null to do without the port."""
        return self.setting.removesuffix(".port")


class Claim:
    """This process's share of a port of this node, until it is given up or the process ends."""

    def __init__(self, address: Address, owner: str, folder: Path) -> None:
        """Claim a share.

        Args:
            address: The port.
            owner: The fleet; all of its gateways say the same.
            folder: Of this user and node, the same for all fleets.

        Raises:
            ConfigError: The port is another fleet's or another program's.
            OSError: The folder cannot be written.
        """
        self.address = address
        self._owner = owner
        self._mutex = folder / f"{address.port}.mutex"
        self._path = folder / f"{address.port}.owner"
        with _locked(self._mutex):
            self._holders = _join_holders(self._path, address, owner, begins=True)
        self._neighbours = Neighbourhood(folder, address)

    def listener(self) -> socket.socket:
        """A socket that listens: one that a neighbour can spare, else a new one.

        Raises:
            OSError: The port cannot be bound.
        """
        spare = self._neighbours.ask_for_spare()
        if spare is not None:
            return spare
        listener = _socket(self.address, shared=True)
        listener.listen(BACKLOG)
        return listener

    def answer_neighbours(self, keeper: Keeper, name: str) -> None:
        """From now on exchange sockets with gateways that come and leave."""
        self._neighbours.start(keeper, name)

    def hand_over(self, listener: socket.socket) -> bool:
        """Give a socket to a neighbour; False when nobody takes it."""
        return self._neighbours.give(listener)

    def stop_answering(self) -> None:
        """Take no more sockets."""
        self._neighbours.stop()

    def renew(self) -> None:
        """Look after the claim's file, which cleaners of temporary folders may remove.

        Raises:
            ConfigError: Another fleet has taken the port's file meanwhile.
            OSError: The folder cannot be written.
        """
        with _locked(self._mutex):
            if os.fstat(self._holders).st_nlink == 0:
                holders = _join_holders(self._path, self.address, self._owner, begins=False)
                os.close(self._holders)
                self._holders = holders
            os.utime(self._path)

    def release(self) -> None:
        """Give the share up."""
        self._neighbours.stop()
        os.close(self._holders)


class Neighbourhood:
    """The gateways of one node that share a port, each behind a Unix socket of its own."""

    def __init__(self, folder: Path, address: Address) -> None:
        self._folder = folder
        # A socket of another host is no replacement: it may be open to the whole network.
        host = hashlib.sha256(address.host.encode()).hexdigest()[:6]
        self._prefix = f"{address.port}-{host}"
        self._path: Path | None = None
        self._server: socket.socket | None = None

    def start(self, keeper: Keeper, name: str) -> None:
        """Answer neighbours until `stop`; without one's own address, nobody can ask."""
        self._sweep()
        path = self._folder / f"{self._prefix}-{name}.sock"
        server = socket.socket(socket.AF_UNIX)
        try:
            path.unlink(missing_ok=True)
            server.bind(str(path))
            server.listen()
        except OSError as error:  # a path too long, most likely
            logger.warning("express port: cannot hand sockets over at %s: %s", path, error)
            server.close()
            return
        self._path, self._server = path, server
        threading.Thread(target=_answer_all, args=(server, keeper), daemon=True).start()

    def stop(self) -> None:
        """Answer nobody any more."""
        if self._server is not None and self._path is not None:
            self._path.unlink(missing_ok=True)
            # Closing alone would leave the thread in accept() for ever.
            with suppress(OSError):
                self._server.shutdown(socket.SHUT_RDWR)
            self._server.close()
            self._server = None

    def ask_for_spare(self) -> socket.socket | None:
        """A socket that some neighbour holds for a gateway that left."""
        for path in self._others():
            with _talking(path) as neighbour:
                if neighbour is None:
                    continue
                neighbour.sendall(SPARE)
                _, handles, _, _ = socket.recv_fds(neighbour, len(DONE), 1)
                if handles:
                    return _received(handles[0])
        return None

    def give(self, listener: socket.socket) -> bool:
        """Have a neighbour take a socket."""
        for path in self._others():
            with _talking(path) as neighbour:
                if neighbour is None:
                    continue
                socket.send_fds(neighbour, [TAKE], [listener.fileno()])
                if neighbour.recv(len(DONE)) == DONE:
                    return True
        return False

    def _sweep(self) -> None:
        """Remove what killed gateways left, on whatever port."""
        for path in self._folder.glob("*.sock"):
            with _talking(path):
                pass

    def _others(self) -> list[Path]:
        found = self._folder.glob(f"{self._prefix}-*.sock")
        return sorted(path for path in found if path != self._path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _join_holders(path: Path, address: Address, owner: str, *, begins: bool) -> int:
    """Hold a shared lock on the file that names the owner; the first one writes it.

    Args:
        path: The file.
        address: The port.
        owner: Who wants it.
        begins: Whether this process does not listen there yet.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _require_same(os.pread(handle, 4096, 0).decode(), address, owner)
        else:
            if begins:
                _require_free(address)
            os.ftruncate(handle, 0)
            os.pwrite(handle, owner.encode(), 0)
        fcntl.flock(handle, fcntl.LOCK_SH)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _require_same(held_by: str, address: Address, owner: str) -> None:
    if held_by != owner:
        raise ConfigError(
            f"{address.setting}: {address.port}: another fleet on this node has it ({held_by});"
            f" choose another, or {address.switch}: null to do without"
        )


def _require_free(address: Address) -> None:
    # Without SO_REUSEPORT: nobody may be there, not even one who would share it.
    try:
        _socket(address, shared=False).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(
            f"{address.setting}: {address.port} on {address.host}: {reason};"
            f" free it, choose another, or {address.switch}: null to do without"
        ) from None


def _socket(address: Address, *, shared: bool) -> socket.socket:
    family, kind, _, _, place = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM
    )[0]
    bound = socket.socket(family, kind)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(place)
    except BaseException:
        bound.close()
        raise
    return bound


@contextmanager
def _talking(path: Path) -> Iterator[socket.socket | None]:
    """Connect to a neighbour; None when it is gone. Whatever fails later ends the talk alone."""
    with ExitStack() as stack:
        try:
            neighbour = stack.enter_context(socket.socket(socket.AF_UNIX))
            neighbour.settimeout(NEIGHBOUR_TIMEOUT_S)
            neighbour.connect(str(path))
        except OSError as error:
            if isinstance(error, ConnectionRefusedError):
                path.unlink(missing_ok=True)  # it was killed
            yield None
            return
        with suppress(OSError):
            yield neighbour


def _received(handle: int) -> socket.socket:
    os.set_inheritable(handle, False)  # or a child process would keep the port
    return socket.socket(fileno=handle)


def _answer_all(server: socket.socket, keeper: Keeper) -> None:
    while True:
        try:
            neighbour, _ = server.accept()
        except OSError:
            return  # stopped
        with suppress(OSError), neighbour:
            neighbour.settimeout(NEIGHBOUR_TIMEOUT_S)
            _answer(neighbour, keeper)


def _answer(neighbour: socket.socket, keeper: Keeper) -> None:
    asked, handles, _, _ = socket.recv_fds(neighbour, len(SPARE), 1)
    if asked == TAKE and handles:
        taken = keeper.take(_received(handles[0]))
        neighbour.sendall(DONE if taken else NONE)
    elif asked == SPARE:
        spare = keeper.spare()
        if spare is None:
            neighbour.sendall(NONE)
            return
        try:
            socket.send_fds(neighbour, [DONE], [spare.fileno()])
        except OSError:
            keeper.take(spare)  # whoever asked is gone
        else:
            spare.close()
