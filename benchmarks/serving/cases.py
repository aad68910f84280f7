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

    open_load: float | None = None
    """Share of a peak at which requests arrive in the open loop; None does without it."""

    open_peak: str | None = None
    """The target whose peak that is, measured before the others; None takes each one's own."""

    open_times: int = 1
    """How many times as long the open loop is measured as the closed one."""

    @property
    def open_title(self) -> str:
        """Name the open loop's load."""
        whose = "each one's" if self.open_peak is None else self.open_peak
        return f"arrivals at {self.open_load or 0:.0%} of {whose} peak".replace("%", " %")


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
        open_load=0.7,
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
    "shadow": Case(
        "100 % mirrored to a second version",
        "iris",
        ("unshadowed", "shadowed"),
        open_load=0.3,
        open_peak="unshadowed",
        open_times=3,
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
