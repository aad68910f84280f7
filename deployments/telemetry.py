"""Every metric name and label, and the counters behind them.

A gateway counts with plain dictionaries, since a request must not pay for locks and label
lookups; the snapshot that it sends to the controller is what `/metrics` is made of. All
values are cumulative over the gateway's life.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper edges of the time buckets, seconds: from a linear model's predict to a deadline."""

ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper edges of the batch size buckets, rows."""

DIFFERENCES = (
    0.0, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1.0, 10.0, 100.0, 1000.0, 1e6,
)  # fmt: skip
"""Upper edges of the buckets of absolute differences; the first one holds none at all."""

VERSION = ("model", "version", "track")
REQUEST = (*VERSION, "protocol")


class Kind(StrEnum):
    """How a family's values are to be read."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Family(msgspec.Struct, frozen=True):
    """One metric: its name without `_total`, and what tells its series apart."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    edges: tuple[float, ...] = ()


REQUESTS = Family("rayfleet_requests", Kind.COUNTER, "Requests answered.", (*REQUEST, "code"))
ERRORS = Family(
    "rayfleet_errors",
    Kind.COUNTER,
    "Failures by where they arose: caller, version or fleet.",
    (*REQUEST, "code", "origin"),
)
LATENCY = Family(
    "rayfleet_request_seconds",
    Kind.HISTOGRAM,
    "Time from a request's last byte to its answer.",
    REQUEST,
    SECONDS,
)
PREDICT = Family(
    "rayfleet_predict_seconds",
    Kind.HISTOGRAM,
    "The replica's own time for one batch.",
    VERSION,
    SECONDS,
)
QUEUE = Family(
    "rayfleet_queue_seconds",
    Kind.HISTOGRAM,
    "Time that a request waited for its batch to start.",
    VERSION,
    SECONDS,
)
ANSWER = Family(
    "rayfleet_answer_seconds",
    Kind.HISTOGRAM,
    "From the arrival of a batch's first request to its prediction, transport left out.",
    VERSION,
    SECONDS,
)
BATCH = Family("rayfleet_batch_rows", Kind.HISTOGRAM, "Rows joined into one call.", VERSION, ROWS)
IN_FLIGHT = Family(
    "rayfleet_in_flight", Kind.GAUGE, "Requests accepted and not answered yet.", VERSION
)
REVISION = Family(
    "rayfleet_table_revision", Kind.GAUGE, "Revision of the routing table in force.", ()
)
LAST_ANSWER = Family(
    "rayfleet_last_answer_timestamp_seconds",
    Kind.GAUGE,
    "Unix time at which a batch was last answered.",
    VERSION,
)
VERSION_WEIGHT = Family(
    "rayfleet_version_weight", Kind.GAUGE, "Percent of its model's requests.", VERSION
)
VERSION_READY = Family(
    "rayfleet_version_ready", Kind.GAUGE, "Whether the version can answer: 1 or 0.", VERSION
)
VERSION_REPLICAS = Family(
    "rayfleet_version_replicas",
    Kind.GAUGE,
    "Running replicas of the version, or of the pool that holds it.",
    VERSION,
)
GATEWAYS_WANTED = Family(
    "rayfleet_gateways_wanted", Kind.GAUGE, "Gateways that Serve is to run.", ()
)
DEPENDENCY_UP = Family(
    "rayfleet_dependency_up",
    Kind.GAUGE,
    "Whether the controller's last call reached it, registry or store: 1 or 0.",
    ("dependency",),
)
CONFIG_REFUSED = Family(
    "rayfleet_config_refused",
    Kind.GAUGE,
    "Whether an older config is in force, since the deployed one was refused: 1 or 0.",
    (),
)
ROLLOUT_ACTIVE = Family(
    "rayfleet_rollout_active",
    Kind.GAUGE,
    "Rollouts on their way, by phase: 1.",
    ("model", "version", "phase"),
)
ROLLOUT_STEP = Family(
    "rayfleet_rollout_step_seconds",
    Kind.GAUGE,
    "How long a rollout has been in its present step and phase.",
    ("model", "version"),
)
ROLLOUT_ALLOWED = Family(
    "rayfleet_rollout_step_allowed_seconds",
    Kind.GAUGE,
    "How long that may take: the step's own time and the progress deadline.",
    ("model", "version"),
)
ROLLOUT_ENDINGS = Family(
    "rayfleet_rollout_endings",
    Kind.COUNTER,
    "Rollouts that ended since the controller started: successful or aborted.",
    ("model", "outcome"),
)
CONTROLLERS = (
    VERSION_WEIGHT, VERSION_READY, VERSION_REPLICAS, GATEWAYS_WANTED, DEPENDENCY_UP,
    CONFIG_REFUSED, ROLLOUT_ACTIVE, ROLLOUT_STEP, ROLLOUT_ALLOWED, ROLLOUT_ENDINGS,
)  # fmt: skip
"""What the controller itself tells; see `controller.gauges`."""

MIRRORED = Family(
    "rayfleet_mirrored",
    Kind.COUNTER,
    "Requests mirrored: agreed, differed, failed or dropped.",
    (*VERSION, "outcome"),
)
MIRROR_DIFFERENCE = Family(
    "rayfleet_mirror_difference",
    Kind.HISTOGRAM,
    "Largest absolute difference of two numbers in a mirrored request's answers.",
    VERSION,
    DIFFERENCES,
)
MIRROR_SECONDS = Family(
    "rayfleet_mirror_predict_seconds",
    Kind.COUNTER,
    "Predict time of batches that both versions got alike, by who took it: stable or mirrored.",
    (*VERSION, "by"),
)
REMEMBERED = Family(
    "rayfleet_remembered",
    Kind.COUNTER,
    "Answers remembered for feedback: kept, or dropped where too many came at once.",
    (*VERSION, "outcome"),
)
SPANS = Family(
    "rayfleet_spans",
    Kind.COUNTER,
    "A gateway's spans: sent, failed where the collector took none, or dropped from a full queue.",
    ("outcome",),
)
MIRRORS = (MIRRORED, MIRROR_DIFFERENCE, MIRROR_SECONDS)
FAMILIES = (
    REQUESTS, ERRORS, LATENCY, PREDICT, QUEUE, ANSWER, BATCH, IN_FLIGHT, REVISION, LAST_ANSWER,
    *MIRRORS, REMEMBERED, SPANS, *CONTROLLERS,
)  # fmt: skip

Labels = tuple[str, ...]


class Series(msgspec.Struct, frozen=True, array_like=True):
    """One series of a family."""

    labels: Labels

    counts: tuple[float, ...]
    """A single value, or the observations of each bucket of a histogram, the last one open."""

    total: float = 0.0
    """Sum of a histogram's observations."""


class Snapshot(msgspec.Struct, frozen=True):
    """All that one gateway has counted."""

    gateway: str

    sequence: int
    """Rises with every snapshot of a gateway; an older one must not replace a newer."""

    families: Mapping[str, tuple[Series, ...]]

    def without_gauges(self) -> "Snapshot":
        """What is left to say of a gateway that is gone: its totals, not its present."""
        gauges = {family.name for family in FAMILIES if family.kind is Kind.GAUGE}
        kept = {name: rows for name, rows in self.families.items() if name not in gauges}
        return Snapshot(self.gateway, self.sequence, kept)


class Distribution:
    """A histogram that costs one bisection for each observation."""

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value."""
        self.counts[bisect_left(self.edges, value)] += times
        self.total += value * times


class Cell:
    """One counter or gauge."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


class Counters:
    """What one gateway has seen, by metric and labels. Not thread-safe: one event loop owns it."""

    def __init__(self, gateway: str) -> None:
        self._gateway = gateway
        self._sequence = 0
        self._values: dict[str, defaultdict[Labels, Cell]] = {
            family.name: defaultdict(Cell)
            for family in FAMILIES
            if family.kind is not Kind.HISTOGRAM
        }
        self._distributions: dict[str, dict[Labels, Distribution]] = {
            family.name: {} for family in FAMILIES if family.kind is Kind.HISTOGRAM
        }

    def add(self, family: Family, labels: Labels, amount: float = 1) -> None:
        """Raise a counter, or move a gauge."""
        self._values[family.name][labels].value += amount

    def set(self, family: Family, labels: Labels, value: float) -> None:
        """Put a gauge to a value."""
        self._values[family.name][labels].value = value

    def cell(self, family: Family, labels: Labels) -> Cell:
        """A counter or gauge itself, for who moves it often."""
        return self._values[family.name][labels]

    def distribution(self, family: Family, labels: Labels) -> Distribution:
        """A histogram's series itself, for who observes often."""
        series = self._distributions[family.name]
        found = series.get(labels)
        if found is None:
            found = series[labels] = Distribution(family.edges)
        return found

    def observe(self, family: Family, labels: Labels, value: float, times: int = 1) -> None:
        """Count a value in a histogram."""
        self.distribution(family, labels).observe(value, times)

    def snapshot(self) -> Snapshot:
        """Copy everything under a new sequence number."""
        self._sequence += 1
        families = {
            name: tuple(Series(labels, (cell.value,)) for labels, cell in series.items())
            for name, series in self._values.items()
        }
        for name, distributions in self._distributions.items():
            families[name] = tuple(
                Series(labels, tuple(item.counts), item.total)
                for labels, item in distributions.items()
            )
        return Snapshot(self._gateway, self._sequence, families)


def exposition(snapshots: Iterable[Snapshot]) -> bytes:
    """Write snapshots of several gateways as Prometheus text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Merged(tuple(snapshots)))
    return generate_latest(registry)


class _Merged(Collector):
    def __init__(self, snapshots: tuple[Snapshot, ...]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES:
            metric = _empty(family)
            for snapshot in self._snapshots:
                for series in snapshot.families.get(family.name, ()):
                    _add(metric, (snapshot.gateway, *series.labels), series, family)
            yield metric


def _empty(family: Family) -> Metric:
    labels = ("gateway", *family.labels)
    match family.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(family.name, family.help, labels=labels)
        case Kind.GAUGE:
            return GaugeMetricFamily(family.name, family.help, labels=labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(family.name, family.help, labels=labels)


def _add(metric: Metric, labels: Labels, series: Series, family: Family) -> None:
    if not isinstance(metric, HistogramMetricFamily):
        metric.add_metric(labels, series.counts[0])  # type: ignore[attr-defined]
        return
    if len(series.counts) != len(family.edges) + 1:
        return  # counted by a release with other edges, which cannot be translated
    cumulative = 0.0
    buckets: list[tuple[str, float]] = []
    for edge, count in zip((*family.edges, float("inf")), series.counts, strict=True):
        cumulative += count
        buckets.append(("+Inf" if edge == float("inf") else str(float(edge)), cumulative))
    metric.add_metric(labels, buckets, series.total)
