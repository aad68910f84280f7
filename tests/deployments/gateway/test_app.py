"""The gateway over real ASGI, with replicas that live in the test."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest

from deployments.protocols.tensors import Layout, TensorSpec
from deployments.traffic.split import choose
from deployments.traffic.table import RoutingTable, Track
from tests.deployments.gateway.hosted import INFER, INVOKE, LOADING, READY, ROW, SPLIT, Fleet, post
from tests.fakes import SIGNATURE, make_route, make_table


@pytest.mark.usefixtures("door")
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

        assert body["name"] == "rayfleet"
        assert body["extensions"] == [
            "binary_tensor_data", "model_configuration", "model_repository", "statistics",
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "path", ["/v2/models/churn/config", "/v2/models/churn/versions/1/config"]
    )
    def test_model_config(self, path: str) -> None:
        config = Fleet()("GET", path).json()

        assert (config["name"], config["max_batch_size"]) == ("churn", 4)
        assert config["input"][0]["dims"] == [2]

    @pytest.mark.parametrize("path", ["/v2/models/no/config", "/v2/models/churn/versions/9/config"])
    def test_there_is_no_config_of_what_is_not_hosted(self, path: str) -> None:
        assert Fleet()("GET", path).status_code == 404

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
            "/", "/v3", "/v2/model", "/v2/models/churn/predict", "/v2/health", "/docs/x", "/infer",
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

    @pytest.mark.parametrize("given", [b'"\xff"', b"[" * 3000, b"7"], ids=["bytes", "deep", "7"])
    def test_an_id_that_cannot_be_read_is_the_caller_s_fault(self, given: bytes) -> None:
        response = post(Fleet(SPLIT), INFER, b'{"id": %b, "inputs": []}' % given)

        assert response.status_code == 400

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
