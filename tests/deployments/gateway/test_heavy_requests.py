"""What takes long to read or to write leaves the event loop, at every door; what does not stays."""

import gzip
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from deployments.gateway import answers, app
from deployments.gateway.weighing import reads_slowly, weight, writes_slowly
from deployments.protocols import mlflow_scoring, open_inference, open_inference_grpc
from deployments.protocols.tensors import Array, Batch, OutputRequest, Outputs, Request
from tests.deployments.gateway.hosted import (
    DOOR,
    INFER,
    INVOKE,
    JSON,
    ROW,
    Fleet,
    express_door,
    plain_door,
)
from tests.deployments.gateway.rpc import on_grpc, raw_request

pytestmark = pytest.mark.ray  # starts servers

HEADER = "inference-header-content-length"
N_LARGE = 100_000


class Calls:
    """Where a function was called: on the event loop's thread or aside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.aside: list[bool] = []
        original = getattr(module, name)

        def recorded(*args: Any, **named: Any) -> Any:
            self.aside.append(threading.current_thread() is not threading.main_thread())
            return original(*args, **named)

        monkeypatch.setattr(module, name, recorded)


Recording = Callable[[Any, str], Calls]


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> Recording:
    return lambda module, name: Calls(monkeypatch, module, name)


@pytest.fixture(params=[plain_door, express_door], ids=["plain", "express"], autouse=True)
def door(request: pytest.FixtureRequest) -> Any:
    token = DOOR.set(request.param)
    yield
    DOOR.reset(token)


def many(batch: Batch) -> dict[str, Array]:
    """A lot of an answer to each row."""
    rows = len(batch.inputs["x"])
    return {"y": np.ones((rows, N_LARGE))}


def roomy(predict: Any = None) -> Fleet:
    fleet = Fleet(predict=predict) if predict is not None else Fleet()
    fleet.app.max_body_bytes = fleet.servicer._max_body_bytes = 2**24
    return fleet


def binary(datatype: str, blob: bytes, shape: list[int], pad: int = 0) -> tuple[bytes, bytes]:
    tensor = {
        "name": "x", "shape": shape, "datatype": datatype,
        "parameters": {"binary_data_size": len(blob)},
    }  # fmt: skip
    text = json.dumps({"inputs": [tensor], "more": "x" * pad}).encode()
    return text, text + blob


NUMBERS = np.ones((20_000, 2)).tobytes()


@pytest.mark.parametrize(
    ("datatype", "blob", "shape", "pad", "aside"),
    [
        pytest.param("BYTES", b"\0\0\0\0" * 50_000, [25_000, 2], 0, True, id="empty-elements"),
        pytest.param("BF16", b"\0\0" * 50_000, [25_000, 2], 0, True, id="bf16"),
        pytest.param("FP64", NUMBERS, [20_000, 2], 0, False, id="numbers"),
        pytest.param("FP64", NUMBERS, [20_000, 2], 200_000, True, id="much-text-before-numbers"),
        pytest.param("BYTES", b"\0\0\0\0" * 2, [1, 2], 0, False, id="two-elements"),
    ],
)
def test_binary_requests(
    datatype: str, blob: bytes, shape: list[int], pad: int, aside: bool, recording: Recording
) -> None:
    reading = recording(open_inference, "decode_infer")
    text, body = binary(datatype, blob, shape, pad)

    roomy()("POST", INFER, content=body, headers={HEADER: str(len(text))})

    assert reading.aside == [aside]


def test_long_text(recording: Recording) -> None:
    reading = recording(open_inference, "decode_infer")
    data = [1.0] * 2 * N_LARGE
    tensor = {"name": "x", "shape": [N_LARGE, 2], "datatype": "FP64", "data": data}

    answer = roomy()("POST", INFER, json={"inputs": [tensor]})

    assert (answer.status_code, reading.aside) == (200, [True])


@pytest.mark.parametrize(("pad", "aside"), [(10, False), (3_000_000, True)])
def test_compressed_requests(pad: int, aside: bool, recording: Recording) -> None:
    undoing = recording(app, "decompress")
    body = gzip.compress(json.dumps({**ROW, "more": "x" * pad}).encode())

    answer = roomy()("POST", INFER, content=body, headers={"content-encoding": "gzip", **JSON})

    assert (answer.status_code, undoing.aside) == (200, [aside])


@pytest.mark.parametrize("accepts", ["identity", "gzip"])
def test_large_answers(accepts: str, recording: Recording) -> None:
    writing = recording(open_inference, "encode_infer")
    squeezing = recording(answers, "compress")

    answer = roomy(many)("POST", INFER, json=ROW, headers={"accept-encoding": accepts})

    assert (answer.status_code, writing.aside) == (200, [True])
    assert squeezing.aside == [True]
    assert answer.json()["outputs"][0]["shape"] == [1, N_LARGE]


def test_large_answers_in_mlflow_s_protocol(recording: Recording) -> None:
    writing = recording(mlflow_scoring, "encode_predictions")

    answer = roomy(many)("POST", INVOKE, json={"inputs": [[1.0, 2.0]]})

    assert (answer.status_code, writing.aside) == (200, [True])


def test_a_large_answer_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(open_inference, "encode_infer", fail)

    assert roomy(many)("POST", INFER, json=ROW).status_code == 500


def test_small_requests_and_answers_stay(recording: Recording) -> None:
    calls = [
        recording(module, name)
        for module, name in [(open_inference, "decode_infer"), (open_inference, "encode_infer")]
    ]

    assert roomy()("POST", INFER, json={**ROW, "parameters": {}}).status_code == 200

    assert [call.aside for call in calls] == [[False], [False]]


@pytest.mark.parametrize(
    ("blob", "datatype", "aside"),
    [
        pytest.param(b"\0\0\0\0" * 50_000, "BYTES", True, id="empty-elements"),
        pytest.param(NUMBERS, "FP64", False, id="numbers"),
    ],
)
def test_grpc(blob: bytes, datatype: str, aside: bool, recording: Recording) -> None:
    reading = recording(open_inference_grpc, "decode_infer")
    request = raw_request((1.0, 2.0))
    request.inputs[0].datatype = datatype
    request.inputs[0].shape[:] = [25_000 if aside else 20_000, 2]
    request.raw_input_contents[0] = blob

    on_grpc(roomy(), lambda client: client.infer(request))

    assert reading.aside == [aside]


def test_large_answers_over_grpc(recording: Recording) -> None:
    writing = recording(open_inference_grpc, "encode_infer")
    request = raw_request((1.0, 2.0))
    request.parameters["binary_data_output"].bool_param = False

    on_grpc(roomy(many), lambda client: client.infer(request))

    assert writing.aside == [True]


@pytest.mark.parametrize("length", ["", "x", "9" * 30, "-1"])
def test_a_length_that_is_none_is_left_to_whoever_refuses_it(length: str) -> None:
    assert not reads_slowly(b"x" * 200_000, length)


def test_weights() -> None:
    numbers = Outputs({"y": np.ones(N_LARGE)})
    texts = Outputs({"y": np.array(["x"] * 10_000, dtype=object)})
    raw = Request({}, 1, binary=True)

    assert weight(numbers) == 8 * N_LARGE
    assert writes_slowly(Request({}, 1), numbers)
    assert not writes_slowly(raw, numbers)
    assert writes_slowly(Request({}, 1, outputs=(OutputRequest("y", False),), binary=True), numbers)
    assert writes_slowly(raw, texts)
