"""A predictor as Serve runs it: with a door of its own, which the controller hears of."""

import asyncio

from deployments.interpreter import ignore_warnings, spare_what_stays, take_short_turns
from deployments.predictor.announcing import AnnouncedDoor
from deployments.predictor.direct import DirectDoor
from deployments.predictor.prediction import Prediction
from deployments.predictor.predictor import Predictor
from deployments.predictor.runtimes.nvidia import hide_gpus
from deployments.predictor.runtimes.runtime import RuntimeOptions
from deployments.predictor.tracing import open_replica_traces
from deployments.protocols.tensors import Batch
from tuning.tracespec import TracesSpec


class ServedPredictor:
    """One replica of one version. `controller.applications` turns it into a deployment."""

    async def __init__(  # type: ignore[misc]  # noqa: PLR0913, Serve awaits it, and has names
        self,
        *,
        model: str,
        version: str,
        runtime: str,
        tracking_uri: str,
        registry_uri: str,
        fleet: str,
        deadline_s: float,
        options: RuntimeOptions,
        traces: TracesSpec | None = None,
    ) -> None:
        """Load the version and open the door.

        Args:
            model: See `Predictor`, as the next four.
            version: As above.
            runtime: As above.
            tracking_uri: As above.
            registry_uri: As above.
            fleet: See `AnnouncedDoor`, as the next.
            deadline_s: As above.
            options: See `Predictor`.
            traces: Where spans go; None makes none.
        """
        if not options.claim.num_gpus:
            hide_gpus()
        self._deadline_s = deadline_s
        self._predictor = Predictor(
            model, version, runtime, tracking_uri, registry_uri, options=options
        )
        self._traces = open_replica_traces(traces)
        self._predictor.trace(self._traces)
        spare_what_stays()
        take_short_turns()
        ignore_warnings()
        at_once = self._predictor.predict_at_once
        door = DirectDoor(self._predictor.predict, model, version, at_once)
        self._door = AnnouncedDoor(door, fleet, deadline_s)
        await self._door.open()

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        """See `Predictor.predict`; this is what Serve's handle calls."""
        return await self._predictor.predict(batch, gateway, depth)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """See `Predictor.record_autoscaling_stats`."""
        return self._predictor.record_autoscaling_stats()

    def check_health(self) -> None:
        """Serve replaces a replica whose model hangs."""
        self._predictor.check_thread(self._deadline_s)

    async def __del__(self) -> None:
        """Serve awaits it once its own calls are answered."""
        await self._door.leave()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
