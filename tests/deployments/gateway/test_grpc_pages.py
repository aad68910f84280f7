"""What the gRPC service tells of the server, its models and its health, to real clients."""

from typing import Any

import pytest

from deployments.protocols import health_pb2
from deployments.protocols import open_inference_pb2 as pb
from deployments.traffic.table import RoutingTable
from tests.deployments.gateway.hosted import LOADING, READY, Fleet
from tests.deployments.gateway.rpc import Client, Reply, on_grpc
from tests.fakes import make_route, make_table

pytestmark = pytest.mark.ray  # starts servers

HealthStatus = health_pb2.HealthCheckResponse


def call(fleet: Fleet, method: str, request: Any, answer: Any, **options: Any) -> Reply:
    return on_grpc(fleet, lambda client: client.call(method, request, answer, **options))


class TestPages:
    def test_server(self) -> None:
        live = call(Fleet(), "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse)
        about = call(
            Fleet(), "ServerMetadata", pb.ServerMetadataRequest(), pb.ServerMetadataResponse
        )

        assert live.message.live
        assert about.message.name == "rayfleet"
        assert about.message.extensions

    @pytest.mark.parametrize("settled", [True, False])
    def test_server_is_ready_once_the_fleet_is(self, settled: bool) -> None:
        fleet = Fleet(make_table(settled=settled))

        reply = call(fleet, "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)

        assert (reply.code, reply.message.ready) == ("OK", settled)

    @pytest.mark.parametrize(
        ("table", "model", "version", "code", "ready"),
        [
            pytest.param(READY, "churn", "", "OK", True, id="ready"),
            pytest.param(READY, "churn", "1", "OK", True, id="version"),
            pytest.param(make_table(churn=(LOADING,)), "churn", "", "OK", False, id="loading"),
            pytest.param(make_table(churn=(LOADING,)), "churn", "1", "OK", False, id="version-not"),
            pytest.param(READY, "churn", "7", "NOT_FOUND", None, id="unknown-version"),
            pytest.param(READY, "nobody", "", "NOT_FOUND", None, id="unknown-model"),
        ],
    )
    def test_model_ready(
        self, table: RoutingTable, model: str, version: str, code: str, ready: bool | None
    ) -> None:
        asked = pb.ModelReadyRequest(name=model, version=version)

        reply = call(Fleet(table), "ModelReady", asked, pb.ModelReadyResponse)

        assert (reply.code, reply.message and reply.message.ready) == (code, ready)

    def test_model_metadata_says_what_rest_says(self) -> None:
        fleet = Fleet()
        page = fleet("GET", "/v2/models/churn").json()

        message = call(
            fleet, "ModelMetadata", pb.ModelMetadataRequest(name="churn"), pb.ModelMetadataResponse
        ).message

        assert (message.name, list(message.versions), message.platform) == (
            page["name"], page["versions"], page["platform"],
        )  # fmt: skip
        for told, shown in ((message.inputs, "inputs"), (message.outputs, "outputs")):
            assert [
                {"name": each.name, "datatype": each.datatype, "shape": list(each.shape)}
                for each in told
            ] == page[shown]

    @pytest.mark.parametrize(
        ("only_ready", "models"), [(False, ["churn", "fraud"]), (True, ["churn"])]
    )
    def test_repository_index(self, only_ready: bool, models: list[str]) -> None:
        fleet = Fleet(make_table(churn=(make_route(),), fraud=(LOADING,)))
        asked = pb.RepositoryIndexRequest(ready=only_ready)

        message = call(fleet, "RepositoryIndex", asked, pb.RepositoryIndexResponse).message

        assert [entry.name for entry in message.models] == models
        assert (message.models[0].version, message.models[0].state) == ("1", "READY")

    @pytest.mark.parametrize(
        "method", ["ModelStatistics", "RepositoryModelLoad", "RepositoryModelUnload", "ModelConfig"]
    )
    def test_what_is_not_there_says_so(self, method: str) -> None:
        reply = call(Fleet(), method, b"", pb.ModelInferResponse)

        assert reply.code == "UNIMPLEMENTED"


class TestHealth:
    @pytest.mark.parametrize(
        ("table", "service", "status"),
        [
            pytest.param(READY, "", HealthStatus.SERVING, id="ready"),
            pytest.param(
                READY, "inference.GRPCInferenceService", HealthStatus.SERVING, id="service"
            ),
            pytest.param(make_table(settled=False), "", HealthStatus.NOT_SERVING, id="starting"),
        ],
    )
    def test_check(self, table: RoutingTable, service: str, status: int) -> None:
        reply = on_grpc(Fleet(table), lambda client: client.check(service))

        assert reply.message.status == status

    def test_check_of_an_unknown_service(self) -> None:
        reply = on_grpc(Fleet(), lambda client: client.check("nobody"))

        assert reply.code == "NOT_FOUND"

    def test_watch_tells_what_changes(self) -> None:
        async def watch(client: Client) -> list[int]:
            changes = iter([lambda: fleet.apply(READY), fleet.servicer.leave])
            seen = []
            async for answer in client.watch():
                seen.append(answer.status)
                next(changes, lambda: None)()
            return seen

        fleet = Fleet(make_table(settled=False))

        assert on_grpc(fleet, watch) == [
            HealthStatus.NOT_SERVING, HealthStatus.SERVING, HealthStatus.NOT_SERVING,
        ]  # fmt: skip

    def test_watch_of_an_unknown_service(self) -> None:
        async def watch(client: Client) -> int:
            answer = await anext(aiter(client.watch("nobody")))
            return int(answer.status)

        assert on_grpc(Fleet(), watch) == HealthStatus.SERVICE_UNKNOWN
