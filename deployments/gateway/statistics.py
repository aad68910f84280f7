"""The statistics extension, read off the fleet's counters."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import orjson

from deployments.protocols.statuses import is_success
from deployments.telemetry import (
    BATCH,
    LAST_ANSWER,
    LATENCY,
    PREDICT,
    QUEUE,
    REQUESTS,
    Family,
    Labels,
    Series,
    Snapshot,
)

NANOSECONDS = 1_000_000_000
MILLISECONDS = 1_000


def statistics(snapshots: Sequence[Snapshot], versions: Iterable[tuple[str, str]]) -> bytes:
    """Describe how versions have been used since their gateways began to count.

    `success.ns` is the time of all requests, failed ones included, and `fail.ns` is 0: the
    gateways do not keep the two apart. `queue` counts requests, `compute_infer` batches;
    decoding and encoding are not timed on their own.

    Args:
        snapshots: Of all gateways.
        versions: Model and version, those to describe.
    """
    return orjson.dumps({"model_stats": [_of_version(snapshots, *each) for each in versions]})


def _of_version(snapshots: Sequence[Snapshot], model: str, version: str) -> dict[str, object]:
    tally = _Tally(snapshots, (model, version))
    succeeded = tally.counted(REQUESTS, lambda labels: is_success(labels[-1]))
    failed = tally.counted(REQUESTS, lambda labels: not is_success(labels[-1]))
    nothing = _duration(0, 0.0)
    return {
        "name": model,
        "version": version,
        "last_inference": round(tally.latest(LAST_ANSWER) * MILLISECONDS),
        "inference_count": round(tally.total(BATCH)),
        "execution_count": round(tally.observations(PREDICT)),
        "inference_stats": {
            "success": _duration(succeeded, tally.total(LATENCY)),
            "fail": _duration(failed, 0.0),
            "queue": _duration(tally.observations(QUEUE), tally.total(QUEUE)),
            "compute_input": nothing,
            "compute_infer": _duration(tally.observations(PREDICT), tally.total(PREDICT)),
            "compute_output": nothing,
            "cache_hit": nothing,
            "cache_miss": nothing,
        },
        "batch_stats": [],
        "memory_usage": [],
    }


def _duration(count: float, seconds: float) -> dict[str, int]:
    return {"count": round(count), "ns": round(seconds * NANOSECONDS)}


class _Tally:
    """Sums over the gateways, and over all labels but the model's and the version's."""

    def __init__(self, snapshots: Sequence[Snapshot], key: tuple[str, str]) -> None:
        self._snapshots = snapshots
        self._key = key

    def counted(self, family: Family, fits: Callable[[Labels], bool]) -> float:
        return sum(series.counts[0] for series in self._series(family) if fits(series.labels))

    def observations(self, family: Family) -> float:
        return sum(sum(series.counts) for series in self._series(family))

    def total(self, family: Family) -> float:
        return sum(series.total for series in self._series(family))

    def latest(self, family: Family) -> float:
        return max((series.counts[0] for series in self._series(family)), default=0.0)

    def _series(self, family: Family) -> Iterator[Series]:
        for snapshot in self._snapshots:
            for series in snapshot.families.get(family.name, ()):
                if series.labels[:2] == self._key:
                    yield series
