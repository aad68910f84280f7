"""A real rsyslog on the shipped config, and what it ships to."""

import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.documents import REPOSITORY

CONFIG = REPOSITORY / "configs" / "logging" / "rsyslog.conf"


class Index:
    """Documents that arrived by Elasticsearch's bulk API, as far as shippers speak it."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.actions: list[dict[str, Any]] = []

    def bulk(self, body: bytes) -> dict[str, Any]:
        """Take actions and documents, line after line in turn; answer as Elasticsearch does."""
        assert body.endswith(b"\n")
        lines = [json.loads(line) for line in body.splitlines()]
        self.actions += lines[0::2]
        self.documents += lines[1::2]
        item = {"create": {"status": 201, "result": "created"}}
        return {"took": 1, "errors": False, "items": [item] * (len(lines) // 2)}

    def find(self, **fields: str) -> list[dict[str, Any]]:
        """Documents in which fields have these values."""
        return [
            document
            for document in list(self.documents)
            if all(document.get(name) == value for name, value in fields.items())
        ]


@contextmanager
def shipped(logs: Path, folder: Path) -> Iterator[Index]:
    """Ship what Ray keeps in a folder.

    Args:
        logs: The session's.
        folder: For the shipper's own files.
    """
    index = Index()
    with _listening(index) as port:
        text = CONFIG.read_text()
        for old, new in (
            ("/tmp/ray/session_latest/logs/serve/", f"{logs}/serve/"),
            ("/tmp/ray/session_latest/logs/job-driver-", f"{logs}/job-driver-"),
            ('workDirectory=".rayfleet"', f'workDirectory="{folder}"'),
            ('serverport="9200"', f'serverport="{port}"'),
        ):
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        config = folder / "rsyslog.conf"
        config.write_text(text)
        command = ["rsyslogd", "-n", "-f", str(config), "-i", str(folder / "pid")]
        with (folder / "rsyslog.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield index
        finally:
            process.terminate()
            process.wait(timeout=30)


@contextmanager
def _listening(index: Index) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # of its health
            self._answer({"status": "green"})

        def do_HEAD(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            assert self.path.endswith("_bulk")
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._answer(index.bulk(body))

        def _answer(self, said: dict[str, Any]) -> None:
            body = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
