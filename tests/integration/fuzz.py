"""Requests made up at random and sent to real doors, over HTTP, as bare bytes and over gRPC."""

import http.client
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import grpc
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from deployments.gateway.grpc_methods import INFERENCE
from deployments.protocols import open_inference_pb2 as pb
from tests.malformed import HEADERS, WORDS, bodies

HANG_S = 20.0
"""Whoever has not answered by then hangs, seconds."""

MODEL = "wine"
"""Takes whatever numbers there are: what it raised would rightly be a 500."""

OUR_FAULTS = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "DATA_LOSS"}
"""Codes of gRPC that no request of a single client may cause."""

MODEL_PATHS = st.sampled_from([["v2", "models", MODEL, "infer"], ["models", MODEL, "invocations"]])


@dataclass(frozen=True, slots=True)
class Case:
    """One request over HTTP."""

    method: str
    segments: list[str]
    body: bytes
    headers: dict[str, str]

    def encode(self, host: str) -> bytes:
        """Write it as it goes over the wire."""
        path = "/" + "/".join(quote(each) for each in self.segments)
        lines = [f"{self.method} {path} HTTP/1.1", f"Host: {host}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += [f"Content-Length: {len(self.body)}", "Connection: close", "", ""]
        return "\r\n".join(lines).encode("latin-1") + self.body


CASES = st.builds(
    Case,
    method=st.sampled_from(["POST", "POST", "POST", "GET", "HEAD", "DELETE", "OPTIONS"]),
    segments=MODEL_PATHS | st.lists(WORDS, max_size=6),
    body=bodies(["input-0", "x"]),
    headers=HEADERS,
)

EDITS = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=3)), min_size=1, max_size=4)
"""Where a request's bytes are replaced, and by what."""

TENSORS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from(["input-0", "x", ""]),
    datatype=st.sampled_from(["FP32", "FP64", "BYTES", "FP16", ""]),
    shape=st.sampled_from([[1, 13], [], [2**62, 2**62]]) | st.lists(st.integers(-1, 3), max_size=3),
    contents=st.builds(
        pb.InferTensorContents,
        fp32_contents=st.lists(st.floats(width=32), max_size=14),
        bytes_contents=st.lists(st.binary(max_size=4), max_size=2),
    ),
)
MESSAGES = st.builds(
    pb.ModelInferRequest,
    model_name=st.sampled_from([MODEL, MODEL, "nobody", ""]),
    model_version=st.sampled_from(["", "", "1", "-1"]),
    id=st.text(max_size=4).map(lambda text: text.encode(errors="ignore").decode()),
    inputs=st.lists(TENSORS, max_size=2),
    raw_input_contents=st.lists(st.binary(max_size=60), max_size=2),
).map(lambda message: bytes(message.SerializeToString())) | st.binary(max_size=80)


def try_http(url: str, examples: int, number: int) -> None:
    """Send so many requests as clients write them, and as many that were tampered with.

    Args:
        url: Of a door.
        examples: How many of each.
        number: Equal ones make up equal requests.
    """
    _try(CASES, lambda case: check_http(url, case), examples, number)
    _try(st.tuples(CASES, EDITS), lambda pair: check_bytes(url, *pair), examples, number)


def try_grpc(address: str, examples: int, number: int) -> None:
    """Send so many messages; equal numbers make up equal ones."""
    with grpc.insecure_channel(address) as channel:
        _try(MESSAGES, lambda body: check_grpc(channel, body), examples, number)


def _try(
    strategy: st.SearchStrategy[Any], check: Callable[[Any], None], examples: int, number: int
) -> None:
    limits = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(limits(given(strategy)(check)))()


def check_http(url: str, case: Case) -> None:
    """Send a well-formed request, and see that it is answered without a fault of ours."""
    place = urlsplit(url).netloc
    status = exchange(place, case.encode(place), half_close=False)
    assert status is not None, f"no answer: {case}"
    assert status < 500, (status, case)


def check_bytes(url: str, case: Case, edits: list[tuple[int, bytes]]) -> None:
    """Send a request that was tampered with; the connection may be closed without an answer."""
    place = urlsplit(url).netloc
    sent = bytearray(case.encode(place))
    for position, replacement in edits:
        sent[position : position + len(replacement)] = replacement
    status = exchange(place, bytes(sent), half_close=True)
    # 501 and 505: a method or a version of HTTP that is none.
    assert status is None or status < 500 or status in {501, 505}, (status, bytes(sent))


def check_grpc(channel: grpc.Channel, body: bytes) -> None:
    """Send a message to `ModelInfer`, and see that it is answered without a fault of ours."""
    infer = channel.unary_unary(f"/{INFERENCE}/ModelInfer")
    try:
        infer(body, timeout=HANG_S)
    except grpc.RpcError as error:
        call: Any = error
        assert call.code().name not in OUR_FAULTS, (call.code(), call.details(), body)


def exchange(place: str, request: bytes, *, half_close: bool) -> int | None:
    """Send bytes and read one answer; returns its status, None where the other side closed.

    Raises:
        TimeoutError: Neither came.
    """
    host, _, port = place.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=HANG_S) as client:
        try:
            client.sendall(request)
            if half_close:
                client.shutdown(socket.SHUT_WR)
            answer = http.client.HTTPResponse(
                client, method=request.partition(b" ")[0].decode("latin-1")
            )
            answer.begin()
            answer.read()
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException):
            return None
        return answer.status
