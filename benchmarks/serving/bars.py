"""What Rayfleet wants to reach beside its peers, and whether a run has shown it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.serving.readings import Reading
from benchmarks.serving.results import Results
from benchmarks.serving.targets import Role


class Sense(StrEnum):
    """Which side of the wanted ratio is the good one."""

    AT_LEAST = ">="
    ABOVE = ">"
    AT_MOST = "<="


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ours divided by what it is compared with."""

    value: float
    against: str
    """The target on the other side."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One thing to reach."""

    text: str
    sense: Sense
    wanted: float
    measure: Callable[[Results], Ratio | None]
    """None when one side was not measured."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a run says about a bar."""

    bar: Bar
    ratio: Ratio | None

    @property
    def is_met(self) -> bool | None:
        """None when the run cannot tell."""
        if self.ratio is None:
            return None
        match self.bar.sense:
            case Sense.AT_LEAST:
                return self.ratio.value >= self.bar.wanted
            case Sense.ABOVE:
                return self.ratio.value > self.bar.wanted
            case Sense.AT_MOST:
                return self.ratio.value <= self.bar.wanted


def rate(case: str, target: str, role: Role, connections: int) -> Callable[[Results], Ratio | None]:
    """Requests/s of a target, divided by those of the fastest one of a role."""

    def measure(results: Results) -> Ratio | None:
        ours = results.find(case, target, connections)
        best = results.fastest(case, role, connections)
        if ours is None or best is None:
            return None
        return Ratio(ours.requests_per_s / best[1].requests_per_s, best[0])

    return measure


def p50(case: str, target: str, connections: int) -> Callable[[Results], Ratio | None]:
    """Median latency of a target, divided by that of the quickest peer."""

    def measure(results: Results) -> Ratio | None:
        ours = results.find(case, target, connections)
        best = results.quickest(case, Role.PEER, connections)
        if ours is None or best is None:
            return None
        return Ratio(ours.p50_ms / best[1].p50_ms, best[0])

    return measure


def pair(case: str, target: str, other: str, connections: int) -> Callable[[Results], Ratio | None]:
    """Requests/s of a target, divided by those of another one."""

    def measure(results: Results) -> Ratio | None:
        ours = results.find(case, target, connections)
        theirs = results.find(case, other, connections)
        if ours is None or theirs is None:
            return None
        return Ratio(ours.requests_per_s / theirs.requests_per_s, other)

    return measure


def latency(
    case: str, target: str, other: str, figure: Callable[[Reading], float]
) -> Callable[[Results], Ratio | None]:
    """A latency of a target at constant arrivals, divided by that of another one."""

    def measure(results: Results) -> Ratio | None:
        ours, theirs = (results.find(case, name, None) for name in (target, other))
        if ours is None or theirs is None:
            return None
        return Ratio(figure(ours) / figure(theirs), other)

    return measure


def ahead(text: str, case: str, connections: int = 32) -> Bar:
    """The bar of being ahead of every peer that can serve a case."""
    return Bar(text, Sense.ABOVE, 1.0, rate(case, "direct", Role.PEER, connections))


BARS = (
    *(
        Bar(
            f"logistic regression, direct, {connections} connections, best peer",
            Sense.AT_LEAST,
            8.0,
            rate("linear", "direct", Role.PEER, connections),
        )
        for connections in (32, 64)
    ),
    *(
        Bar(
            f"logistic regression, direct, {connections} connections, limit",
            Sense.AT_LEAST,
            0.8,
            rate("linear", "direct", Role.LIMIT, connections),
        )
        for connections in (32, 64)
    ),
    Bar(
        "logistic regression, direct, 1 connection, p50, best peer",
        Sense.AT_MOST,
        0.5,
        p50("linear", "direct", 1),
    ),
    Bar(
        "logistic regression, direct, Serve's port, 32 connections, best peer",
        Sense.AT_LEAST,
        1.5,
        rate("linear", "direct-http", Role.PEER, 32),
    ),
    Bar(
        "random forest, direct, 32 connections, limit with the best fixed window",
        Sense.AT_LEAST,
        0.8,
        rate("forest", "direct", Role.LIMIT, 32),
    ),
    ahead("random forest, direct, 32 connections, best peer", "forest"),
    ahead("PyTorch convolutional net, direct, best peer", "conv"),
    ahead("Keras net, direct, best peer", "keras"),
    ahead("32-row requests, direct, best peer", "batch32"),
    ahead("1 MiB binary tensors, direct, best peer", "tensor", connections=8),
    ahead("gRPC, direct, best peer", "grpc"),
    *(
        Bar(
            f"10 % split, {connections} connections, as many replicas unsplit",
            Sense.AT_LEAST,
            0.95,
            pair("split", "split", "unsplit", connections),
        )
        for connections in (32, 64)
    ),
    Bar(
        "100 % mirrored, arrivals at 30 % of peak, p50, not mirrored",
        Sense.AT_MOST,
        1.1,
        latency("shadow", "shadowed", "unshadowed", lambda reading: reading.p50_ms),
    ),
    Bar(
        "100 % mirrored, arrivals at 30 % of peak, p99, not mirrored",
        Sense.AT_MOST,
        1.1,
        latency("shadow", "shadowed", "unshadowed", lambda reading: reading.p99_ms),
    ),
)
"""In the order of the report."""


def judge(results: Results) -> list[Finding]:
    """Hold a run against every bar."""
    return [Finding(bar, bar.measure(results)) for bar in BARS]
