"""Everything that can be measured. A new peer is a new row, and a host if it starts otherwise."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.serving.cases import Case, Wire
from benchmarks.serving.dialects import BENTOML, MLFLOW, OPEN_INFERENCE, Dialect
from benchmarks.serving.hosts import Site


class Role(StrEnum):
    """What a target's figure says about ours."""

    OURS = "ours"
    PEER = "peer"
    BARE = "bare"
    LIMIT = "limit"


class Door(StrEnum):
    """One of a host's ports."""

    HTTP = "http"
    EXPRESS = "express"
    GRPC = "grpc"

    def port(self, site: Site) -> int:
        """The port at a site."""
        match self:
            case Door.HTTP:
                return site.port
            case Door.EXPRESS:
                return site.express_port
            case Door.GRPC:
                return site.grpc_port


@dataclass(frozen=True, slots=True)
class Target:
    """One server, asked in one way."""

    title: str
    role: Role

    host: str
    """Of `hosts.HOSTS`."""

    doors: Mapping[Wire, Door]
    """Where it answers what; a wire that is not there it does not speak."""

    json: Dialect = OPEN_INFERENCE
    """What it speaks where the wire is JSON."""

    def wire_of(self, case: Case) -> Wire | None:
        """How this target is asked in a case; None when it cannot be."""
        return next((wire for wire in case.wires if wire in self.doors), None)


JSON_ONLY = {Wire.JSON: Door.HTTP}
HTTP = {Wire.JSON: Door.HTTP, Wire.BINARY: Door.HTTP}
EXPRESS = {Wire.JSON: Door.EXPRESS, Wire.BINARY: Door.EXPRESS, Wire.GRPC: Door.GRPC}

TARGETS: Mapping[str, Target] = {
    "rayfleet": Target("Rayfleet, Serve's port", Role.OURS, "rayfleet", HTTP),
    "direct-http": Target("Rayfleet, Serve's port and direct", Role.OURS, "direct", HTTP),
    "express": Target("Rayfleet, express port", Role.OURS, "rayfleet", EXPRESS),
    "direct": Target("Rayfleet, express and direct", Role.OURS, "direct", EXPRESS),
    "inline": Target("Rayfleet, express and inline", Role.OURS, "inline", EXPRESS),
    "split": Target("direct, 90 % and 10 %", Role.OURS, "split", EXPRESS),
    "unsplit": Target("direct, two replicas", Role.OURS, "unsplit", EXPRESS),
    "unshadowed": Target("direct, not mirrored", Role.OURS, "direct", EXPRESS),
    "shadowed": Target("direct, 100 % mirrored", Role.OURS, "shadowed", EXPRESS),
    "no-window": Target("Rayfleet, no window", Role.BARE, "no-window", HTTP),
    "1ms-window": Target("Rayfleet, 1 ms window", Role.BARE, "1ms-window", HTTP),
    "mlserver": Target(
        "MLServer, adaptive batching",
        Role.PEER,
        "mlserver",
        {Wire.JSON: Door.HTTP, Wire.GRPC: Door.GRPC},  # binary tensors over gRPC alone
    ),
    "mlflow": Target("mlflow models serve", Role.PEER, "mlflow", JSON_ONLY, MLFLOW),
    "bentoml": Target("BentoML", Role.PEER, "bentoml", JSON_ONLY, BENTOML),
    "ray-serve": Target("Ray Serve, defaults", Role.PEER, "ray-serve", HTTP),
    "ray-serve-haproxy": Target("Ray Serve, high throughput", Role.PEER, "ray-serve-haproxy", HTTP),
    "ray-serve-batched": Target("Ray Serve with serve.batch", Role.PEER, "ray-serve-batched", HTTP),
    "uvicorn": Target("bare uvicorn", Role.BARE, "uvicorn", HTTP),
    "uvicorn-batched": Target("bare uvicorn, batched", Role.LIMIT, "uvicorn-batched", HTTP),
    "uvicorn-1ms": Target("bare uvicorn, 1 ms window", Role.LIMIT, "uvicorn-1ms", HTTP),
    "uvicorn-2ms": Target("bare uvicorn, 2 ms window", Role.LIMIT, "uvicorn-2ms", HTTP),
    "uvicorn-4ms": Target("bare uvicorn, 4 ms window", Role.LIMIT, "uvicorn-4ms", HTTP),
}
"""By name on the command line, in the order of the report."""
