"""gRPC at both doors of a real fleet: stock clients with their defaults, and gRPC's own."""

import json
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from deployments.gateway.grpc_methods import HEALTH, INFERENCE
from deployments.protocols import health_pb2
from deployments.protocols import open_inference_pb2 as pb
from tests.integration.hosting import SERVED, Fleet, eventually

REPOSITORY = Path(__file__).parents[3]
CLIENTS = REPOSITORY / ".venvs" / "clients" / "bin" / "python"
PROGRAMS = REPOSITORY / "tests" / "clients"

pytestmark = pytest.mark.ray

needs_clients = pytest.mark.skipif(
    not CLIENTS.exists(), reason="no stock clients: make .venvs/clients/.installed"
)

WITHIN_S = 30.0


@pytest.fixture(params=["serve", "express"])
def address(request: Any, fleet: Fleet) -> str:
    """Where gRPC is spoken: Serve's door, and the gateways' own."""
    return fleet.grpc_address if request.param == "serve" else fleet.express_grpc_address


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as channel:
        yield channel


@pytest.fixture(scope="module")
def run(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs a program of the clients' environment against an address; returns its report."""
    cases = tmp_path_factory.mktemp("clients") / "rows.npz"
    np.savez(cases, **{name: fleet.models[name].holdout_rows for name in SERVED})

    @cache
    def run(program: str, address: str, *options: str) -> Any:
        finished = subprocess.run(
            [CLIENTS, PROGRAMS / program, "--url", address, "--cases", cases, *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert finished.returncode == 0, finished.stderr
        return json.loads(finished.stdout)

    return run


def assert_predicted(fleet: Fleet, model: str, outputs: dict[str, Any]) -> None:
    expected = np.asarray(fleet.models[model].expected)
    first = np.asarray(next(iter(outputs.values()))).reshape(expected.shape)
    if np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_allclose(first, expected, rtol=1e-5)
    else:
        np.testing.assert_array_equal(first, expected)


@needs_clients
class TestTriton:
    @pytest.fixture
    def report(self, run: Any, address: str) -> Any:
        return run("triton_grpc.py", address, "--load", "spare")

    @pytest.mark.parametrize("model", SERVED)
    def test_it_gets_the_offline_predictions(self, fleet: Fleet, report: Any, model: str) -> None:
        answer = report["models"][model]

        assert (answer["version"], answer["ready"]) == (fleet.models[model].version, True)
        assert_predicted(fleet, model, answer["outputs"])

    def test_it_streams(self, fleet: Fleet, report: Any) -> None:
        model = SERVED[0]
        rows = report["stream"]["rows"]
        in_order = [rows[str(number)] for number in range(len(rows))]

        assert_predicted(fleet, model, {"all": [each[0] for each in in_order]})
        (error,) = report["stream"]["errors"]
        assert "has no version '999'" in error

    def test_it_sees_the_server(self, report: Any) -> None:
        assert (report["live"], report["ready"], report["server"]) == (True, True, "rayfleet")
        assert set(SERVED) <= set(report["index"])

    def test_it_shows_our_errors_as_its_own(self, report: Any) -> None:
        errors = report["errors"]

        assert errors["unknown model"].startswith("StatusCode.NOT_FOUND: unknown model 'no-such")
        assert errors["infer unknown model"].startswith("StatusCode.NOT_FOUND: unknown model 'no")
        assert errors["wrong shape"].startswith("StatusCode.INVALID_ARGUMENT: input 'input-0': ")
        assert errors["statistics"].startswith("StatusCode.NOT_FOUND: unknown model 'no-such-model")
        assert errors["load"].startswith(
            "StatusCode.NOT_FOUND: model 'no-such-model' is not in the"
        )
        assert errors["unload"].startswith("StatusCode.FAILED_PRECONDITION: ")
        assert "is in the fleet's config" in errors["unload"]
        assert errors["config"].startswith("StatusCode.NOT_FOUND: unknown model 'no-such-model")

    def test_it_reads_a_model_s_config(self, fleet: Fleet, report: Any) -> None:
        rows = fleet.models[SERVED[0]].holdout_rows
        words = {"float32": pb.TYPE_FP32, "float64": pb.TYPE_FP64}

        assert report["config"] == {
            "name": SERVED[0],
            "max_batch_size": 256,
            "dims": list(rows.shape[1:]),
            "datatype": words[rows.dtype.name],
            "scheduling": "dynamic_batching",
        }

    def test_it_sees_how_a_version_is_used(self, fleet: Fleet, report: Any) -> None:
        before, after = report["used"]["before"], report["used"]["after"]

        assert after["rows"] - before["rows"] == len(fleet.models[SERVED[0]].holdout_rows)
        assert after["answers"] - before["answers"] == 1
        assert after["batches"] > before["batches"]
        assert after["predict_ns"] > before["predict_ns"]

    def test_it_loads_and_unloads_a_model(self, report: Any) -> None:
        loading = report["loading"]

        assert (loading["ready"], loading["states"]) == (True, ["READY"])
        assert loading["gone"].startswith("StatusCode.NOT_FOUND: unknown model 'spare'")
        assert loading["again"].startswith("StatusCode.NOT_FOUND: model 'spare' is not hosted")
        assert loading["settings"].startswith("StatusCode.INVALID_ARGUMENT: spec.max_batch_size: ")
        assert loading["files"].startswith("StatusCode.INVALID_ARGUMENT: parameters has 'file:")


@needs_clients
class TestKserve:
    @pytest.fixture
    def report(self, run: Any, address: str) -> Any:
        return run("kserve_grpc.py", address)

    @pytest.mark.parametrize("form", ["raw", "typed"])
    @pytest.mark.parametrize("model", SERVED)
    def test_it_gets_the_offline_predictions(
        self, fleet: Fleet, report: Any, model: str, form: str
    ) -> None:
        answer = report["models"][model]

        assert (answer["version"], answer["ready"]) == (fleet.models[model].version, True)
        assert_predicted(fleet, model, answer[form])

    def test_it_sees_the_server(self, report: Any) -> None:
        assert (report["live"], report["ready"]) == (True, True)

    def test_it_shows_our_errors_as_its_own(self, report: Any) -> None:
        errors = report["errors"]

        assert errors["unknown model"].startswith("StatusCode.NOT_FOUND: unknown model 'no-such")
        assert errors["infer unknown model"].startswith("StatusCode.NOT_FOUND: unknown model 'no")
        assert errors["wrong shape"].startswith("StatusCode.INVALID_ARGUMENT: input 'input-0': ")


def infer_request(fleet: Fleet, model: str, *, n_rows: int = 1, **fields: Any) -> bytes:
    rows = np.repeat(fleet.models[model].holdout_rows[:1], n_rows, axis=0)
    datatype = {"float64": "FP64", "float32": "FP32"}[rows.dtype.name]
    message = pb.ModelInferRequest(model_name=model, **fields)
    message.inputs.add(name="input-0", datatype=datatype, shape=rows.shape)
    message.raw_input_contents.append(rows.tobytes())
    body: bytes = message.SerializeToString()
    return body


def test_answers_name_request_and_version(fleet: Fleet, channel: grpc.Channel) -> None:
    infer = channel.unary_unary(f"/{INFERENCE}/ModelInfer")

    _, call = infer.with_call(
        infer_request(fleet, "wine"), metadata=[("x-request-id", "mine")], timeout=WITHIN_S
    )

    trailing = dict(call.trailing_metadata())
    assert (trailing["x-request-id"], trailing["x-model-version"]) == ("mine", "1")


def test_a_key_meets_one_version_at_every_door(fleet: Fleet) -> None:
    def versions(address: str) -> list[str]:
        with grpc.insecure_channel(address) as channel:
            infer = channel.unary_unary(
                f"/{INFERENCE}/ModelInfer", response_deserializer=pb.ModelInferResponse.FromString
            )
            body = infer_request(fleet, "breast-cancer")
            return [
                infer(
                    body, metadata=[("x-routing-key", f"user-{n}")], timeout=WITHIN_S
                ).model_version
                for n in range(30)
            ]

    over_http = []
    for n in range(30):
        rows = fleet.models["breast-cancer"].holdout_rows[:1]
        _, answer = fleet.infer("breast-cancer", rows, {"X-Routing-Key": f"user-{n}"})
        over_http.append(answer["model_version"])

    assert versions(fleet.grpc_address) == versions(fleet.express_grpc_address) == over_http


def test_health(channel: grpc.Channel) -> None:
    answer = health_pb2.HealthCheckResponse
    check = channel.unary_unary(f"/{HEALTH}/Check", response_deserializer=answer.FromString)
    watch = channel.unary_stream(f"/{HEALTH}/Watch", response_deserializer=answer.FromString)
    asked = health_pb2.HealthCheckRequest(service=INFERENCE).SerializeToString()

    assert check(asked, timeout=WITHIN_S).status == answer.SERVING
    watching = watch(asked, timeout=WITHIN_S)
    assert next(watching).status == answer.SERVING
    watching.cancel()


def test_a_deadline_ends_the_call(fleet: Fleet, channel: grpc.Channel) -> None:
    infer = channel.unary_unary(f"/{INFERENCE}/ModelInfer")

    # One row may be answered before the client's timer looks.
    with pytest.raises(grpc.RpcError) as ended:
        infer(infer_request(fleet, "digits", n_rows=8_000), timeout=0.01)

    call: Any = ended.value
    assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_it_is_counted(fleet: Fleet, channel: grpc.Channel) -> None:
    infer = channel.unary_unary(f"/{INFERENCE}/ModelInfer")

    def counted() -> float:
        _, _, page = fleet.call("/metrics")
        return sum(
            float(line.rpartition(" ")[2])
            for line in page.decode().splitlines()
            if line.startswith("rayfleet_requests_total{")
            and 'code="OK"' in line
            and 'model="wine"' in line
        )

    before = counted()
    infer(infer_request(fleet, "wine"), timeout=WITHIN_S)

    eventually("the request is counted", lambda: counted() > before)
