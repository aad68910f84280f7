"""What is measured: a model, the shape of its requests, and how they travel."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Wire(StrEnum):
    """How a request travels."""

    JSON = "json"
    BINARY = "binary"
    """HTTP with the Open Inference Protocol's binary tensors."""

    GRPC = "grpc"


@dataclass(frozen=True, slots=True)
class Case:
    """One line of requests that every target is sent."""

    title: str
    model: str
    """Registered name, of `models.MODELS`."""

    targets: tuple[str, ...]
    """Who is measured unless somebody asks for others; in the order of the report."""

    rows: int = 1
    """Of each request."""

    wires: tuple[Wire, ...] = (Wire.JSON,)
    """A target is asked over the first one that it speaks."""

    connections: tuple[int, ...] = (32,)

    open_loop: bool = False
    """Whether latencies at 70 % of the target's peak are measured too."""


PEERS = ("mlserver", "mlflow", "bentoml", "ray-serve", "ray-serve-haproxy", "ray-serve-batched")

QUICK_PEERS = ("mlserver", "mlflow", "bentoml", "ray-serve-haproxy", "ray-serve-batched")
"""Without Serve's defaults, which the first case shows to be the slowest: a run is bounded."""

CASES: Mapping[str, Case] = {
    "linear": Case(
        "logistic regression, 1 row",
        "iris",
        (
            *("rayfleet", "direct-http", "express", "direct", "inline"),
            *(*PEERS, "uvicorn", "uvicorn-batched"),
        ),
        connections=(1, 8, 32, 64),
        open_loop=True,
    ),
    "batch32": Case(
        "logistic regression, 32 rows",
        "iris",
        ("express", "direct", *QUICK_PEERS, "uvicorn-batched"),
        rows=32,
    ),
    "grpc": Case(
        "logistic regression, gRPC",
        "iris",
        ("express", "direct", "mlserver"),
        wires=(Wire.GRPC,),
    ),
    "split": Case("10 % to a second version", "iris", ("split", "unsplit"), connections=(32, 64)),
    "breast-cancer": Case(
        "breast cancer, 1 row, Serve's port",
        "breast-cancer",
        ("rayfleet", "direct-http", "mlserver", "uvicorn", "uvicorn-batched"),
    ),
    "forest": Case(
        "random forest, 100 trees",
        "forest",
        (
            *("express", "direct", *QUICK_PEERS, "uvicorn-batched"),
            *("uvicorn-1ms", "uvicorn-2ms", "uvicorn-4ms"),
        ),
    ),
    "conv": Case(
        "PyTorch convolutional net",
        "digits",
        ("express", "direct", *QUICK_PEERS, "uvicorn-batched", "uvicorn-1ms"),
    ),
    "keras": Case(
        "Keras net",
        "wine",
        ("express", "direct", *QUICK_PEERS, "uvicorn-batched", "uvicorn-1ms"),
    ),
    "tensor": Case(
        "1 MiB binary tensors",
        "wide",
        ("express", "direct", "mlserver", "ray-serve-haproxy", "uvicorn-batched"),
        rows=64,
        wires=(Wire.BINARY, Wire.GRPC),
        connections=(8,),
    ),
}
"""By name on the command line; those of one model stand together, since they share its starts."""
