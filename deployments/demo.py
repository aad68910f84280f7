"""`rayfleet demo`: the whole job on real data, with the same commands that a user types.

Tune three models, register them, serve them, predict hold-out rows over HTTP in every
protocol, then split one model's traffic with a second version. Nothing is left running.
"""

import http.client
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from rich.console import Console
from rich.table import Table

from deployments.errors import FleetError
from deployments.processes import ProcessTree
from deployments.protocols.tensors import Array
from deployments.server import base_url, console_script, is_ready
from deployments.validation import address_faults
from tuning.flavors import predicted_codes
from tuning.holdout import holdout_rows
from tuning.home import Home, resolve_home
from tuning.registry import open_registry
from tuning.spec import read_sweep

CONFIG = Path("configs/fleet.yaml")
SWEEPS = tuple(Path(f"configs/sweeps/{name}.yaml") for name in ("breast-cancer", "digits", "wine"))
CHALLENGER = Path("configs/sweeps/breast-cancer-challenger.yaml")

READY_S = 180.0
"""Longest wait for the fleet, or for a new version; a slow disk loads TensorFlow for a minute."""

SPLIT_REQUESTS = 2000
"""Requests that show the split: at 10 %, one standard deviation is 0.7 %."""

KEYS = 200
"""Routing keys that are asked twice to show that they stick."""


class DemoError(FleetError):
    """A step of the demo did not hold what it promises."""


@dataclass(frozen=True, slots=True)
class Served:
    """One served version, and what was known of it before it was served."""

    model: str
    version: str
    sweep: Path
    offline: float
    """Hold-out accuracy at registration."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Hold-out accuracy over HTTP, by how the rows were sent."""

    served: Served
    accuracies: dict[str, float]


class Client:
    """A keep-alive connection to the fleet."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[Any, bytes]:
        """Send a body; returns the answer's headers and body.

        Raises:
            DemoError: The answer is not 200.
        """
        self._connection.request("POST", path, body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise DemoError(f"POST {path}: {answer.status} {content.decode(errors='replace')}")
        return answer.headers, content


def run() -> int:
    """Do all steps; returns the exit status.

    Raises:
        FleetError: A step failed, or there is something in its way.
    """
    console = Console()
    home = resolve_home()
    started_s = time.monotonic()
    faults = address_faults(CONFIG)
    if faults:
        raise DemoError("\n".join(faults))

    with _step(console, "1 and 2 of 5: tune and register three models"):
        for sweep in SWEEPS:
            _tune(console, sweep)
    champions = [_served(home, sweep, "champion") for sweep in SWEEPS]

    log = home.root / "demo-serve.log"
    url = base_url(CONFIG)
    with log.open("wb") as output, _fleet(output, home) as fleet:
        with _step(console, f"3 of 5: serve {CONFIG} with Ray Serve and HAProxy"):
            _wait(console, "fleet", lambda: is_ready(url), fleet, log)
            console.print(f"  ready at {url}, log in {log}", highlight=False, soft_wrap=True)
        with _step(console, "4 of 5: predict the hold-out rows over HTTP"):
            measured = [_measure(console, url, served) for served in champions]
        with _step(console, "5 of 5: split traffic with a second version"):
            _tune(console, CHALLENGER)
            challenger = _served(home, CHALLENGER, "challenger")
            _wait_for_split(console, url, champions[0], challenger, fleet, log)
            split = _split(console, url, champions[0])
    _summary(console, measured, split, time.monotonic() - started_s)
    return 0


@contextmanager
def _step(console: Console, title: str) -> Iterator[None]:
    console.rule(title, align="left")
    started_s = time.monotonic()
    yield
    console.print(f"[dim]  {time.monotonic() - started_s:.0f} s[/dim]")


def _tune(console: Console, sweep: Path) -> None:
    console.print(f"$ python -m tuning {sweep}", highlight=False)
    # A Ray of its own, whatever else runs on this machine.
    with ProcessTree([sys.executable, "-m", "tuning", str(sweep)], {"RAY_ADDRESS": "local"}) as job:
        status = job.wait()
    if status != 0:
        raise DemoError(f"python -m tuning {sweep}: exit status {status}")


def _served(home: Home, sweep: Path, alias: str) -> Served:
    spec = read_sweep(sweep)
    version = open_registry(home).get_model_version_by_alias(spec.model, alias)
    tags = version.tags
    return Served(
        model=version.name,
        version=str(version.version),
        sweep=sweep,
        offline=float(json.loads(tags["rayfleet.holdout"])["accuracy"]),
    )


def _fleet(output: Any, home: Home) -> ProcessTree:
    command = [console_script("rayfleet"), "serve", str(CONFIG), "--address", "local"]
    return ProcessTree(command, home.environment(), output)


def _wait(
    console: Console, what: str, ready: Callable[[], bool], fleet: ProcessTree, log: Path
) -> None:
    deadline_s = time.monotonic() + READY_S
    with console.status(f"waiting for the {what}"):
        while not ready():
            if fleet.poll() is not None:
                last = log.read_text(errors="replace").strip().rpartition("\n")[2]
                raise DemoError(f"the fleet ended before the {what} was ready: {last}; see {log}")
            if time.monotonic() > deadline_s:
                raise DemoError(f"the {what} was not ready within {READY_S:.0f} s, see {log}")
            time.sleep(0.3)


def _measure(console: Console, url: str, served: Served) -> Measured:
    """Send every hold-out row in each protocol, and compare with the offline accuracy."""
    holdout = holdout_rows(read_sweep(served.sweep))
    rows = np.asarray(holdout.rows)
    client = Client(url)
    infer = f"/v2/models/{served.model}/infer"
    pinned = f"/v2/models/{served.model}/versions/{served.version}/infer"
    invocations = f"/models/{served.model}/invocations"
    answers: dict[str, Array] = {
        "JSON": _infer_json(client, infer, rows),
        "binary": _infer_binary(client, infer, rows),
        "version in the URL": _infer_json(client, pinned, rows),
        "invocations": _invoke(client, invocations, rows),
    }
    accuracies = {
        way: float((predicted_codes(answer) == holdout.labels).mean())
        for way, answer in answers.items()
    }
    for way, accuracy in accuracies.items():
        if accuracy != served.offline:
            raise DemoError(
                f"{served.model}: {way} gives accuracy {accuracy}, offline it is {served.offline}"
            )
    console.print(
        f"  {served.model} version {served.version}: {len(rows)} rows, accuracy"
        f" {served.offline:.4f} offline and by {', '.join(accuracies)}",
        highlight=False,
        soft_wrap=True,
    )
    return Measured(served, accuracies)


def _infer_json(client: Client, path: str, rows: Array) -> Array:
    entry = {**_tensor(rows), "data": rows.ravel().tolist()}
    _, body = client.post(path, json.dumps({"inputs": [entry]}).encode(), {})
    output = json.loads(body)["outputs"][0]
    return np.asarray(output["data"]).reshape(output["shape"])


def _infer_binary(client: Client, path: str, rows: Array) -> Array:
    blob = rows.tobytes()
    request = {
        "inputs": [{**_tensor(rows), "parameters": {"binary_data_size": len(blob)}}],
        "parameters": {"binary_data_output": True},
    }
    head = json.dumps(request).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    headers, body = client.post(path, head + blob, length)
    split = int(headers["Inference-Header-Content-Length"])
    output = json.loads(body[:split])["outputs"][0]
    dtype = {"INT64": np.int64, "FP32": np.float32}[output["datatype"]]
    return np.frombuffer(body[split:], dtype).reshape(output["shape"])


def _invoke(client: Client, path: str, rows: Array) -> Array:
    body = json.dumps({"inputs": rows.tolist()}).encode()
    _, answer = client.post(path, body, {"Content-Type": "application/json"})
    return np.asarray(json.loads(answer)["predictions"])


def _tensor(rows: Array) -> dict[str, Any]:
    datatype = {"float64": "FP64", "float32": "FP32"}[rows.dtype.name]
    return {"name": "input-0", "shape": list(rows.shape), "datatype": datatype}


def _wait_for_split(
    console: Console, url: str, champion: Served, challenger: Served, fleet: ProcessTree, log: Path
) -> None:
    """Wait until the challenger answers some of the requests that name no version."""
    ask = _asker(url, champion)

    def challenger_answers() -> bool:
        return any(ask({"X-Routing-Key": f"probe-{n}"}) == challenger.version for n in range(60))

    _wait(console, "challenger", challenger_answers, fleet, log)


def _asker(url: str, champion: Served) -> Callable[[dict[str, str]], str]:
    """A function that sends one row with some headers and tells which version answered."""
    client = Client(url)
    row = np.asarray(holdout_rows(read_sweep(champion.sweep)).rows)[:1]
    body = json.dumps({"inputs": [{**_tensor(row), "data": row.ravel().tolist()}]}).encode()

    def ask(headers: dict[str, str]) -> str:
        _, answer = client.post(f"/v2/models/{champion.model}/infer", body, headers)
        return str(json.loads(answer)["model_version"])

    return ask


def _split(console: Console, url: str, champion: Served) -> dict[str, float]:
    """Count who answers, and ask some keys twice."""
    ask = _asker(url, champion)
    counts = Counter(ask({"X-Request-Id": f"request-{n}"}) for n in range(SPLIT_REQUESTS))
    first = [ask({"X-Routing-Key": f"user-{n}"}) for n in range(KEYS)]
    again = [ask({"X-Routing-Key": f"user-{n}"}) for n in range(KEYS)]
    if first != again:
        raise DemoError("a routing key changed its version without a change of weights")
    shares = {version: count / SPLIT_REQUESTS for version, count in sorted(counts.items())}
    shown = ", ".join(f"version {version} {share:.1%}" for version, share in shares.items())
    console.print(
        f"  {champion.model}: asked for 90 % and 10 %, saw {shown} of {SPLIT_REQUESTS} requests",
        f"  {KEYS} routing keys asked twice: each got its own version both times",
        sep="\n",
        highlight=False,
        soft_wrap=True,
    )
    return shares


def _summary(
    console: Console, measured: list[Measured], split: dict[str, float], seconds: float
) -> None:
    table = Table(title=f"Rayfleet demo, {seconds:.0f} s", title_justify="left")
    for column in ("model", "version", "hold-out accuracy", "over HTTP", "traffic"):
        table.add_column(column, no_wrap=True)
    for item in measured:
        served = item.served
        share = split if served is measured[0].served else {served.version: 1.0}
        table.add_row(
            served.model,
            served.version,
            f"{served.offline:.4f}",
            "equal" if set(item.accuracies.values()) == {served.offline} else "differs",
            ", ".join(f"v{version} {part:.1%}" for version, part in share.items()),
        )
    console.print(table)
    console.print("Nothing is left running. Host these models: make serve", highlight=False)
