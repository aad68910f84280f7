"""Measure what traces cost a gateway: python -m benchmarks.traces.

A gateway's whole work on a request, but for sockets and the model, is timed in processes of
their own, one for each setting in turn, round after round: without traces, with traces of
which none is sampled, and with shares that are. `--before CHECKOUT` runs the same program on
another checkout, such as one that knew no traces, to show what being able to costs. CPU time,
which what else runs on the machine disturbs little; the collector is another process's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from benchmarks.traced_gateway import OFF

PROGRAM = Path(__file__).with_name("traced_gateway.py")
HERE = PROGRAM.parents[1]

BEFORE = "before"

SHARES = (OFF, "0", "0.01", "1")

BAR = 1.03
"""Largest ratio of CPU with the code for traces, and none made, to that without the code."""


def parser() -> argparse.ArgumentParser:
    """What the command line takes."""
    parsed = argparse.ArgumentParser(
        prog="python -m benchmarks.traces", description="What traces cost a gateway."
    )
    parsed.add_argument("--rounds", type=int, default=7, help="of each setting")
    parsed.add_argument("--requests", type=int, default=40_000, help="in a round")
    parsed.add_argument("--before", type=Path, metavar="CHECKOUT", help="one without traces")
    return parsed


def main() -> int:
    """Measure, and say what came of it."""
    options = parser().parse_args()
    settings = [*([BEFORE] if options.before is not None else []), *SHARES]
    readings: dict[str, list[float]] = {setting: [] for setting in settings}
    with _swallowing() as endpoint:
        for number in range(options.rounds):
            # In turn forwards and backwards, so that no setting always comes first.
            for setting in settings if number % 2 == 0 else reversed(settings):
                checkout = options.before if setting == BEFORE else HERE
                cost_us = _measured(checkout, setting, options.requests, endpoint)
                readings[setting].append(cost_us)
    _show(readings, settings[0])
    return 0


def _measured(checkout: Path, setting: str, n_requests: int, endpoint: str) -> float:
    share = OFF if setting == BEFORE else setting
    with tempfile.TemporaryDirectory() as elsewhere:  # or the program would find our modules
        done = subprocess.run(
            [
                sys.executable, "-P", PROGRAM, "--requests", str(n_requests),
                "--share", share, "--endpoint", endpoint,
            ],
            env={**os.environ, "PYTHONPATH": str(checkout.resolve())},
            cwd=elsewhere,
            capture_output=True,
            text=True,
            check=True,
        )  # fmt: skip
    return float(done.stdout)


def _show(readings: dict[str, list[float]], first: str) -> None:
    print(f"{'traces':<10}{'CPU us/request':>16}{'ratio to ' + first:>18}{'of rounds':>20}")
    for setting, costs in readings.items():
        ratios = [cost / base for cost, base in zip(costs, readings[first], strict=True)]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        print(
            f"{setting:<10}{statistics.median(costs):>16.2f}"
            f"{statistics.median(ratios):>18.3f}{spread:>20}"
        )
    if first == BEFORE:
        pairs = zip(readings[OFF], readings[BEFORE], strict=True)
        ratio = statistics.median(off / before for off, before in pairs)
        verdict = "met" if ratio <= BAR else "missed"
        print(f"off is at most {BAR} of before: {ratio:.3f}, {verdict}")


@contextmanager
def _swallowing() -> Iterator[str]:
    """A collector that keeps nothing; gives its address."""

    class Swallowing(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Swallowing)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())
