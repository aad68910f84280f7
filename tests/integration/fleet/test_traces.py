"""Spans of a real fleet at a real collector: of whom they are, and below whose."""

import secrets
from collections.abc import Callable, Mapping

import grpc
import numpy as np
import pytest

from deployments.gateway.grpc_methods import INFERENCE
from deployments.protocols import open_inference_pb2 as pb
from tests.integration.collecting import Collected, Span
from tests.integration.hosting import Fleet, eventually, infer_body

pytestmark = pytest.mark.ray

MODEL = "breast-cancer"
CALLER = "00f067aa0ba902b7"
WITHIN_S = 30.0

Ask = Callable[[Fleet, Mapping[str, str]], None]


def by_http(door: str) -> Ask:
    def ask(fleet: Fleet, headers: Mapping[str, str]) -> None:
        body = infer_body(fleet.models[MODEL].holdout_rows[:1])
        path = f"/v2/models/{MODEL}/infer"
        status, _, _ = fleet.call(
            path, body, {"Content-Type": "application/json", **headers}, door=fleet.doors[door]
        )
        assert status == 200

    return ask


def by_grpc(door: str) -> Ask:
    def ask(fleet: Fleet, headers: Mapping[str, str]) -> None:
        rows = np.asarray(fleet.models[MODEL].holdout_rows[:1])
        message = pb.ModelInferRequest(model_name=MODEL)
        message.inputs.add(name="input-0", datatype="FP64", shape=rows.shape)
        message.raw_input_contents.append(rows.astype("<f8").tobytes())
        with grpc.insecure_channel(fleet.grpc_doors[door]) as channel:
            call = channel.unary_unary(f"/{INFERENCE}/ModelInfer")
            metadata = [(name.lower(), value) for name, value in headers.items()]
            call(message.SerializeToString(), metadata=metadata, timeout=WITHIN_S)

    return ask


HTTP, GRPC = "POST /v2/models/{model}/infer", f"{INFERENCE}/ModelInfer"


@pytest.mark.parametrize(
    ("ask", "name"),
    [
        pytest.param(by_http("express"), HTTP, id="express"),
        pytest.param(by_http("serve"), HTTP, id="serve"),
        pytest.param(by_grpc("express"), GRPC, id="grpc-express"),
        pytest.param(by_grpc("serve"), GRPC, id="grpc-serve"),
    ],
)
def test_a_traced_request_is_followed_to_its_replica(
    fleet: Fleet, collected: Collected, ask: Ask, name: str
) -> None:
    trace, untraced = secrets.token_hex(16), secrets.token_hex(16)

    ask(fleet, {"traceparent": f"00-{untraced}-{CALLER}-00"})
    ask(fleet, {"traceparent": f"00-{trace}-{CALLER}-01", "X-Request-Id": trace})
    spans = collected.wait_for(trace, name, "queue", "batch", "predict")

    server, queue, batch, predict = (spans[each] for each in (name, "queue", "batch", "predict"))
    assert server.parent_id == CALLER
    assert queue.parent_id == batch.parent_id == server.span_id
    assert batch.links == {server.span_id}
    assert queue.links == {batch.span_id}
    assert predict.parent_id == batch.span_id
    gateway, replica = "rayfleet-gateway", "rayfleet-replica"
    assert [each.service for each in (server, queue, batch, predict)] == [gateway] * 3 + [replica]
    assert len(collected.of(trace)) == 4
    assert_named(fleet, server, trace)
    for span in (batch, predict):
        assert span.attributes["rayfleet.version"] == server.attributes["rayfleet.version"]
    assert not any(span.failed for span in spans.values())
    # Of what was not traced, nothing came although what was asked later has arrived.
    assert collected.of(untraced) == []


def assert_named(fleet: Fleet, server: Span, request_id: str) -> None:
    said = server.attributes
    assert (said["rayfleet.model"], said["rayfleet.request_id"]) == (MODEL, request_id)
    assert (MODEL, said["rayfleet.version"]) in fleet.index()
    assert said["rayfleet.track"] in {"stable", "canary"}
    if server.name == HTTP:
        assert (said["http.request.method"], said["http.response.status_code"]) == ("POST", 200)
    else:
        assert (said["rpc.system.name"], said["rpc.response.status_code"]) == ("grpc", "OK")


def test_a_model_s_failure_is_one_and_its_text_is_nobody_s(
    fleet: Fleet, collected: Collected
) -> None:
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{CALLER}-01", "Content-Type": "application/json"}
    rows = np.array([[-98765.4321]])

    status, _, _ = fleet.call("/v2/models/moody/infer", infer_body(rows), headers)
    spans = collected.wait_for(trace, HTTP, "predict")

    assert status == 500
    assert spans[HTTP].failed
    assert spans[HTTP].attributes["error.type"] == "PredictionError"
    assert (spans["predict"].failed, spans["predict"].attributes["error.type"]) == (
        True,
        "ValueError",
    )
    assert not any("98765" in str(span.attributes) for span in spans.values())


def test_the_gateways_count_what_was_sent(fleet: Fleet) -> None:
    def sent() -> bool:
        _, _, text = fleet.call("/metrics")
        lines = [line for line in text.decode().splitlines() if "rayfleet_spans_total{" in line]
        return any('outcome="sent"' in line and float(line.split()[-1]) > 0 for line in lines)

    eventually("the metric", sent)
