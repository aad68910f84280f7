"""The gateway over real ASGI, with replicas that live in the test."""

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import OverloadedError, PredictionError
from deployments.gateway.app import GatewayApp
from deployments.gateway.inference import Inference
from deployments.protocols.tensors import Array, Batch, Layout, TensorSpec
from deployments.telemetry import ERRORS, LATENCY, REQUESTS, Counters, exposition
from deployments.traffic.split import choose
from deployments.traffic.table import RouteState, RoutingTable, Track
from tests.fakes import SIGNATURE, FakeTransport, make_route, make_table, sums

MAX_BODY = 4096
ROW = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1.5, 2.0]}]}
INFER = "/v2/models/churn/infer"
INVOKE = "/models/churn/invocations"
JSON = {"content-type": "application/json"}
READY = make_table(churn=(make_route(),))
SPLIT = make_table(
    churn=(make_route(version="2", weight=30, track=Track.CANARY), make_route(weight=70))
)
LOADING = make_route(weight=0, state=RouteState.LOADING, reason="its first replica is starting")


class Fleet:
    """A gateway, what it counts and what reaches its replicas."""

    def __init__(self, table: RoutingTable = READY, predict: Any = sums) -> None:
        self.counters = Counters("gateway-1")
        self.transport = FakeTransport(predict)
        inference = Inference(lambda _: self.transport, self.counters)
        self.app = GatewayApp(inference, self.counters, self._metrics, MAX_BODY)
        self._inference = inference
        self._table = table

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        if self._inference.table is not self._table:
            self._inference.apply(self._table)
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://fleet") as client:
            return await client.request(method, path, **options)

    def __call__(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self.ask(method, path, **options))

    def counted(self, family: Any = REQUESTS) -> dict[tuple[str, ...], float]:
        rows = self.counters.snapshot().families[family.name]
        return {row.labels: sum(row.counts) for row in rows}

    async def _metrics(self) -> bytes:
        return exposition([self.counters.snapshot()])


def post(fleet: Fleet, path: str, body: Any = None, **options: Any) -> httpx.Response:
    """Send JSON, or bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body if body is not None else ROW)
    headers = {**JSON, **options.pop("headers", {})}
    return fleet("POST", path, content=content, headers=headers, **options)


class TestPaths:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            pytest.param("/v2/health/live", {"live": True}, id="live"),
            pytest.param("/v2/health/ready", {"ready": True, "live": True}, id="ready"),
            pytest.param("/v2/models", {"models": ["churn"]}, id="models"),
            pytest.param("/v2/models/churn/ready", {"name": "churn", "ready": True}, id="model"),
            pytest.param(
                "/v2/models/churn/versions/1/ready",
                {"name": "churn", "ready": True},
                id="version",
            ),
        ],
    )
    def test_get(self, path: str, expected: Mapping[str, Any]) -> None:
        response = Fleet()("GET", path)

        assert (response.status_code, response.json()) == (200, expected)
        assert response.headers["content-type"] == "application/json"

    @pytest.mark.parametrize("path", ["/v2", "/v2/", "/v2?verbose=1"])
    def test_server_metadata_with_and_without_a_slash(self, path: str) -> None:
        body = Fleet()("GET", path).json()

        assert (body["name"], body["extensions"]) == ("rayfleet", ["binary_tensor_data"])

    @pytest.mark.parametrize("path", ["/v2/models/churn", "/v2/models/churn/versions/1"])
    def test_model_metadata(self, path: str) -> None:
        assert Fleet()("GET", path).json() == {
            "name": "churn",
            "versions": ["1"],
            "platform": "sklearn",
            "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}],
            "outputs": [{"name": "output-0", "datatype": "FP64", "shape": [-1]}],
        }

    @pytest.mark.parametrize(
        "path", ["/ping", "/health", "/models/churn/ping", "/models/churn/health"]
    )
    def test_mlflow_ping(self, path: str) -> None:
        response = Fleet()("GET", path)

        assert (response.status_code, response.content) == (200, b"\n")

    @pytest.mark.parametrize("path", ["/version", "/models/churn/version"])
    def test_mlflow_version(self, path: str) -> None:
        assert Fleet()("GET", path).text.count(".") == 2

    @pytest.mark.parametrize(
        ("body", "states"),
        [
            pytest.param(b"", ["READY", "LOADING"], id="empty-body"),
            pytest.param(b"{}", ["READY", "LOADING"], id="empty-object"),
            pytest.param(b'{"ready": false}', ["READY", "LOADING"], id="not-only-ready"),
            pytest.param(b'{"ready": true}', ["READY"], id="only-ready"),
        ],
    )
    def test_repository_index(self, body: bytes, states: list[str]) -> None:
        table = make_table(churn=(make_route(),), fraud=(LOADING,))

        entries = Fleet(table)("POST", "/v2/repository/index", content=body).json()

        assert [entry["state"] for entry in entries] == states
        assert entries[0] == {"name": "churn", "version": "1", "state": "READY", "reason": ""}

    @pytest.mark.parametrize("body", [b"{", b"[]", b'{"ready": 1}', b"\xff", b"1" * 4000])
    def test_repository_index_refuses_nonsense(self, body: bytes) -> None:
        response = Fleet()("POST", "/v2/repository/index", content=body)

        assert (response.status_code, list(response.json())) == (400, ["error"])

    def test_metrics(self) -> None:
        fleet = Fleet()
        post(fleet, INFER)

        response = fleet("GET", "/metrics")

        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert 'rayfleet_requests_total{code="200",gateway="gateway-1"' in response.text

    @pytest.mark.parametrize(
        "path",
        [
            "/", "/v3", "/v2/model", "/v2/models/churn/predict", "/v2/health", "/docs", "/infer",
            "/v2/models/churn/versions", "/v2/models/churn/versions/1/2/infer", "/models",
            "/v2/models/a%2Fchurn/infer",
        ],
    )  # fmt: skip
    def test_unknown_paths(self, path: str) -> None:
        response = Fleet()("GET", path)

        assert (response.status_code, list(response.json())) == (404, ["error"])

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            pytest.param("GET", INFER, "POST", id="infer"),
            pytest.param("PUT", "/v2/models/churn/versions/1/infer", "POST", id="pinned"),
            pytest.param("GET", INVOKE, "POST", id="invocations"),
            pytest.param("GET", "/v2/repository/index", "POST", id="index"),
            pytest.param("POST", "/v2/health/live", "GET", id="live"),
            pytest.param("DELETE", "/v2/models/churn", "GET", id="metadata"),
            pytest.param("POST", "/metrics", "GET", id="metrics"),
            pytest.param("POST", "/ping", "GET", id="ping"),
        ],
    )
    def test_wrong_method_names_the_right_one(self, method: str, path: str, allowed: str) -> None:
        response = Fleet()(method, path)

        assert (response.status_code, response.headers["allow"]) == (405, allowed)

    def test_a_name_may_be_percent_encoded(self) -> None:
        assert post(Fleet(), "/v2/models/ch%75rn/infer").status_code == 200


class TestReadiness:
    @pytest.mark.parametrize(
        ("table", "path", "status"),
        [
            pytest.param(make_table(1, settled=False), "/v2/health/ready", 503, id="starting"),
            pytest.param(make_table(1, settled=False), "/ping", 503, id="starting-mlflow"),
            pytest.param(make_table(1, settled=False), "/v2/health/live", 200, id="alive"),
            pytest.param(make_table(m=(LOADING,)), "/v2/health/ready", 200, id="settled"),
            pytest.param(make_table(m=(LOADING,)), "/v2/models/m/ready", 503, id="model"),
            pytest.param(make_table(m=(LOADING,)), "/v2/models/m/versions/1/ready", 503, id="v1"),
            pytest.param(make_table(m=(LOADING,)), "/models/m/ping", 503, id="model-mlflow"),
            pytest.param(make_table(m=()), "/v2/models/m", 503, id="no-version"),
            pytest.param(READY, "/v2/models/m/ready", 404, id="unknown-model"),
            pytest.param(READY, "/v2/models/churn/versions/2/ready", 404, id="unknown-version"),
            pytest.param(
                make_table(churn=(make_route(replicas=0),)),
                "/v2/models/churn/ready",
                200,
                id="scaled-to-zero",
            ),
        ],
    )
    def test_status(self, table: RoutingTable, path: str, status: int) -> None:
        response = Fleet(table)("GET", path)

        assert response.status_code == status
        assert ("retry-after" in response.headers) == (status == 503)


class TestInfer:
    def test_json(self) -> None:
        response = post(Fleet(), INFER, {**ROW, "id": "42"})

        assert response.json() == {
            "model_name": "churn",
            "model_version": "1",
            "id": "42",
            "outputs": [{"name": "output-0", "datatype": "FP64", "shape": [1], "data": [3.5]}],
        }
        assert response.headers["x-model-version"] == "1"

    def test_binary_both_ways(self) -> None:
        text = json.dumps(
            {
                "inputs": [
                    {
                        "name": "x",
                        "shape": [1, 2],
                        "datatype": "FP64",
                        "parameters": {"binary_data_size": 16},
                    }
                ],
                "parameters": {"binary_data_output": True},
            }
        ).encode()
        header = {"Inference-Header-Content-Length": str(len(text))}

        response = post(Fleet(), INFER, text + np.array([1.5, 2.0]).tobytes(), headers=header)

        length = int(response.headers["inference-header-content-length"])
        assert response.headers["content-type"] == "application/octet-stream"
        assert np.frombuffer(response.content[length:]).tolist() == [3.5]

    @pytest.mark.parametrize(
        ("headers", "body", "expected"),
        [
            pytest.param({}, {"id": "body"}, "body", id="body"),
            pytest.param({"X-Request-Id": "header"}, {}, "header", id="header"),
            pytest.param({"X-Request-Id": "header"}, {"id": "body"}, "body", id="body-wins"),
            pytest.param({"X-Request-Id": "header"}, {"id": ""}, "header", id="empty"),
        ],
    )
    def test_the_request_s_id_comes_back(
        self, headers: dict[str, str], body: dict[str, str], expected: str
    ) -> None:
        assert post(Fleet(), INFER, ROW | body, headers=headers).json()["id"] == expected

    def test_a_request_without_an_id_is_given_one(self) -> None:
        ids = {post(Fleet(), INFER).json()["id"] for _ in range(2)}

        assert len(ids) == 2
        assert all(ids)

    @pytest.mark.parametrize("text", ["a\r\nSet-Cookie: b", "a\n\nb", "ä€\x00", "\x7f"], ids=ascii)
    def test_no_id_reaches_a_header_unguarded(self, text: str) -> None:
        response = post(Fleet(), INFER, {**ROW, "id": text})

        assert response.json()["id"] == text
        assert "set-cookie" not in response.headers
        assert all(value.isprintable() for value in response.headers.values())

    @pytest.mark.parametrize(
        ("body", "named"),
        [
            pytest.param(b"{", "body", id="no-json"),
            pytest.param(b"", "body", id="empty"),
            pytest.param({"inputs": []}, "x", id="no-inputs"),
            pytest.param({"inputs": [{**ROW["inputs"][0], "name": "y"}]}, "'y'", id="input"),
            pytest.param({"inputs": [{**ROW["inputs"][0], "shape": [2, 2]}]}, "'x'", id="shape"),
            pytest.param({"inputs": [{**ROW["inputs"][0], "datatype": "FP8"}]}, "FP8", id="type"),
            pytest.param({**ROW, "outputs": [{"name": "z"}]}, "'z'", id="output"),
        ],
    )
    def test_what_is_wrong_is_named(self, body: Any, named: str) -> None:
        response = post(Fleet(), INFER, body)

        assert (response.status_code, list(response.json())) == (400, ["error"])
        assert named in response.json()["error"]


class TestInvocations:
    def test_answer(self) -> None:
        response = post(Fleet(), INVOKE, {"inputs": [[1.5, 2.0], [1, 1]]})

        assert response.json() == {"predictions": [3.5, 2.0]}
        assert response.headers["x-model-version"] == "1"

    def test_pinned(self) -> None:
        path = "/models/churn/versions/2/invocations"

        response = post(Fleet(SPLIT), path, {"inputs": [[1, 1]]})

        assert response.headers["x-model-version"] == "2"

    @pytest.mark.parametrize(
        ("path", "body", "content_type", "status", "word"),
        [
            pytest.param(INVOKE, b"{}", None, 415, None, id="no-content-type"),
            pytest.param(INVOKE, b"{}", "text/plain", 415, None, id="content-type"),
            pytest.param(INVOKE, b"{}", "application/json", 400, "BAD_REQUEST", id="no-format"),
            pytest.param(
                "/models/nobody/invocations",
                b"{}",
                "application/json",
                404,
                "ENDPOINT_NOT_FOUND",
                id="unknown-model",
            ),
        ],
    )
    def test_errors_have_mlflow_s_form(
        self, path: str, body: bytes, content_type: str | None, status: int, word: str | None
    ) -> None:
        headers = {"content-type": content_type} if content_type else {}

        response = Fleet()("POST", path, content=body, headers=headers)

        assert response.status_code == status
        if word is None:
            assert response.headers["content-type"].startswith("text/plain")
        else:
            assert response.json()["error_code"] == word


class TestSplit:
    @staticmethod
    def version_of(key: str) -> str:
        route = choose("churn", SPLIT.models["churn"].routes, key)
        assert route is not None
        return route.version

    @pytest.mark.parametrize("path", [INFER, INVOKE])
    def test_the_routing_key_decides_whatever_the_id(self, path: str) -> None:
        fleet = Fleet(SPLIT)
        body = ROW if path == INFER else {"inputs": [[1, 1]]}

        for n in range(20):
            headers = {"X-Routing-Key": f"user-{n}", "X-Request-Id": f"r-{n}"}
            answers = {
                post(fleet, path, body, headers=headers).headers["x-model-version"]
                for _ in range(2)
            }
            assert answers == {self.version_of(f"user-{n}")}

    @pytest.mark.parametrize("empty_key", [False, True], ids=["no-key", "empty-key"])
    def test_without_a_key_the_id_decides(self, empty_key: bool) -> None:
        fleet = Fleet(SPLIT)
        headers = {"X-Routing-Key": ""} if empty_key else {}

        for n in range(20):
            in_body = post(fleet, INFER, {**ROW, "id": f"r-{n}"}, headers=headers)
            in_header = post(fleet, INFER, headers={"X-Request-Id": f"r-{n}", **headers})

            expected = self.version_of(f"r-{n}")
            assert in_body.json()["model_version"] == expected
            assert in_header.json()["model_version"] == expected

    def test_without_either_requests_are_spread(self) -> None:
        fleet = Fleet(SPLIT)

        versions = {post(fleet, INFER).json()["model_version"] for _ in range(60)}

        # 0.7 ** 60 is one in two billion.
        assert versions == {"1", "2"}

    @pytest.mark.parametrize("version", ["1", "2"])
    def test_a_version_in_the_url_bypasses_the_split(self, version: str) -> None:
        fleet = Fleet(SPLIT)

        for n in range(10):
            path = f"/v2/models/churn/versions/{version}/infer"
            response = post(fleet, path, headers={"X-Routing-Key": f"user-{n}"})
            assert response.json()["model_version"] == version

    def test_a_version_with_another_signature_reads_the_request_by_its_own(self) -> None:
        other = replace(
            SIGNATURE, inputs=(TensorSpec("x", "FP32", (-1, 2)),), layout=Layout.NAMED_TENSORS
        )
        canary = make_route(version="2", weight=30, track=Track.CANARY, signature=other)
        fleet = Fleet(make_table(churn=(canary, make_route(weight=70))))
        small = {"inputs": [{**ROW["inputs"][0], "datatype": "FP32"}]}

        for n in range(20):
            key = f"r-{n}"
            version = self.version_of(key)
            post(fleet, INFER, small, headers={"X-Routing-Key": key})
            if version == "2":
                assert fleet.transport.sent[-1].batch.inputs["x"].dtype == np.float32


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
            assert fleet(f"M{n}", INFER).status_code == 405

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

    @pytest.mark.parametrize(
        ("body", "coding", "status"),
        [
            pytest.param(b"x" * (MAX_BODY + 1), None, 413, id="too-large"),
            pytest.param(gzip.compress(bytes(MAX_BODY + 1)), "gzip", 413, id="bomb"),
            pytest.param(b"{}", "br", 415, id="unknown-coding"),
            pytest.param(b"{}", "gzip", 400, id="not-what-it-says"),
        ],
    )
    @pytest.mark.parametrize("path", [INFER, INVOKE])
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
        assert "content-encoding" not in plain.headers
        assert packed.json()["outputs"] == plain.json()["outputs"]
        assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])

    def test_a_body_in_chunks(self) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for byte in json.dumps(ROW).encode():
                yield bytes([byte])

        response = Fleet()("POST", INFER, content=chunks(), headers=JSON)

        assert response.json()["outputs"][0]["data"] == [3.5]

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


class TestAsgi:
    @staticmethod
    def scope(kind: str = "http", path: str = INFER) -> dict[str, Any]:
        return {"type": kind, "method": "POST", "path": path, "headers": []}

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


WORDS = st.sampled_from(
    ["v2", "models", "churn", "versions", "1", "infer", "invocations", "ready", "health", "live",
     "repository", "index", "metrics", "ping", "version", "nobody", "", "ä", "%", "\x00", "\ud800"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
ENVELOPES = st.fixed_dictionaries(
    {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": st.sampled_from(["x", "y"]),
                    "shape": st.lists(st.integers(-1, 3), max_size=3) | VALUES,
                    "datatype": st.sampled_from(["FP64", "BYTES", "FP16", "BOOL", ""]),
                    "data": VALUES,
                    "parameters": VALUES,
                },
            ),
            max_size=2,
        )
    },
    optional={"id": VALUES, "parameters": VALUES, "outputs": VALUES, "instances": VALUES},
)
BODIES = st.binary(max_size=30) | (ENVELOPES | VALUES).map(
    lambda value: json.dumps(value).encode(errors="replace")
)


@settings(max_examples=150, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "DELETE"]),
    segments=st.sampled_from(
        [["v2", "models", "churn", "infer"], ["models", "churn", "invocations"]]
    )
    | st.lists(WORDS, max_size=6),
    body=BODIES,
    headers=st.dictionaries(
        st.sampled_from(
            ["content-type", "content-encoding", "accept-encoding", "x-routing-key",
             "x-request-id", "inference-header-content-length"]
        ),
        st.sampled_from(["", "application/json", "gzip", "0", "10", "-1", "text/csv", "ä", "*;q"]),
    ),
)  # fmt: skip
def test_no_request_is_answered_with_a_fault_of_ours(
    method: str, segments: list[str], body: bytes, headers: dict[str, str]
) -> None:
    answers: list[Any] = []
    incoming = [{"type": "http.request", "body": body}]

    async def receive() -> Any:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        answers.append(message)

    async def test() -> None:
        fleet = Fleet()
        fleet._inference.apply(READY)
        scope = {
            "type": "http",
            "method": method,
            "path": "/" + "/".join(segments),
            "headers": [
                (name.encode(), value.encode("latin-1")) for name, value in headers.items()
            ],
        }
        await fleet.app(scope, receive, send)

    asyncio.run(test())

    status = answers[0]["status"]
    assert status < 500 or status == 503
    assert int(dict(answers[0]["headers"])[b"content-length"]) == len(answers[1]["body"])


def test_labels_are_msgspec_serialisable() -> None:
    fleet = Fleet()
    post(fleet, INFER)

    assert msgspec.json.encode(fleet.counters.snapshot())


@pytest.mark.parametrize(("version", "status"), [("1", 200), ("2", 400)])
def test_the_bodys_id_chooses_before_the_body_is_read(version: str, status: int) -> None:
    """A body that only stable's signature takes meets the same version however often it is sent."""
    stable = make_route(weight=70)
    other = replace(SIGNATURE, inputs=(TensorSpec("y", "FP64", (-1, 2)),))
    canary = make_route(version="2", weight=30, track=Track.CANARY, signature=other)
    routes = (canary, stable)
    ids = (f"order-{number}" for number in range(1000))
    sent = next(i for i in ids if getattr(choose("churn", routes, i), "version", "") == version)
    fleet = Fleet(make_table(churn=routes))

    statuses = [post(fleet, INFER, {**ROW, "id": sent}).status_code for _ in range(20)]

    assert statuses == [status] * 20
