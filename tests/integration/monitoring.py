"""A real Prometheus and Alertmanager on the shipped configs, with other addresses and in haste."""

import email
import email.policy
import http.server
import json
import os
import queue
import re
import shutil
import socketserver
import subprocess
import threading
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.error import HTTPError, URLError

from deployments.haproxy import free_port
from tests.documents import REPOSITORY

CONFIGS = REPOSITORY / "configs" / "monitoring"

RUNBOOKS = "https://runbooks.test/page"


@dataclass(frozen=True, slots=True)
class Monitoring:
    """What watches a fleet."""

    prometheus: str
    """Base address."""

    received: "Received"
    """What Alertmanager has sent."""

    def ask(self, question: str, **parameters: str) -> Any:
        """Call Prometheus's API; nothing is found while it does not listen yet."""
        query = urllib.parse.urlencode(parameters)
        address = f"{self.prometheus}/api/v1/{question}?{query}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except HTTPError as error:
            said = error.read().decode()
            assert error.code == 503, f"{parameters}: {said}"  # noqa: PT017, it still starts
        except URLError:
            pass
        return {"activeTargets": [], "result": []}

    def series(self, query: str) -> list[dict[str, Any]]:
        """All series of an expression, now."""
        return list(self.ask("query", query=query)["result"])


class Received:
    """Bodies by the path that they were sent to."""

    def __init__(self) -> None:
        self._bodies: defaultdict[str, queue.SimpleQueue[dict[str, Any]]] = defaultdict(
            queue.SimpleQueue
        )

    def put(self, path: str, body: dict[str, Any]) -> None:
        """Take a body."""
        self._bodies[path].put(body)

    def next(self, path: str, alert: str, within_s: float) -> dict[str, Any]:
        """Wait for the next body at a path that is about an alert; others are dropped."""
        while alert not in json.dumps(body := self._bodies[path].get(timeout=within_s)):
            pass
        return body


@contextmanager
def monitored(fleet_address: str, ray_tmpdir: Path, folder: Path) -> Iterator[Monitoring]:
    """Watch a fleet.

    Args:
        fleet_address: Host and port that Prometheus scrapes.
        ray_tmpdir: Where Ray lists its export ports.
        folder: For configs, data and logs.
    """
    shutil.copytree(CONFIGS, folder, dirs_exist_ok=True)
    received = Received()
    prometheus, manager = (f"127.0.0.1:{free_port()}" for _ in range(2))
    with ExitStack() as stack:
        receiver = stack.enter_context(_receiving(received))
        mailbox = stack.enter_context(_receiving_mail(received))
        _rewrite(
            folder / "prometheus.yaml",
            ("127.0.0.1:8000", fleet_address),
            ("127.0.0.1:9093", manager),
            ("/tmp/ray/", f"{ray_tmpdir}/ray/"),
            ("scrape_interval: 5s", "scrape_interval: 1s"),
            ("evaluation_interval: 15s", "evaluation_interval: 1s"),
            ("refresh_interval: 10s", "refresh_interval: 1s"),
        )
        _rewrite(
            folder / "alertmanager.yaml",
            ("http://127.0.0.1:5001/alerts", f"{receiver}/alerts"),
            ("http://127.0.0.1:5001/slack", f"{receiver}/slack"),
            ("smtp_smarthost: 127.0.0.1:25", f"smtp_smarthost: {mailbox}"),
            ("group_wait: 10s", "group_wait: 1s"),
        )
        for rules in folder.glob("rules/*.yaml"):
            rules.write_text(re.sub(r"for: \d+m", "for: 0s", rules.read_text()))
        if shutil.which("prometheus-alertmanager") is not None:
            command = ["prometheus-alertmanager", f"--web.listen-address={manager}"]
            command += [
                f"--config.file={folder / 'alertmanager.yaml'}",
                "--cluster.listen-address=",
            ]
            command += [f"--storage.path={folder / 'alerts'}"]
            stack.enter_context(_running(command, folder))
        command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}"]
        command += [f"--web.listen-address={prometheus}", f"--storage.tsdb.path={folder / 'data'}"]
        command += ["--enable-feature=expand-external-labels"]
        stack.enter_context(_running(command, folder, {"RAYFLEET_RUNBOOKS": RUNBOOKS}))
        yield Monitoring(f"http://{prometheus}", received)


def _rewrite(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {path.name}"
        text = text.replace(old, new)
    path.write_text(text)


@contextmanager
def _running(
    command: Sequence[str], folder: Path, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[None]:
    environment = {**os.environ, **variables}
    with (folder / f"{command[0]}.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def _receiving(received: Received) -> Iterator[str]:
    """Take what is posted; gives the address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put(self.path, json.loads(body))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def _receiving_mail(received: Received) -> Iterator[str]:
    """Take mail as an SMTP server does that asks for nothing; gives its host and port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                match line[:4].upper():
                    case b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        received.put("/mail", _mail(b"".join(iter(self.rfile.readline, b".\r\n"))))
                        self.wfile.write(b"250 taken\r\n")
                    case b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    case _:
                        self.wfile.write(b"250 fine\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            host, port = server.server_address[:2]
            yield f"{host!s}:{port}"
        finally:
            server.shutdown()


def _mail(content: bytes) -> dict[str, Any]:
    message = email.message_from_bytes(content, policy=email.policy.default)
    parts = [part.get_content() for part in message.walk() if not part.is_multipart()]
    return {"to": message["to"], "subject": message["subject"], "text": "\n".join(parts)}
