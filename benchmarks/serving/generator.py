"""A load generator of our own, for what wrk cannot do: constant arrivals and binary bodies.

One thread and raw sockets, without asyncio: each answer is checked, on the machine that also
runs the server. `python -m benchmarks.serving.generator` says how much it can send here.
"""

import argparse
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.serving.arrivals import Arrivals
from benchmarks.serving.canned import CANNED
from benchmarks.serving.dialects import Dialect, Question, check
from benchmarks.serving.readings import Reading, summarize
from benchmarks.serving.workload import Workload

READ_BYTES = 1 << 18

GRACE_S = 5.0
"""How long answers may come after the last request was due, seconds."""

CONNECTIONS = 64
"""Of an open loop: what is due while all of them wait for answers goes when one is free."""

IsRight = Callable[[int, bytes, Mapping[str, str]], bool]
"""Whether a body with its headers answers the question at a position."""


@dataclass(slots=True, eq=False)
class _Connection:
    """One keep-alive connection, with at most one request under way."""

    socket: socket.socket
    position: int = -1
    since_s: float = 0.0
    busy: bool = False
    unsent: memoryview = field(default_factory=lambda: memoryview(b""))
    received: bytearray = field(default_factory=bytearray)
    body_at: int = 0
    ends_at: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 0


class Generator:
    """Sends questions in turn and checks the answers."""

    def __init__(self, port: int, questions: Sequence[bytes], is_right: IsRight) -> None:
        self._address = ("127.0.0.1", port)
        self._questions = questions
        self._is_right = is_right
        self._epoll = select.epoll()
        self._connections: dict[int, _Connection] = {}
        self._idle: deque[_Connection] = deque()
        self._position = 0
        self._latencies_s: list[float] = []
        self._faults = 0
        self._began_s = 0.0

    def closed(self, connections: int, duration_s: float) -> Reading:
        """Let each connection ask again as soon as it is answered."""
        self._open(connections)
        while (now_s := self._now_s()) < duration_s:
            while self._idle:
                self._ask(self._idle.popleft(), now_s)
            self._exchange(duration_s - now_s)
        reading = summarize(self._latencies_s, duration_s=self._now_s(), faults=self._faults)
        self._close()
        return reading

    def open(self, rate_per_s: float, duration_s: float) -> Reading:
        """Ask at a constant rate, measuring from when each request should have been sent."""
        arrivals = Arrivals(rate_per_s, duration_s)
        due: deque[float] = deque()
        self._open(CONNECTIONS)
        deadline_s = duration_s + GRACE_S
        while (now_s := self._now_s()) < deadline_s:
            due.extend(arrivals.take(now_s))
            while due and self._idle:
                self._ask(self._idle.popleft(), due.popleft())
            next_s = arrivals.next_s
            if next_s is None and not due and len(self._idle) == len(self._connections):
                break
            until_s = deadline_s if next_s is None else next_s
            self._exchange(max(0.0, until_s - self._now_s()))
        unanswered = arrivals.total - len(self._latencies_s) - self._faults
        reading = summarize(
            self._latencies_s,
            duration_s=max(duration_s, self._now_s()),
            faults=self._faults + max(0, unanswered),
            offered_per_s=rate_per_s,
        )
        self._close()
        return reading

    def _now_s(self) -> float:
        return time.perf_counter() - self._began_s

    def _open(self, connections: int) -> None:
        self._latencies_s, self._faults = [], 0
        for _ in range(connections):
            self._connect()
        self._began_s = time.perf_counter()

    def _connect(self) -> None:
        peer = socket.create_connection(self._address)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.setblocking(False)
        connection = _Connection(peer)
        self._connections[peer.fileno()] = connection
        self._epoll.register(peer.fileno(), select.EPOLLIN)
        self._idle.append(connection)

    def _close(self) -> None:
        for connection in self._connections.values():
            connection.socket.close()
        self._epoll.close()

    def _ask(self, connection: _Connection, since_s: float) -> None:
        connection.position = self._position
        self._position = (self._position + 1) % len(self._questions)
        connection.since_s = since_s
        connection.busy = True
        connection.received.clear()
        connection.ends_at = 0
        connection.unsent = memoryview(self._questions[connection.position])
        self._send(connection)

    def _send(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.unsent)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose(connection)
            return
        was_waiting = len(connection.unsent) < len(self._questions[connection.position])
        connection.unsent = connection.unsent[sent:]
        if connection.unsent:
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
        elif was_waiting:
            self._epoll.modify(connection.socket.fileno(), select.EPOLLIN)

    def _exchange(self, timeout_s: float) -> None:
        # epoll's own timeout is in whole milliseconds, too coarse for arrivals.
        if not select.select((self._epoll.fileno(),), (), (), timeout_s)[0]:
            return
        for descriptor, events in self._epoll.poll(0):
            connection = self._connections[descriptor]
            if events & select.EPOLLOUT:
                self._send(connection)
            if events & ~select.EPOLLOUT and descriptor in self._connections:
                self._receive(connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(connection)
            return
        connection.received += data
        if connection.ends_at == 0 and not _read_head(connection):
            return
        if len(connection.received) < connection.ends_at:
            return
        self._finish(connection)

    def _finish(self, connection: _Connection) -> None:
        connection.busy = False
        body = bytes(connection.received[connection.body_at : connection.ends_at])
        if connection.status == 200 and self._is_right(
            connection.position, body, connection.headers
        ):
            self._latencies_s.append(self._now_s() - connection.since_s)
        else:
            self._faults += 1
        if connection.headers.get("connection", "").lower() == "close":
            self._replace(connection)
        else:
            self._idle.append(connection)

    def _lose(self, connection: _Connection) -> None:
        """Count a request whose connection broke; one that was idle loses nothing."""
        if connection.busy:
            self._faults += 1
        else:
            self._idle.remove(connection)
        self._replace(connection)

    def _replace(self, connection: _Connection) -> None:
        del self._connections[connection.socket.fileno()]
        connection.socket.close()
        self._connect()


def _read_head(connection: _Connection) -> bool:
    """Read status and headers once they are there.

    Raises:
        ValueError: The answer has no length; no server here streams.
    """
    end = connection.received.find(b"\r\n\r\n")
    if end < 0:
        return False
    first, *lines = connection.received[:end].decode("latin-1").split("\r\n")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if "content-length" not in headers:
        raise ValueError(f"an answer without Content-Length: {first}, {headers}")
    connection.status = int(first.split(" ", 2)[1])
    connection.headers = headers
    connection.body_at = end + 4
    connection.ends_at = connection.body_at + int(headers["content-length"])
    return True


def http_bytes(port: int, path: str, question: Question) -> bytes:
    """Write a POST as it goes over the wire."""
    headers = {
        "Host": f"127.0.0.1:{port}",
        **question.headers,
        "Content-Length": str(len(question.body)),
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + question.body


def make_generator(port: int, workload: Workload, dialect: Dialect) -> Generator:
    """Prepare all questions of a workload for a server on a port."""
    path = dialect.path.format(model=workload.model)
    questions = [
        http_bytes(port, path, dialect.encode(position, rows))
        for position, rows in enumerate(workload.questions)
    ]
    return Generator(port, questions, check(workload, dialect))


def own_limit(duration_s: float) -> Reading:
    """Ask a server that answers without reading: what the generator can send at most."""
    command = [sys.executable, "-m", "benchmarks.serving.canned"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            question = Question({"Content-Type": "application/json"}, b"x" * 700)
            generator = Generator(
                port,
                [http_bytes(port, "/", question)],
                lambda _position, body, _headers: body == CANNED,
            )
            return generator.closed(CONNECTIONS, duration_s)
        finally:
            server.kill()


def main() -> None:
    """Print the generator's own limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration-s", type=float, default=3.0)
    reading = own_limit(parser.parse_args().duration_s)
    print(f"{reading.requests_per_s:,.0f} requests/s, p99 {reading.p99_ms:.2f} ms")


if __name__ == "__main__":
    main()
