"""What every version has done so far, in all clusters that share the store: the judge's counts.

A request counts for a version when the version answered it or failed it. What the caller got
wrong, and what the fleet could not do, is nobody's merit and nobody's fault: it is left out on
both sides. Nothing here ever falls while the rows of the store stay.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import add

import msgspec

from deployments.protocols.statuses import Origin, is_success
from deployments.rollout.signals import Counts, Sums
from deployments.store.feedback import FeedbackTotals
from deployments.store.store import PAST, FleetStore
from deployments.telemetry import ANSWER, ERRORS, MIRRORED, REQUESTS, Labels, Series, Snapshot

Version = tuple[str, str]
"""A model's name and a version of it."""

COMPARED = {"agreed": 0, "differed": 1, "failed": 1}
"""Outcomes of mirrored requests that say something of the version, and whether it differed."""

NOTHING = Counts()


def counts_of(snapshots: Iterable[Snapshot], model: str, version: str) -> Counts:
    """Add up what gateways have counted of one version."""
    return all_counts(snapshots).get((model, version), NOTHING)


def all_counts(snapshots: Iterable[Snapshot]) -> dict[Version, Counts]:
    """Add up what gateways have counted of each version.

    Both kinds of failure count once: one that was answered with an error, which is an error
    by the version whatever its code, and one that was answered all the same, such as NaN.
    """
    sums: dict[Version, _Sums] = {}
    for snapshot in snapshots:
        for family, take in _TAKERS.items():
            for series in snapshot.families.get(family, ()):
                model, version, *_ = series.labels
                take(sums.setdefault((model, version), _Sums()), series)
    return {key: found.counts() for key, found in sums.items()}


def with_feedback(
    counts: Mapping[Version, Counts], totals: Mapping[Version, FeedbackTotals]
) -> dict[Version, Counts]:
    """Add what was heard of predictions afterwards."""
    return dict(counts) | {
        key: msgspec.structs.replace(
            counts.get(key, NOTHING),
            labels=total.labels,
            mistakes=total.mistakes,
            rewards=Sums(total.rewards, total.reward_total, total.reward_squares),
        )
        for key, total in totals.items()
    }


def fold(bodies: Sequence[bytes]) -> bytes:
    """Add up stored snapshots of gateways that are gone, as far as counts are made of them."""
    found: dict[str, dict[Labels, Series]] = {name: {} for name in _TAKERS}
    for body in bodies:
        snapshot = msgspec.json.decode(body, type=Snapshot)
        for name, sums in found.items():
            for series in snapshot.families.get(name, ()):
                before = sums.get(series.labels)
                sums[series.labels] = series if before is None else _added(before, series)
    families = {name: tuple(sums.values()) for name, sums in found.items()}
    return msgspec.json.encode(Snapshot(PAST, 0, families))


def _added(one: Series, other: Series) -> Series:
    if len(one.counts) != len(other.counts):
        return one  # of another release, with other buckets
    counts = tuple(map(add, one.counts, other.counts))
    return Series(one.labels, counts, one.total + other.total)


class FleetCounts:
    """The counts of all versions as the store has them. Not for several threads at once."""

    def __init__(
        self, store: FleetStore, totals: Callable[[], Mapping[Version, FeedbackTotals]]
    ) -> None:
        """Begin.

        Args:
            store: Of any cluster.
            totals: Reads what was heard of predictions.
        """
        self._store = store
        self._totals = totals
        self._snapshots: dict[tuple[str, str], tuple[int, Snapshot]] = {}
        self._counts: dict[Version, Counts] = {}

    def read(self) -> None:
        """Take over what gateways of all clusters have stored; blocks.

        Raises:
            Exception: Whatever the store's driver raises; then the counts are the last ones.
        """
        known = {key: sequence for key, (sequence, _) in self._snapshots.items()}
        present, changed = self._store.load_all_counters(known)
        snapshots = {key: kept for key, kept in self._snapshots.items() if key in present}
        for key, row in changed.items():
            snapshots[key] = row.sequence, msgspec.json.decode(row.body, type=Snapshot)
        counts = all_counts(snapshot for _, snapshot in snapshots.values())
        self._counts = with_feedback(counts, self._totals())
        self._snapshots = snapshots

    def of(self, model: str, version: str) -> Counts:
        """What one version has done up to the last `read`."""
        return self._counts.get((model, version), NOTHING)


class _Sums:
    """The counts of one version, while they are added up."""

    def __init__(self) -> None:
        self.requests = 0.0
        self.errors = 0.0
        self.mirrored = 0.0
        self.differing = 0.0
        self.latency: tuple[float, ...] = ()

    def answered(self, series: Series) -> None:
        if is_success(series.labels[-1]):
            self.requests += series.counts[0]

    def failed(self, series: Series) -> None:
        *_, code, origin = series.labels
        if origin != Origin.VERSION:
            return
        self.errors += series.counts[0]
        if not is_success(code):
            # Not by the number of answers less the number of errors of others: a snapshot
            # may be taken between the two, and the difference would fall with the next one.
            self.requests += series.counts[0]

    def took(self, series: Series) -> None:
        if self.latency and len(self.latency) != len(series.counts):
            return  # by a gateway of another release, with other buckets
        self.latency = tuple(map(add, self.latency, series.counts)) or series.counts

    def compared(self, series: Series) -> None:
        differed = COMPARED.get(series.labels[-1])
        if differed is not None:
            self.mirrored += series.counts[0]
            self.differing += series.counts[0] * differed

    def counts(self) -> Counts:
        return Counts(
            requests=round(self.requests),
            errors=round(self.errors),
            latency=tuple(map(round, self.latency)),
            mirrored=round(self.mirrored),
            differing=round(self.differing),
        )


_TAKERS: Mapping[str, Callable[[_Sums, Series], None]] = {
    REQUESTS.name: _Sums.answered,
    ERRORS.name: _Sums.failed,
    ANSWER.name: _Sums.took,
    MIRRORED.name: _Sums.compared,
}
