"""A version that gets a copy of every request: over HTTP and gRPC, counted, and never noticed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sklearn.datasets import load_breast_cancer

from deployments.gateway.grpc_methods import INFERENCE
from deployments.protocols import open_inference_pb2 as pb
from tests.integration.hosting import (
    Fleet,
    eventually,
    infer_body,
    kill,
    pids_of,
    replica_pids,
)
from tests.integration.load import Load, Outcome, questions_for

pytestmark = [pytest.mark.ray, pytest.mark.thorough]

MODEL = "breast-cancer"
API = f"/api/v1/deployments/{MODEL}"
SHADOW = f"{MODEL}--v2#Predictor"
EACH = 5
"""Rows that the versions answer alike, and as many that they do not."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, and what each version makes of it."""

    values: Any
    stable: int
    shadow: int


@pytest.fixture(scope="module")
def shadowed(fleet: Fleet) -> Iterator[Fleet]:
    """The shared fleet, with all of one model's requests mirrored to its second version."""
    mirrored = {"traffic": {"champion": 100}, "mirror": {2: 100}, "transport": "direct"}
    fleet.deploy({**fleet.user_config, MODEL: mirrored})
    eventually("the shadow", lambda: shadow_is_ready(fleet))
    yield fleet
    fleet.deploy(fleet.user_config)
    eventually("the shadow has left", lambda: f"{MODEL}--v2" not in fleet.status())


@pytest.fixture(scope="module")
def rows(shadowed: Fleet) -> list[Row]:
    """Some that both versions answer alike, then some that they do not."""
    values, _ = load_breast_cancer(return_X_y=True)
    stable, shadow = (labels(shadowed, values, version) for version in "12")
    known = [Row(*each) for each in zip(values, stable, shadow, strict=True)]
    alike = [row for row in known if row.stable == row.shadow][:EACH]
    apart = [row for row in known if row.stable != row.shadow][:EACH]
    assert (len(alike), len(apart)) == (EACH, EACH)
    return [*alike, *apart]


def shadow_is_ready(fleet: Fleet) -> bool:
    shown = json.loads(fleet.call(API, door=fleet.control_url)[2])
    tracks = {each["track"]: each for each in shown["versions"]}
    shadow = tracks.get("shadow", {})
    if (shadow.get("state"), shadow.get("mirror"), shadow.get("weight")) != ("READY", 100, 0):
        return False
    revision = json.loads(fleet.call("/api/v1/fleet", door=fleet.control_url)[2])["revision"]
    return set(metric(fleet, "rayfleet_table_revision", "gateway").values()) == {revision}


def labels(fleet: Fleet, values: Any, version: str) -> list[int]:
    path = f"/v2/models/{MODEL}/versions/{version}/infer"
    status, _, body = fleet.call(path, infer_body(values))
    assert status == 200, body
    found: list[int] = json.loads(body)["outputs"][0]["data"]
    return found


def metric(fleet: Fleet, name: str, label: str, **wanted: str) -> dict[str, float]:
    """Values of a metric of all gateways, summed up by one of its labels."""
    _, _, page = fleet.call("/metrics")
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            if sample.name == name and wanted.items() <= sample.labels.items():
                key = sample.labels[label]
                sums[key] = sums.get(key, 0.0) + sample.value
    return sums


def outcomes(fleet: Fleet) -> dict[str, float]:
    return metric(fleet, "rayfleet_mirrored_total", "outcome", model=MODEL, version="2")


def ask_http(door: str, fleet: Fleet, row: Row, key: str) -> int:
    headers = {"X-Routing-Key": key, "Content-Type": "application/json"}
    body = infer_body(row.values[None])
    status, _, answer = fleet.call(f"/v2/models/{MODEL}/infer", body, headers, door=door)
    assert status == 200, answer
    return int(json.loads(answer)["outputs"][0]["data"][0])


def ask_grpc(address: str, row: Row, key: str) -> int:
    request = pb.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="input-0", datatype="FP64", shape=[1, len(row.values)])
    request.raw_input_contents.append(np.asarray(row.values, "<f8").tobytes())
    with grpc.insecure_channel(address) as channel:
        infer: Any = channel.unary_unary(
            f"/{INFERENCE}/ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )
        answer = infer(request, metadata=(("x-routing-key", key),), timeout=30)
    found = np.frombuffer(answer.raw_output_contents[0], "<i8")
    return int(found[0])


def test_every_answer_is_stable_s_and_every_difference_is_known(
    shadowed: Fleet, rows: list[Row]
) -> None:
    fleet = shadowed
    before = outcomes(fleet)

    answered = []
    for number, row in enumerate(rows):
        for name, door in fleet.doors.items():
            answered.append(ask_http(door, fleet, row, f"{name}-{number}") == row.stable)
        for name, address in fleet.grpc_doors.items():
            answered.append(ask_grpc(address, row, f"{name}-{number}") == row.stable)

    assert all(answered)

    def grown(outcome: str) -> float:
        return outcomes(fleet).get(outcome, 0.0) - before.get(outcome, 0.0)

    half = len(answered) / 2
    eventually("all compared", lambda: grown("agreed") + grown("differed") >= len(answered))
    assert (grown("agreed"), grown("differed")) == (half, half)
    assert grown("failed") == grown("dropped") == 0
    series = "rayfleet_mirror_difference_bucket"
    buckets = metric(fleet, series, "le", model=MODEL, version="2")
    assert buckets["+Inf"] - buckets["0.0"] == outcomes(fleet)["differed"]


def test_the_control_api_shows_totals_and_samples(shadowed: Fleet, rows: list[Row]) -> None:
    fleet = shadowed
    ask_http(fleet.url, fleet, rows[-1], "anna")

    def anna() -> Any:
        _, _, body = fleet.call(f"{API}/versions/2/differences", door=fleet.control_url)
        shown = json.loads(body)
        found = [each for each in shown["samples"] if each["routing_key"] == "anna"]
        return (shown, found[0]) if found else None

    # The gateway that has it may keep only some of what it saw: ask until it is among them.
    def found() -> Any:
        ask_http(fleet.url, fleet, rows[-1], "anna")
        return anna()

    shown, sample = eventually("the sample", found)

    assert shown["share"] == pytest.approx(shown["differed"] / shown["requests"])
    assert sum(shown["distribution"].values()) == shown["requests"]
    assert shown["latency_ratio"] > 0
    assert sample["inputs"]["input-0"] == [rows[-1].values.tolist()]
    assert (sample["stable"], sample["mirrored"]) == (
        {"output-0": [rows[-1].stable]},
        {"output-0": [rows[-1].shadow]},
    )
    assert (sample["rows"], sample["differing_rows"], sample["largest"]) == (1, 1, 1.0)


def test_nobody_notices_when_the_shadow_dies(shadowed: Fleet) -> None:
    fleet = shadowed
    with Load(fleet.doors, questions_for(MODEL, fleet.models[MODEL])) as load:
        dead = kill(replica_pids(fleet), SHADOW)
        load.wait_for_answers(200)
        eventually("another replica", lambda: pids_of(fleet, SHADOW) - {dead})
        counted = sum(outcomes(fleet).get(name, 0.0) for name in ("agreed", "differed"))
        eventually(
            "copies reach it",
            lambda: sum(outcomes(fleet).get(n, 0.0) for n in ("agreed", "differed")) > counted,
        )

    assert (load.tally.failed, load.tally.count(Outcome.CUT)) == (0, 0), load.tally.details()
