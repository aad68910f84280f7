"""What the gateways have kept of answers that differ from stable's, and its totals.

Rows are payload: they are held in memory alone, and bounded.
"""

import logging
import math
from collections.abc import Iterable, Mapping

import msgspec
from pydantic import Field

from deployments.controller.views import View
from deployments.schema import application_name
from deployments.telemetry import (
    DIFFERENCES,
    MIRROR_DIFFERENCE,
    MIRROR_SECONDS,
    MIRRORED,
    Family,
    Series,
    Snapshot,
)
from deployments.traffic.differences import Report, Sampled, decode_sampled

logger = logging.getLogger(__name__)

MOST_REPORTS = 128
"""That are held, of a version at a gateway each; the one that is longest ago gives way."""


class DifferenceView(View):
    """One request that the version answered differently."""

    request_id: str
    routing_key: str

    at_s: float
    """When it was compared, Unix time."""

    rows: int
    differing_rows: int

    largest: float | None
    """Largest absolute difference of two numbers; null where none could be taken."""

    inputs: dict[str, list[object]]
    """Of the first rows that differ, as the two next, by name; cut where they are long."""

    stable: dict[str, list[object]]
    mirrored: dict[str, list[object]]


class DifferencesView(View):
    """How a version that mirrors stable has answered."""

    model: str
    version: str

    requests: int
    """That were answered by both, since the gateways began to count."""

    differed: int
    """Of these, requests in which a row was answered differently."""

    share: float | None = Field(ge=0, le=1)
    """`differed` by `requests`; null before the first."""

    failed: int
    """Requests that the version could not answer."""

    dropped: int
    """Requests that were not sent, because there was no room for them."""

    distribution: dict[str, int]
    """Requests by their largest absolute difference: at most as large as the key says, and
    larger than the key before."""

    latency_ratio: float | None
    """Predict time by stable's, for batches that both got alike; null before the first."""

    samples: list[DifferenceView]
    """Requests that differed, the latest first: an even sample of each gateway's."""

    @property
    def is_known(self) -> bool:
        """Whether anything was ever mirrored to it."""
        return bool(self.requests or self.failed or self.dropped or self.samples)


class FleetDifferences:
    """The latest report of each version by each gateway. Owned by the controller's event loop."""

    def __init__(self) -> None:
        self._reports: dict[tuple[str, str], bytes] = {}

    def hear(self, gateway: str, reports: Iterable[Report]) -> None:
        """Take what a gateway says."""
        for report in reports:
            key = report.application, gateway
            self._reports.pop(key, None)
            self._reports[key] = report.body
        while len(self._reports) > MOST_REPORTS:
            del self._reports[next(iter(self._reports))]

    def view(self, model: str, version: str, snapshots: Iterable[Snapshot]) -> DifferencesView:
        """Describe how a version's answers compare.

        Args:
            model: It is one of this.
            version: Hosted now, or a while ago.
            snapshots: What all gateways have counted.
        """
        name = application_name(model, version)
        sampled = [_sampled(body) for (held, _), body in self._reports.items() if held == name]
        kept = [each for one in sampled for each in one.kept]
        kept.sort(key=lambda each: each.at_s, reverse=True)
        tally = _Tally(snapshots, (model, version))
        outcomes = tally.by_last_label(MIRRORED)
        seconds = tally.by_last_label(MIRROR_SECONDS)
        agreed, differed = (round(outcomes.get(each, 0)) for each in ("agreed", "differed"))
        requests = agreed + differed
        stable_s = seconds.get("stable", 0.0)
        return DifferencesView(
            model=model,
            version=version,
            requests=requests,
            differed=differed,
            share=differed / requests if requests else None,
            failed=round(outcomes.get("failed", 0)),
            dropped=round(outcomes.get("dropped", 0)),
            distribution=tally.distribution(MIRROR_DIFFERENCE, DIFFERENCES),
            latency_ratio=seconds.get("mirrored", 0.0) / stable_s if stable_s else None,
            samples=[DifferenceView(**msgspec.structs.asdict(each)) for each in kept],
        )


def _sampled(body: bytes) -> Sampled:
    try:
        return decode_sampled(body)
    except msgspec.DecodeError as error:
        logger.warning("differences of another release: %s", error)
        return Sampled(0, ())


class _Tally:
    """Sums over the gateways and tracks of one version."""

    def __init__(self, snapshots: Iterable[Snapshot], key: tuple[str, str]) -> None:
        self._snapshots = tuple(snapshots)
        self._key = key

    def by_last_label(self, family: Family) -> Mapping[str, float]:
        sums: dict[str, float] = {}
        for series in self._series(family):
            sums[series.labels[-1]] = sums.get(series.labels[-1], 0.0) + series.counts[0]
        return sums

    def distribution(self, family: Family, edges: tuple[float, ...]) -> dict[str, int]:
        counts = [0.0] * (len(edges) + 1)
        for series in self._series(family):
            if len(series.counts) == len(counts):  # else counted by a release with other edges
                counts = [a + b for a, b in zip(counts, series.counts, strict=True)]
        return {
            f"{edge:g}": round(count)
            for edge, count in zip((*edges, math.inf), counts, strict=True)
        }

    def _series(self, family: Family) -> Iterable[Series]:
        for snapshot in self._snapshots:
            for series in snapshot.families.get(family.name, ()):
                if series.labels[:2] == self._key:
                    yield series
