"""Guided by what it covers, make up bytes for all that reads requests.

    python -m tests.guided.reading TARGET [CORPUS] [options of libFuzzer's]

Ends with a status other than 0 at the first bytes that raise anything but a request's own error,
or that the short way and the long way read differently. Needs `atheris`, which watches which
branches of ours bytes lead to, and goes on from those that led to new ones.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial

import atheris

with atheris.instrument_imports(include=["deployments.protocols"]):
    from deployments.errors import RequestError
    from deployments.gateway.joining import AnyRequest, join
    from deployments.protocols import open_inference_pb2 as pb
    from deployments.protocols.flat_infer import decode_flat, flat_plan
    from deployments.protocols.infer_envelope import peek_id
    from deployments.protocols.mlflow_scoring import decode_cheaply, decode_invocation
    from deployments.protocols.open_inference import decode_infer
    from deployments.protocols.open_inference_grpc import decode_infer as decode_rpc
    from deployments.protocols.open_inference_grpc import parse
    from deployments.protocols.tensors import Layout, Request, Signature, TensorSpec

SIGNATURES = (
    Signature(Layout.UNKNOWN),
    Signature(Layout.TENSOR, (TensorSpec("x", "FP64", (-1, 2)),)),
    Signature(Layout.TENSOR, (TensorSpec("x", "INT32", (-1,)),)),
    Signature(
        Layout.COLUMNS,
        (TensorSpec("x", "FP32", (-1,)), TensorSpec("t", "BYTES", (-1,), mlflow_type="string")),
    ),
    Signature(
        Layout.UNKNOWN,
        mlflow={"params": '[{"name": "k", "type": "long", "default": 1, "shape": null}]'},
    ),
)

TYPES = ("application/json", "text/csv")


class ReadDifferentlyError(AssertionError):
    """The short way and the long way do not agree."""


def read_rest(data: bytes) -> None:
    """The Open Inference Protocol over HTTP: JSON alone, with binary tensors, raw."""
    which, length, body = data[0], data[1:3], data[3:]
    signature = SIGNATURES[which % len(SIGNATURES)]
    header = str(int.from_bytes(length, "little")) if which & 128 else None
    read = _request_or_none(partial(decode_infer, body, header, signature))
    peek_id(body, header)
    plan = flat_plan(signature)
    flat = decode_flat(body, plan) if plan is not None and header is None else None
    if flat is not None and (read is None or _bytes(flat) != _bytes(read) or flat.id != read.id):
        raise ReadDifferentlyError(body)


def read_invocation(data: bytes) -> None:
    """MLflow's scoring protocol: JSON and CSV."""
    which, body = data[0], data[1:]
    signature = SIGNATURES[which % len(SIGNATURES)]
    kind = TYPES[which >> 7]
    cheap = _request_or_none(partial(decode_cheaply, body, kind, signature))
    read = _request_or_none(partial(decode_invocation, body, kind, signature))
    if cheap is not None and (read is None or _bytes(cheap) != _bytes(read)):
        raise ReadDifferentlyError(body)


def read_rpc(data: bytes) -> None:
    """The Open Inference Protocol over gRPC."""
    signature = SIGNATURES[data[0] % len(SIGNATURES)]

    def read() -> Request:
        return decode_rpc(parse(pb.ModelInferRequest, data[1:]), signature)

    _request_or_none(read)


def read_with_a_fault(data: bytes) -> None:
    """A reader with a fault behind a few branches: what looks for faults must find it."""
    request = _request_or_none(partial(decode_infer, data, None, SIGNATURES[0]))
    if request is not None and request.rows > 1:
        raise ValueError(request.rows)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "rest": read_rest,
    "mlflow": read_invocation,
    "grpc": read_rpc,
    "faulty": read_with_a_fault,
}


def _request_or_none(read: Callable[[], Request | None]) -> Request | None:
    try:
        return read()
    except RequestError as error:
        str(error)  # what is said of it must not fail either
        return None


def _bytes(request: AnyRequest) -> list[tuple[str, str, tuple[int, ...], bytes]]:
    arrays = join([request], b"").inputs
    return [(name, str(a.dtype), a.shape, a.tobytes()) for name, a in arrays.items()]


def main() -> None:
    """Run one target until a fault, or as long as libFuzzer's options say."""
    target = TARGETS[sys.argv[1]]

    def try_one(data: bytes) -> None:
        if len(data) > 3:
            target(data)

    atheris.Setup([sys.argv[0], *sys.argv[2:]], try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
