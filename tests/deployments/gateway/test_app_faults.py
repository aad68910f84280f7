import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from deployments.errors import OverloadedError, PredictionError
from deployments.protocols.tensors import Array, Batch
from deployments.telemetry import ERRORS, LATENCY, REQUESTS
from tests.deployments.gateway.hosted import (
    INFER,
    INVOKE,
    JSON,
    LOADING,
    MAX_BODY,
    ROW,
    Fleet,
    post,
)
from tests.fakes import make_route, make_table

INDEX = "/v2/repository/index"
UNLOAD = "/v2/repository/models/churn/unload"


@pytest.mark.usefixtures("door")
class TestFailures:
    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            pytest.param(INFER, ROW, 500, id="open-inference"),
            pytest.param(INVOKE, {"inputs": [[1, 1]]}, 400, id="mlflow"),
        ],
    )
    def test_what_the_model_raises_is_the_version_s(
        self, path: str, body: Any, status: int
    ) -> None:
        def fail(_: Batch) -> Mapping[str, Array]:
            raise PredictionError("churn", "1", "ValueError: no")

        fleet = Fleet(predict=fail)
        response = post(fleet, path, body)

        assert response.status_code == status
        assert "ValueError: no" in response.text
        ((labels, count),) = fleet.counted(ERRORS).items()
        assert (labels[:3], labels[-2:], count) == (
            ("churn", "1", "stable"), (str(status), "version"), 1,
        )  # fmt: skip
        assert response.headers["x-model-version"] == "1"

    def test_a_caller_s_mistake_leaves_no_mark_on_a_version(self) -> None:
        fleet = Fleet()
        post(fleet, INFER, b"{")

        assert {labels[-1] for labels in fleet.counted(ERRORS)} == {"caller"}

    def test_nan_is_answered_and_counted_against_the_version(self) -> None:
        fleet = Fleet(predict=lambda _: {"output-0": np.array([np.nan])})

        response = post(fleet, INFER)

        assert (response.status_code, "NaN" in response.text) == (200, True)
        assert [labels[-2:] for labels in fleet.counted(ERRORS)] == [("200", "version")]
        assert [labels[-1] for labels in fleet.counted(REQUESTS)] == ["200"]

    def test_a_promised_output_that_is_missing_is_the_version_s_failure(self) -> None:
        fleet = Fleet(predict=lambda _: {"z": np.array([1.5])})

        response = post(fleet, INFER, {**ROW, "outputs": [{"name": "output-0"}]})

        assert (response.status_code, "are promised" in response.text) == (500, True)
        assert [labels[-2:] for labels in fleet.counted(ERRORS)] == [("500", "version")]

    @pytest.mark.parametrize("path", [INFER, INVOKE])
    def test_a_caller_waits_no_longer_than_it_says(self, path: str) -> None:
        fleet = Fleet()
        fleet.transport.takes_s = 5.0
        body = ROW if path == INFER else {"inputs": [[1, 1]]}

        response = post(fleet, path, body, headers={"x-request-timeout-ms": "20"})

        assert response.status_code == 504
        assert "did not answer within 0.0" in response.text

    @pytest.mark.parametrize("path", [INFER, INVOKE])
    @pytest.mark.parametrize(
        ("timeout_ms", "arose"),
        [
            pytest.param("20", "caller", id="in-a-hurry"),
            pytest.param("0.001", "caller", id="never-at-the-model"),
            pytest.param("250", "version", id="the-version-had-it-for-long"),
        ],
    )
    def test_a_deadline_of_the_caller_s_is_mostly_its_own_fault(
        self, path: str, timeout_ms: str, arose: str
    ) -> None:
        fleet = Fleet()
        fleet.transport.takes_s = 60.0
        body = ROW if path == INFER else {"inputs": [[1, 1]]}

        response = post(fleet, path, body, headers={"x-request-timeout-ms": timeout_ms})

        assert response.status_code == 504
        assert [labels[-2:] for labels in fleet.counted(ERRORS)] == [("504", arose)]

    @pytest.mark.parametrize("waits", [{}, {"x-request-timeout-ms": "1000"}])
    def test_the_model_s_own_deadline_is_the_version_s(self, waits: dict[str, str]) -> None:
        table = make_table(churn=(make_route(),))
        table.models["churn"] = replace(table.models["churn"], deadline_s=0.02)  # type: ignore[index]
        fleet = Fleet(table)
        fleet.transport.takes_s = 60.0

        assert post(fleet, INFER, headers=waits).status_code == 504
        assert [labels[-1] for labels in fleet.counted(ERRORS)] == ["version"]

    @pytest.mark.parametrize("value", ["soon", "0", "-5", "nan", "", "1e999x"])
    def test_a_timeout_that_is_none_is_refused(self, value: str) -> None:
        fleet = Fleet()

        response = post(fleet, INFER, headers={"x-request-timeout-ms": value})

        assert response.status_code == 400
        assert f"X-Request-Timeout-Ms {value!r} must be a positive number" in response.text
        assert fleet.transport.sent == []

    @pytest.mark.parametrize("value", ["30000", "1e3", "inf"])
    def test_a_timeout_that_is_long_enough_changes_nothing(self, value: str) -> None:
        assert post(Fleet(), INFER, headers={"x-request-timeout-ms": value}).status_code == 200

    def test_overload_is_ours_and_says_when_to_come_back(self) -> None:
        def refuse(_: Batch) -> Mapping[str, Array]:
            raise OverloadedError("churn", 100)

        fleet = Fleet(predict=refuse)
        response = post(fleet, INFER)

        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert [labels[-1] for labels in fleet.counted(ERRORS)] == ["fleet"]

    def test_a_fault_of_ours_tells_nobody_our_insides(self) -> None:
        def bug(_: Batch) -> Mapping[str, Array]:
            raise RuntimeError("secret at /srv")

        response = post(Fleet(predict=bug), INFER)

        assert response.status_code == 500
        assert "secret" not in response.text

    def test_a_model_that_is_not_ready(self) -> None:
        fleet = Fleet(make_table(churn=(LOADING,)))

        assert post(fleet, INFER).status_code == 503
        assert [labels[:2] for labels in fleet.counted(REQUESTS)] == [("churn", "")]

    def test_names_that_are_made_up_become_no_labels(self) -> None:
        fleet = Fleet()

        for n in range(5):
            assert post(fleet, f"/v2/models/m{n}/infer").status_code == 404
            assert post(fleet, f"/v2/models/churn/versions/9{n}/infer").status_code == 404
            assert fleet("PATCH", INFER).status_code == 405

        assert {labels[:3] for labels in fleet.counted(REQUESTS)} == {
            ("", "", ""), ("churn", "", ""),
        }  # fmt: skip
        assert sum(fleet.counted(REQUESTS).values()) == 15
        assert sum(fleet.counted(LATENCY).values()) == 15

    def test_pages_are_not_counted(self) -> None:
        fleet = Fleet()
        fleet("GET", "/v2/health/live")
        fleet("GET", "/nowhere")

        assert fleet.counted(REQUESTS) == {}


@pytest.mark.usefixtures("door")
class TestBodies:
    @pytest.mark.parametrize(
        ("coding", "pack"),
        [
            pytest.param("gzip", gzip.compress, id="gzip"),
            pytest.param("deflate", zlib.compress, id="deflate"),
            pytest.param("identity", bytes, id="identity"),
        ],
    )
    def test_compressed_requests(self, coding: str, pack: Any) -> None:
        body = pack(json.dumps(ROW).encode())

        response = post(Fleet(), INFER, body, headers={"content-encoding": coding})

        assert response.json()["outputs"][0]["data"] == [3.5]

    def test_compressed_requests_of_the_repository(self) -> None:
        table = make_table(churn=(make_route(),), fraud=(LOADING,))
        body = gzip.compress(b'{"ready": true}')

        response = post(Fleet(table), INDEX, body, headers={"content-encoding": "gzip"})

        assert [entry["name"] for entry in response.json()] == ["churn"]

    @pytest.mark.parametrize(
        ("body", "coding", "status"),
        [
            pytest.param(b"x" * (MAX_BODY + 1), None, 413, id="too-large"),
            pytest.param(gzip.compress(bytes(MAX_BODY + 1)), "gzip", 413, id="bomb"),
            pytest.param(b"{}", "br", 415, id="unknown-coding"),
            pytest.param(b"{}", "gzip", 400, id="not-what-it-says"),
        ],
    )
    @pytest.mark.parametrize("path", [INFER, INVOKE, INDEX, UNLOAD])
    def test_bodies_that_are_refused(
        self, path: str, body: bytes, coding: str | None, status: int
    ) -> None:
        headers = {"content-encoding": coding} if coding else {}

        response = post(Fleet(), path, body, headers=headers)

        assert response.status_code == status

    def test_long_answers_are_compressed_for_who_asks(self) -> None:
        rows = 300
        body = {"inputs": [{**ROW["inputs"][0], "shape": [rows, 2], "data": [1] * 2 * rows}]}
        fleet = Fleet()

        packed = post(fleet, INFER, body, headers={"accept-encoding": "gzip"})
        plain = post(fleet, INFER, body, headers={"accept-encoding": "identity"})

        assert packed.headers["content-encoding"] == "gzip"
        assert packed.headers["vary"] == "accept-encoding"
        assert "content-encoding" not in plain.headers
        assert packed.json()["outputs"] == plain.json()["outputs"]
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])

    def test_a_body_in_chunks(self) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for byte in json.dumps(ROW).encode():
                yield bytes([byte])

        response = Fleet()("POST", INFER, content=chunks(), headers=JSON)

        assert response.json()["outputs"][0]["data"] == [3.5]


class TestAsgi:
    """What clients keep from reaching a real port, or what Serve's door alone may do."""

    @staticmethod
    def scope(kind: str = "http", path: str = INFER) -> dict[str, Any]:
        return {"type": kind, "method": "POST", "path": path, "headers": []}

    def test_a_body_in_chunks_that_never_ends(self) -> None:
        n_chunks = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal n_chunks
            while True:
                n_chunks += 1
                yield bytes(1024)

        response = Fleet()("POST", INFER, content=chunks(), headers=JSON)

        assert response.status_code == 413
        assert n_chunks == 5

    @pytest.mark.parametrize("length", ["-1", "1e3", "9" * 5000], ids=["negative", "float", "huge"])
    def test_an_absurd_content_length(self, length: str) -> None:
        response = post(Fleet(), INFER, headers={"content-length": length})

        assert response.status_code == 400

    def test_a_client_that_leaves_is_neither_answered_nor_counted(self) -> None:
        fleet = Fleet()
        sent: list[Any] = []
        incoming = iter(
            [
                {"type": "http.request", "body": b"{", "more_body": True},
                {"type": "http.disconnect"},
            ]
        )

        async def receive() -> Any:
            return next(incoming)

        async def send(message: Any) -> None:
            sent.append(message)

        async def test() -> None:
            await fleet.ask("GET", "/v2/health/live")
            await fleet.app(self.scope(), receive, send)

        asyncio.run(test())

        assert (sent, fleet.counted()) == ([], {})

    def test_lifespan(self) -> None:
        incoming = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
        sent: list[str] = []

        async def receive() -> Any:
            return next(incoming)

        async def send(message: Any) -> None:
            sent.append(message["type"])

        asyncio.run(Fleet().app({"type": "lifespan"}, receive, send))

        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    def test_websockets_are_closed(self) -> None:
        sent: list[str] = []

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message["type"])

        asyncio.run(Fleet().app(self.scope("websocket"), receive, send))

        assert sent == ["websocket.close"]
