"""The versions that could not be loaded, as the controller remembers them beyond its own end."""

import dataclasses
import logging
from collections.abc import Callable, Mapping

from deployments.controller.dependencies import Guarded
from deployments.controller.failures import Failure
from deployments.store.store import FleetStore, StoredFailure

logger = logging.getLogger(__name__)


class LoadFailures:
    """Failures by application. Owned by the controller's event loop."""

    def __init__(self, store: FleetStore, guarded: Guarded, clock: Callable[[], float]) -> None:
        self._store = store
        self._guarded = guarded
        self._clock = clock
        self.known: dict[str, Failure] = {}

    def read(self) -> None:
        """Take over what an earlier controller left. Blocks on the store."""
        for row in self._store.load_failures():
            failure = Failure(row.fingerprint, row.reason, row.attempts, row.failed_at_s)
            self.known[row.application] = failure

    def note_proof(self, name: str, reason: str | None) -> None:
        """Hear how a version's proof ended: why it gets no traffic, or None."""
        if reason is None:
            self.known.pop(name, None)
            return
        logger.warning("%s gets no traffic: %s", name, reason)
        self.known[name] = self._again(name, "", reason)

    async def note_refused(self, refused: Mapping[str, str], marks: Mapping[str, str]) -> None:
        """Hear why Serve took some applications not, and with which settings each was deployed."""
        new = {name: self._again(name, marks[name], reason) for name, reason in refused.items()}
        await self.replace({**self.known, **new})

    async def replace(self, failures: Mapping[str, Failure]) -> None:
        """Remember these alone."""
        if failures == self.known:
            return
        for name, failure in failures.items():
            if self.known.get(name) != failure:
                logger.warning("%s could not be loaded: %s", name, failure.reason)
        self.known = dict(failures)
        rows = [StoredFailure(name, *dataclasses.astuple(each)) for name, each in failures.items()]
        await self._guarded("fleet store", self._store.save_failures, rows)

    def _again(self, name: str, mark: str, reason: str) -> Failure:
        before = self.known.get(name)
        attempts = before.attempts + 1 if before is not None else 1
        return Failure(mark, reason, attempts, self._clock())
