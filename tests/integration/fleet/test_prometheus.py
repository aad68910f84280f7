"""A real Prometheus, on the config that we ship, collects the fleet's metrics and Ray's."""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest

CONFIG = Path(__file__).parents[3] / "configs" / "monitoring" / "prometheus.yaml"

WITHIN_S = 60.0
"""Longest time until both kinds of targets were scraped: a few scrape intervals."""

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(
        shutil.which("prometheus") is None,
        reason="prometheus is missing: apt-get install prometheus",
    ),
]


@pytest.fixture(scope="module")
def prometheus(fleet: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Base address of a Prometheus that runs on the shipped config, addresses replaced."""
    folder = tmp_path_factory.mktemp("prometheus")
    text = replace_once(CONFIG.read_text(), "127.0.0.1:8000", fleet.url.removeprefix("http://"))
    text = replace_once(text, "/tmp/ray/", f"{fleet.ray_tmpdir}/ray/")
    (folder / "prometheus.yaml").write_text(replace_once(text, "interval: 5s", "interval: 1s"))

    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}"]
    command += [f"--web.listen-address={address}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_targets_of_both_kinds_are_up(prometheus: str) -> None:
    def both_are_up() -> bool:
        targets = ask(prometheus, "targets")["activeTargets"]
        up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
        return up == {"rayfleet", "ray"}

    assert eventually(both_are_up)


def test_fleet_counters_arrive_with_their_labels(prometheus: str, fleet: Any) -> None:
    version = str(fleet.models["breast-cancer"].version)
    path = f"/v2/models/breast-cancer/versions/{version}/infer"
    row = fleet.models["breast-cancer"].holdout_rows[:1]
    assert post(fleet.url + path, infer_request(row)) == 200

    query = f'rayfleet_requests_total{{model="breast-cancer",version="{version}",code="200"}}'
    labels = first_labels(prometheus, query)

    assert set(labels) >= {"gateway", "model", "version", "track", "protocol", "code"}


def test_ray_metrics_arrive(prometheus: str) -> None:
    assert first_labels(prometheus, '{__name__=~"ray_.+"}')


def replace_once(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {CONFIG.name}"
    return text.replace(old, new)


def infer_request(row: Any) -> dict[str, Any]:
    tensor = {"name": "input-0", "shape": list(row.shape), "datatype": "FP64"}
    return {"inputs": [{**tensor, "data": row.ravel().tolist()}]}


def post(url: str, body: dict[str, Any]) -> int:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return int(response.status)


def ask(prometheus: str, question: str, **parameters: str) -> Any:
    """Call Prometheus's API; nothing is found while it does not listen yet."""
    query = urllib.parse.urlencode(parameters)
    try:
        with urllib.request.urlopen(f"{prometheus}/api/v1/{question}?{query}", timeout=5) as answer:
            return json.load(answer)["data"]
    except URLError:
        return {"activeTargets": [], "result": []}


def first_labels(prometheus: str, query: str) -> dict[str, str]:
    found: list[dict[str, Any]] = []

    def has_series() -> bool:
        found.extend(ask(prometheus, "query", query=query)["result"])
        return bool(found)

    assert eventually(has_series), f"no series for {query} within {WITHIN_S:g} s"
    labels: dict[str, str] = found[0]["metric"]
    return labels


def eventually(holds: Any) -> bool:
    deadline_s = time.monotonic() + WITHIN_S
    while not (held := holds()) and time.monotonic() < deadline_s:
        time.sleep(0.2)
    return bool(held)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
