"""Queries, to a real Prometheus and to servers that only pretend."""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.controller.prometheus import query
from deployments.errors import DependencyError, QueryError
from deployments.haproxy import free_port
from tests.receivers import receiver

pytestmark = pytest.mark.ray  # starts servers

WITHIN_S = 60.0


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that scrapes itself."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is missing: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    address = f"127.0.0.1:{free_port()}"
    jobs = [{"job_name": "itself", "static_configs": [{"targets": [address]}]}]
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": jobs}
    (folder / "prometheus.yaml").write_text(json.dumps(config))
    command = ["prometheus", f"--config.file={folder / 'prometheus.yaml'}"]
    command += [f"--web.listen-address={address}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        until_scraped(f"http://{address}")
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def until_scraped(address: str) -> None:
    give_up_at_s = time.monotonic() + WITHIN_S
    while time.monotonic() < give_up_at_s:
        try:
            if query(address, "up") == [1.0]:
                return
        except DependencyError:
            pass
        time.sleep(0.1)
    raise AssertionError("Prometheus does not scrape itself")


class TestPrometheus:
    @pytest.mark.parametrize(
        ("promql", "value"),
        [
            pytest.param("vector(1.5)", [1.5], id="vector"),
            pytest.param("scalar(vector(2))", 2.0, id="scalar"),
            pytest.param('up{job="itself"}', [1.0], id="series"),
            pytest.param('up{job="nobody"}', [], id="nothing"),
            pytest.param("vector(1)/0", [math.inf], id="infinite"),
            pytest.param('label_replace(vector(1), "a", "b+c & d", "", "")', [1.0], id="quoting"),
        ],
    )
    def test_values(self, prometheus: str, promql: str, value: Any) -> None:
        assert query(prometheus, promql) == value
        assert query(f"{prometheus}/", promql) == value

    def test_no_number(self, prometheus: str) -> None:
        (found,) = query(prometheus, "vector(0)/0")  # type: ignore[misc]

        assert math.isnan(found)

    @pytest.mark.parametrize(
        ("promql", "reason"),
        [
            pytest.param("sum(", "was refused: bad_data: ", id="malformed"),
            pytest.param("up[5m]", "gave a matrix, expected a vector or a scalar", id="range"),
            pytest.param('"text"', "gave a string, expected a vector or a scalar", id="text"),
        ],
    )
    def test_queries_that_are_refused(self, prometheus: str, promql: str, reason: str) -> None:
        with pytest.raises(QueryError) as error:
            query(prometheus, promql)

        assert str(error.value).startswith(f"Prometheus: query {promql!r} {reason}")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        pytest.param(200, b"<html>\nhello", "answered 200: <html> hello", id="another-server"),
        pytest.param(502, b"", "answered 502: ", id="proxy"),
        pytest.param(200, b'{"status": "success"}', "answered 200", id="no-data"),
        pytest.param(
            200,
            b'{"status":"success","data":{"resultType":"vector","result":[{"value":[0,"x"]}]}}',
            "answered 200",
            id="no-number",
        ),
        pytest.param(200, b"x" * 9_000_000, "an answer of more than 8388608 bytes", id="endless"),
    ],
)
def test_what_is_no_prometheus(status: int, body: bytes, reason: str) -> None:
    with (
        receiver(lambda _: (status, {}, body)) as server,
        pytest.raises(DependencyError) as error,
    ):
        query(server.url, "up")

    assert reason in str(error.value)
    assert len(str(error.value)) < 300


def test_nobody_there() -> None:
    with pytest.raises(DependencyError, match="Connection refused"):
        query(f"http://127.0.0.1:{free_port()}", "up")


def test_no_answer_in_time() -> None:
    with receiver(lambda _: None) as server, pytest.raises(DependencyError, match=r"within 0.2 s"):
        query(server.url, "up", timeout_s=0.2)
