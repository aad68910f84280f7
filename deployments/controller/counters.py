"""The fleet's merged counters: no series that was ever shown is shown smaller later.

A snapshot is shown only after it was persisted, and after a restart of the controller a
gateway's persisted row is shown only once that gateway has reported again or is known to
be gone: else a scrape could show what the store knew before the last report.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

import msgspec

from deployments.controller.counts import fold
from deployments.store.store import PAST, FleetStore, StoredCounters
from deployments.telemetry import Snapshot

logger = logging.getLogger(__name__)

GONE_AFTER_S = 15.0
"""A gateway that has not reported for this long is gone; it reports every second."""

FORGET_AFTER_S = 86_400.0
"""How long the counters of a gateway that is gone are shown."""

CLUSTER_GONE_AFTER_S = 7 * 86_400.0
"""A cluster of which no gateway has reported for this long is gone, as after an upgrade."""

SWEEP_S = 3_600.0
"""Between two looks for such clusters, seconds."""


class FleetCounters:
    """Snapshots by gateway.

    `flush` and `restore` block on the store and are called from threads; `report` and
    `merged` from the event loop.
    """

    def __init__(
        self,
        store: FleetStore,
        clock: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._started_at_s = clock()
        self._flushing = threading.Lock()
        self._latest: dict[str, tuple[Snapshot, float]] = {}
        self._shown: dict[str, tuple[Snapshot, float]] = {}
        self._persisted: dict[str, int] = {}
        self._restored: set[str] = set()
        self._heard_at_s: dict[str, float] = {}
        self._swept_at_s = -SWEEP_S

    def restore(self) -> None:
        """Take over what an earlier controller persisted."""
        for row in self._store.load_counters():
            snapshot = msgspec.json.decode(row.body, type=Snapshot)
            if row.gateway not in self._latest and row.gateway != PAST:
                self._latest[row.gateway] = (snapshot, row.reported_at_s)
                self._persisted[row.gateway] = row.sequence
                self._restored.add(row.gateway)

    def report(self, snapshot: Snapshot) -> None:
        """Take a gateway's snapshot, unless a newer one is known."""
        known = self._latest.get(snapshot.gateway)
        if known is not None and known[0].sequence >= snapshot.sequence:
            return
        self._latest[snapshot.gateway] = (snapshot, self._clock())
        self._heard_at_s[snapshot.gateway] = self._monotonic()
        self._restored.discard(snapshot.gateway)

    def flush(self) -> None:
        """Persist what changed and drop what is long gone.

        A store that cannot be reached costs history over a restart, not the present
        view: the snapshots are written once it is back.
        """
        with self._flushing:
            # The event loop goes on reporting meanwhile; what it adds is for the next flush.
            latest = self._latest.copy()
            try:
                self._persist(latest)
            finally:
                self._shown = latest
            self._forget(latest)
            self._sweep()

    def merged(self) -> list[Snapshot]:
        """All that may be shown now, in a stable order."""
        now_s = self._clock()
        just_started = now_s - self._started_at_s < GONE_AFTER_S
        return [
            snapshot if now_s - reported_at_s < GONE_AFTER_S else snapshot.without_gauges()
            for gateway, (snapshot, reported_at_s) in sorted(self._shown.items())
            if not (just_started and gateway in self._restored)
        ]

    def _persist(self, latest: Mapping[str, tuple[Snapshot, float]]) -> None:
        due = {
            gateway: (snapshot, at_s)
            for gateway, (snapshot, at_s) in latest.items()
            if snapshot.sequence > self._persisted.get(gateway, -1)
        }
        self._store.save_counters(
            StoredCounters(gateway, snapshot.sequence, msgspec.json.encode(snapshot), at_s)
            for gateway, (snapshot, at_s) in due.items()
        )
        self._persisted |= {gateway: snapshot.sequence for gateway, (snapshot, _) in due.items()}

    def _forget(self, latest: dict[str, tuple[Snapshot, float]]) -> None:
        horizon_s = self._clock() - FORGET_AFTER_S
        # A clock that was set forward makes none that lives look long gone: it would be counted
        # twice, among the past and with all that it reports next.
        gone_s = self._monotonic() - GONE_AFTER_S
        forgotten = [
            gateway
            for gateway, (_, at_s) in latest.items()
            if at_s < horizon_s and self._heard_at_s.get(gateway, -math.inf) < gone_s
        ]
        if not forgotten:
            return
        self._store.forget_counters(forgotten, fold)
        for gateway in forgotten:
            del latest[gateway]
            self._latest.pop(gateway, None)
            self._persisted.pop(gateway, None)
            self._restored.discard(gateway)
            self._heard_at_s.pop(gateway, None)

    def _sweep(self) -> None:
        now_s = self._clock()
        if now_s - self._swept_at_s >= SWEEP_S:
            self._store.forget_clusters(now_s - CLUSTER_GONE_AFTER_S, fold)
            self._swept_at_s = now_s
