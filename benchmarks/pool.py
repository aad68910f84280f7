"""Measure a pool of many models beside a replica of one's own: python -m benchmarks.pool.

Clients ask the pool's models in a skewed order (Zipf: the k-th is asked 1/k as often as the
first), and the dedicated model in windows of the same length between: one client that asks
again when it has its answer, then several with requests that arrive at a constant rate on the
whole. At full speed, loading what was evicted would take the processors from everything else.

Every answer is checked. A request counts as warm unless it is the first one for its model;
that one waits for the model to be loaded. What comes back after it was evicted counts as warm,
as a client cannot know.
"""

import argparse
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import psutil
import yaml

from benchmarks.pooled_models import DEDICATED, KINDS, name_of
from benchmarks.serving.running import (
    REPOSITORY,
    Launch,
    StartError,
    clean_environment,
    free_port,
    running,
    wait_until_ready,
)

BAR = 1.3
"""Largest ratio of the pool's warm p50 to the dedicated replica's."""

POOL = "tail"
SKEW = 1.0
"""Exponent of the Zipf distribution."""

SAMPLE_S = 0.1
"""Between two looks at the memory of the pool's replicas, seconds."""

MIB = 1024 * 1024
TIMEOUT_S = 60.0
"""Longest wait for an answer; the fleet's own deadline is shorter, seconds."""


@dataclass(frozen=True, slots=True)
class Known:
    """Rows and what the models answer to them."""

    bodies: tuple[bytes, ...]
    answers: np.ndarray
    """By kind and row."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked."""

    n_connections: int

    rate_per_s: float | None
    """Of all requests; None asks again as soon as there is an answer."""


@dataclass(slots=True)
class Reading:
    """What clients saw."""

    warm_s: list[float] = field(default_factory=list)
    cold_s: list[float] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, other: "Reading") -> None:
        """Take over what another client saw."""
        self.warm_s += other.warm_s
        self.cold_s += other.cold_s
        self.faults += other.faults


class Client:
    """One keep-alive connection that sends prepared requests and checks the answers."""

    def __init__(self, port: int, known: Known, seed: int) -> None:
        self._port = port
        self._known = known
        self.random = np.random.default_rng(seed)
        self._socket = self._connect()

    def ask(self, model: str, kind: int) -> tuple[float, str | None]:
        """Send one request; returns how long it took, seconds, and what was wrong."""
        row = int(self.random.integers(len(self._known.bodies)))
        body = self._known.bodies[row]
        head = f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
        started_s = time.perf_counter()
        try:
            self._socket.sendall(head.encode() + b"\r\n\r\n" + body)
            status, answer = self._read()
        except OSError as error:
            self._socket = self._connect()
            return time.perf_counter() - started_s, f"{model}: {error}"
        took_s = time.perf_counter() - started_s
        if status != 200:
            return took_s, f"{model}: {status} {answer[:200]!r}"
        found = msgspec.json.decode(answer)["outputs"][0]["data"]
        expected = self._known.answers[kind, row]
        return took_s, None if found == [expected] else f"{model}: {found}, not {expected}"

    def moments(self, began_s: float, length_s: float, load: Load) -> Iterator[float]:
        """When to ask, from some time on and for so long; arrivals are a Poisson process."""
        due_s = began_s
        while due_s < began_s + length_s:
            yield due_s
            if load.rate_per_s is None:
                due_s = time.perf_counter()
            else:
                due_s += self.random.exponential(load.n_connections / load.rate_per_s)

    def _connect(self) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", self._port), timeout=TIMEOUT_S)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    def _read(self) -> tuple[int, bytes]:
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self._received()
        head = data[:end].lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(data) < end + 4 + length:
            data += self._received()
        return int(head[9:12]), data[end + 4 :]

    def _received(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the connection was closed")
        return data


def main() -> int:
    """Run the benchmark; 0 if every answer was right, whether or not the bar was met."""
    plan = parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="rp-", dir="/tmp") as name:
        folder = Path(name)
        print(f"registering {plan.models} models", flush=True)
        register(folder / "home", plan.models)
        with np.load(folder / "home" / "known.npz") as stored:
            known = Known(tuple(map(body_of, stored["rows"])), stored["answers"])
        (folder / "ray").mkdir()
        try:
            return measure(plan, folder, known)
        except StartError as error:
            print(f"benchmark: {error}", file=sys.stderr)
            return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pool",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--models", type=int, default=500, help="in the pool")
    parser.add_argument("--replicas", type=int, default=2, help="of the pool")
    parser.add_argument("--memory-mib", type=int, default=600, help="of each replica")
    parser.add_argument("--connections", type=int, default=8, help="of the several clients")
    parser.add_argument("--rate-per-s", type=float, default=100.0, help="of all their requests")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of windows for each")
    parser.add_argument("--window-s", type=float, default=2.0, help="length of a window")
    return parser


def register(home: Path, n_models: int) -> None:
    """Fill a home folder with models."""
    home.mkdir()
    command = [sys.executable, "-m", "benchmarks.pooled_models", str(home), str(n_models)]
    subprocess.run(command, check=True, cwd=REPOSITORY, env=clean_environment())


def body_of(row: np.ndarray) -> bytes:
    """The request for one row."""
    tensor = {"name": "input-0", "shape": [1, len(row)], "datatype": "FP64", "data": row.tolist()}
    return msgspec.json.encode({"inputs": [tensor]})


def measure(plan: argparse.Namespace, folder: Path, known: Known) -> int:
    """Host the models, measure, print; returns the exit status."""
    port, express = free_port(), free_port()
    config = fleet_config(plan, port, express)
    path = folder / "fleet.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    command = (str(Path(sys.executable).with_name("rayfleet")), "serve", str(path))
    environment = {
        "RAYFLEET_HOME": str(folder / "home"),
        "RAY_TMPDIR": str(folder / "ray"),
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "log"
    with running(Launch(command, environment), log=log) as process:
        wait_until_ready(f"http://127.0.0.1:{express}/v2/health/ready", process=process, log=log)
        with watched_memory(folder / "ray") as most_bytes:
            cold = touch_all(plan, express, known)
            results = {
                "one client, at once": alternate(plan, express, known, Load(1, None)),
                f"{plan.connections} clients, {plan.rate_per_s:g}/s": alternate(
                    plan, express, known, Load(plan.connections, plan.rate_per_s)
                ),
            }
        return report(plan, cold, results, most_bytes)


def fleet_config(plan: argparse.Namespace, port: int, express: int) -> dict[str, object]:
    """A pool, and one model with a replica of its own."""
    pool = {
        "models": [f"{POOL}-*"],
        "num_replicas": plan.replicas,
        "memory_mib": plan.memory_mib,
    }
    models = {DEDICATED: {"transport": "direct"}}
    user_config = {"models": models, "pools": {POOL: pool}}
    fleet = {
        "name": "fleet",
        "route_prefix": "/",
        "import_path": "deployments.fleet:build",
        "args": {"express": {"port": express, "grpc_port": None}, "control": None},
        "deployments": [{"name": "Controller", "user_config": user_config}],
    }
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [fleet],
    }


def touch_all(plan: argparse.Namespace, port: int, known: Known) -> Reading:
    """Ask every model of the pool once, and the dedicated one until it is quick."""
    client, reading = Client(port, known, seed=0), Reading()
    for number in range(plan.models):
        took_s, fault = client.ask(name_of(number), number % KINDS)
        reading.cold_s.append(took_s)
        reading.faults += [fault] if fault else []
    for _ in range(200):
        client.ask(DEDICATED, plan.models % KINDS)
    return reading


def alternate(plan: argparse.Namespace, port: int, known: Known, load: Load) -> dict[str, Reading]:
    """Measure pool and dedicated replica in turns."""
    readings = {POOL: Reading(), DEDICATED: Reading()}
    for number in range(plan.rounds):
        for target, reading in readings.items():
            models = zipf(plan.models) if target == POOL else only(plan.models)
            clients = [
                Client(port, known, seed=number * load.n_connections + each)
                for each in range(load.n_connections)
            ]
            reading.add(window(models, clients, load, plan.window_s))
    return readings


Draw = Callable[[np.random.Generator], tuple[str, int]]
"""Name and kind of the model to ask next."""


def zipf(n_models: int) -> Draw:
    """Draw models by rank, which has nothing to do with their order."""
    ranked = np.random.default_rng(0).permutation(n_models)
    shares = 1.0 / np.arange(1, n_models + 1) ** SKEW
    edges = np.cumsum(shares / shares.sum())

    def draw(random: np.random.Generator) -> tuple[str, int]:
        rank = int(np.searchsorted(edges, random.random()))
        number = int(ranked[min(rank, n_models - 1)])
        return name_of(number), number % KINDS

    return draw


def only(n_models: int) -> Draw:
    """Draw the dedicated model, which is registered after the pool's."""
    return lambda _: (DEDICATED, n_models % KINDS)


def window(draw: Draw, clients: Sequence[Client], load: Load, length_s: float) -> Reading:
    """Have clients ask for some time."""
    readings = [Reading() for _ in clients]
    began_s = time.perf_counter()

    def ask(client: Client, reading: Reading) -> None:
        for due_s in client.moments(began_s, length_s, load):
            late_s = time.perf_counter() - due_s
            if late_s < 0:
                time.sleep(-late_s)
            took_s, fault = client.ask(*draw(client.random))
            # Who is held up by the answer before counts from when it should have asked.
            reading.warm_s.append(took_s + max(0.0, late_s))
            reading.faults += [fault] if fault else []

    pairs = zip(clients, readings, strict=True)
    threads = [threading.Thread(target=ask, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    total = Reading()
    for reading in readings:
        total.add(reading)
    return total


@contextmanager
def watched_memory(ray_tmpdir: Path) -> Iterator[dict[int, int]]:
    """Look at the pool's replicas during a block; yields the most that each process took."""
    most_bytes: dict[int, int] = {}
    done = threading.Event()
    title = f"ray::ServeReplica:{POOL}--pool"

    def watch() -> None:
        replicas: list[psutil.Process] = []
        while not done.wait(SAMPLE_S):
            if not replicas:
                replicas = [
                    process
                    for process in psutil.process_iter(["cmdline", "environ"])
                    if " ".join(process.info["cmdline"] or []).startswith(title)
                    and (process.info["environ"] or {}).get("RAY_TMPDIR") == str(ray_tmpdir)
                ]
            for process in replicas:
                with suppress(psutil.NoSuchProcess):
                    taken = process.memory_info().rss
                    most_bytes[process.pid] = max(taken, most_bytes.get(process.pid, 0))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most_bytes
    finally:
        done.set()
        watcher.join()


def report(
    plan: argparse.Namespace,
    cold: Reading,
    results: dict[str, dict[str, Reading]],
    most_bytes: dict[int, int],
) -> int:
    """Print the table and the bars."""
    print(f"{plan.models} models on {plan.replicas} replicas of {plan.memory_mib} MiB at most")
    print(f"first request for a model: p50 {milliseconds(cold.cold_s, 50):.1f} ms")
    print(f"{'':22} {'of':>10} {'requests':>9} {'p50 ms':>8} {'p99 ms':>8}")
    faults = list(cold.faults)
    for load, readings in results.items():
        for name, reading in readings.items():
            faults += reading.faults
            p50, p99 = (milliseconds(reading.warm_s, each) for each in (50, 99))
            print(f"{load:22} {name:>10} {len(reading.warm_s):9} {p50:8.2f} {p99:8.2f}")
        ratio = statistics.median(readings[POOL].warm_s) / statistics.median(
            readings[DEDICATED].warm_s
        )
        said = "met" if ratio <= BAR else "not met"
        print(f"{load:22} p50 of the pool {ratio:.2f} of the dedicated, bar {BAR}: {said}")
    for pid, taken in most_bytes.items():
        said = "met" if taken <= plan.memory_mib * MIB else "not met"
        shown = taken / MIB
        print(f"replica {pid}: at most {shown:.0f} MiB resident, bar {plan.memory_mib}: {said}")
    print(f"{len(faults)} failed or wrong, bar 0: {'met' if not faults else 'not met'}")
    for fault in faults[:5]:
        print(f"  {fault}")
    return 1 if faults else 0


def milliseconds(seconds: list[float], percentile: float) -> float:
    """A percentile in milliseconds."""
    return float(np.percentile(seconds, percentile)) * 1000


if __name__ == "__main__":
    sys.exit(main())
