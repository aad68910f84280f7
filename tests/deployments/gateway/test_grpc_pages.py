"""What the gRPC service tells of the server, its models and its health, to real clients."""

from typing import Any

import pytest

from deployments.errors import (
    ConflictError,
    DeadlineExceededError,
    FleetError,
    ForbiddenError,
    ModelNotReadyError,
    NotFoundError,
    UnavailableError,
)
from deployments.protocols import health_pb2
from deployments.protocols import open_inference_pb2 as pb
from deployments.traffic.table import RoutingTable
from tests.deployments.gateway.hosted import LOADING, READY, SPLIT, Fleet
from tests.deployments.gateway.rpc import Client, Reply, on_grpc, raw_request
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

    def test_model_config_says_what_rest_says(self) -> None:
        fleet = Fleet()
        page = fleet("GET", "/v2/models/churn/config").json()

        config = call(
            fleet, "ModelConfig", pb.ModelConfigRequest(name="churn"), pb.ModelConfigResponse
        ).message.config

        assert (config.name, config.platform, config.max_batch_size) == ("churn", "sklearn", 4)
        assert page["max_batch_size"] == 4
        assert config.HasField("dynamic_batching")
        for told, shown in ((config.input, "input"), (config.output, "output")):
            (tensor,), (entry,) = told, page[shown]
            assert (tensor.name, pb.DataType.Name(tensor.data_type), list(tensor.dims)) == (
                entry["name"], entry["data_type"], entry["dims"],
            )  # fmt: skip

    def test_there_is_no_config_of_what_is_not_hosted(self) -> None:
        asked = pb.ModelConfigRequest(name="churn", version="9")

        assert call(Fleet(), "ModelConfig", asked, pb.ModelConfigResponse).code == "NOT_FOUND"

    @pytest.mark.parametrize(
        ("only_ready", "models"), [(False, ["churn", "fraud"]), (True, ["churn"])]
    )
    def test_repository_index(self, only_ready: bool, models: list[str]) -> None:
        fleet = Fleet(make_table(churn=(make_route(),), fraud=(LOADING,)))
        asked = pb.RepositoryIndexRequest(ready=only_ready)

        message = call(fleet, "RepositoryIndex", asked, pb.RepositoryIndexResponse).message

        assert [entry.name for entry in message.models] == models
        assert (message.models[0].version, message.models[0].state) == ("1", "READY")

    def test_what_is_not_there_says_so(self) -> None:
        reply = call(Fleet(), "TraceSetting", b"", pb.ModelInferResponse)

        assert reply.code == "UNIMPLEMENTED"


class TestStatistics:
    @staticmethod
    def told(fleet: Fleet, *requests: Any, **asked: str) -> Any:
        """Infer, and ask for the statistics."""

        async def ask(client: Client) -> Reply:
            for request in requests:
                await client.infer(request)
            statistics = pb.ModelStatisticsRequest(**asked)
            return await client.call("ModelStatistics", statistics, pb.ModelStatisticsResponse)

        return on_grpc(fleet, ask).message.model_stats

    def test_they_say_what_rest_says(self) -> None:
        fleet = Fleet()
        two_rows = raw_request((1, 2), (3, 4))
        wrong = (b"\xff", raw_request((1, 2), model_version="9"))

        (told,) = self.told(fleet, *[two_rows] * 3, *wrong, name="churn", version="1")
        (shown,) = fleet("GET", "/v2/models/churn/versions/1/stats").json()["model_stats"]

        assert (told.name, told.version) == ("churn", "1")
        assert (told.inference_count, told.execution_count) == (6, 3)
        assert told.last_inference == shown["last_inference"] > 1.7e12
        assert told.inference_stats.compute_infer == pb.StatisticDuration(count=3, ns=3 * 2_000_000)
        for name in ("success", "fail", "queue", "compute_input", "compute_output"):
            duration = getattr(told.inference_stats, name)
            assert {"count": duration.count, "ns": duration.ns} == shown["inference_stats"][name]

    def test_failures_are_counted_apart(self) -> None:
        wrong = pb.ModelInferRequest(model_name="churn")

        (told,) = self.told(Fleet(), raw_request((1, 2)), wrong)

        stats = told.inference_stats
        assert (stats.success.count, stats.fail.count) == (1, 1)

    @pytest.mark.parametrize(
        ("asked", "versions"),
        [
            pytest.param({}, ["2", "1"], id="all"),
            pytest.param({"name": "churn"}, ["2", "1"], id="a-model"),
            pytest.param({"name": "churn", "version": "2"}, ["2"], id="a-version"),
        ],
    )
    def test_which_versions(self, asked: dict[str, str], versions: list[str]) -> None:
        request = pb.ModelStatisticsRequest(**asked)

        reply = call(Fleet(SPLIT), "ModelStatistics", request, pb.ModelStatisticsResponse)

        assert [each.version for each in reply.message.model_stats] == versions

    @pytest.mark.parametrize(
        "asked", [{"name": "nobody"}, {"name": "churn", "version": "9"}], ids=["model", "version"]
    )
    def test_of_what_is_not_there(self, asked: dict[str, str]) -> None:
        request = pb.ModelStatisticsRequest(**asked)

        reply = call(Fleet(), "ModelStatistics", request, pb.ModelStatisticsResponse)

        assert reply.code == "NOT_FOUND"


def load_request(**parameters: Any) -> pb.RepositoryModelLoadRequest:
    message = pb.RepositoryModelLoadRequest(model_name="wine")
    for name, parameter in parameters.items():
        message.parameters[name].CopyFrom(parameter)
    return message


class TestRepository:
    @pytest.mark.parametrize(
        ("parameters", "settings"),
        [
            pytest.param({}, None, id="as-it-is"),
            pytest.param(
                {"config": pb.ModelRepositoryParameter(string_param='{"num_replicas": 2}')},
                {"num_replicas": 2},
                id="with-settings",
            ),
        ],
    )
    def test_load(self, parameters: Any, settings: Any) -> None:
        fleet = Fleet()
        request = load_request(**parameters)

        reply = call(fleet, "RepositoryModelLoad", request, pb.RepositoryModelLoadResponse)

        assert reply.code == "OK"
        assert fleet.surroundings.asked == [("load", "wine", settings)]

    def test_unload_as_tritonclient_asks_for_it(self) -> None:
        fleet = Fleet()
        request = pb.RepositoryModelUnloadRequest(model_name="wine")
        request.parameters["unload_dependents"].bool_param = False

        reply = call(fleet, "RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse)

        assert reply.code == "OK"
        assert fleet.surroundings.asked == [("unload", "wine")]

    @pytest.mark.parametrize("method", ["RepositoryModelLoad", "RepositoryModelUnload"])
    @pytest.mark.parametrize(
        ("refusal", "code"),
        [
            pytest.param(ForbiddenError("not here"), "PERMISSION_DENIED", id="not-allowed"),
            pytest.param(ConflictError("the config's"), "FAILED_PRECONDITION", id="the-config-s"),
            pytest.param(NotFoundError("no such model"), "NOT_FOUND", id="unregistered"),
            pytest.param(ModelNotReadyError("wine", "no file"), "UNAVAILABLE", id="not-loaded"),
            pytest.param(DeadlineExceededError("wine", 300.0), "DEADLINE_EXCEEDED", id="slow"),
        ],
    )
    def test_a_refusal(self, method: str, refusal: FleetError, code: str) -> None:
        fleet = Fleet()
        fleet.surroundings.refusal = refusal

        reply = call(fleet, method, load_request(), pb.RepositoryModelLoadResponse)

        assert (reply.code, reply.details) == (code, str(refusal))
        retry = isinstance(refusal, UnavailableError)
        assert reply.trailing.get("retry-after") == ("1" if retry else None)

    def test_a_fault_of_ours_tells_nobody_our_insides(self) -> None:
        fleet = Fleet()
        refusal: Any = RuntimeError("secret at /srv")
        fleet.surroundings.refusal = refusal

        reply = call(fleet, "RepositoryModelLoad", load_request(), pb.RepositoryModelLoadResponse)

        assert reply.code == "INTERNAL"
        assert "secret" not in reply.details

    @pytest.mark.parametrize(
        ("sent", "said"),
        [
            pytest.param(b"\xff", "not a RepositoryModelLoadRequest", id="no-message"),
            pytest.param(
                load_request(config=pb.ModelRepositoryParameter(int64_param=1)),
                "expected text",
                id="config-is-no-text",
            ),
            pytest.param(
                load_request(config=pb.ModelRepositoryParameter(string_param="{")),
                "config is not JSON",
                id="config-is-no-json",
            ),
            pytest.param(
                load_request(config=pb.ModelRepositoryParameter()),
                "config has no value, expected one of bool_param, ",
                id="config-is-empty",
            ),
            pytest.param(
                load_request(**{"file:1/model.pt": pb.ModelRepositoryParameter(bytes_param=b"x")}),
                "'file:1/model.pt', but models come from the registry",
                id="files",
            ),
        ],
    )
    def test_nonsense_is_refused(self, sent: Any, said: str) -> None:
        fleet = Fleet()

        reply = call(fleet, "RepositoryModelLoad", sent, pb.RepositoryModelLoadResponse)

        assert (reply.code, fleet.surroundings.asked) == ("INVALID_ARGUMENT", [])
        assert said in reply.details


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
