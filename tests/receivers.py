"""HTTP servers that record what they are sent, and answer as the test says."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes


Answer = tuple[int, Mapping[str, str], bytes]


@dataclass(slots=True)
class Receiver:
    """A server on loopback."""

    url: str
    received: list[Received] = field(default_factory=list)


@contextmanager
def receiver(answer: Callable[[int], Answer | None]) -> Iterator[Receiver]:
    """Run a server.

    Args:
        answer: What to answer the n-th request, counted from 0; None: nothing, ever.
    """
    stopping = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            running.received.append(Received(self.path, dict(self.headers), body))
            answered = answer(len(running.received) - 1)
            if answered is None:
                stopping.wait(30.0)
                return
            with suppress(ConnectionError):  # who asked may be gone
                self._answer(*answered)

        def _answer(self, status: int, headers: Mapping[str, str], text: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield running
    finally:
        stopping.set()
        server.shutdown()
        server.server_close()
        thread.join()
