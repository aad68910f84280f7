"""A model of which it is known what it was trained on, so that its inputs are watched."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.predictor.driftgauges import DriftGauges, process_gauges
from deployments.predictor.inputwatch import InputWatch, Sample
from deployments.protocols.tensors import Batch, Outputs
from tuning.inputprofile import read_profile

if TYPE_CHECKING:
    from deployments.predictor.runtimes.runtime import Runtime

logger = logging.getLogger(__name__)


class WatchedRuntime:
    """Shows batches that the model has answered to a watch."""

    def __init__(self, runtime: "Runtime", watch: InputWatch) -> None:
        self._runtime = runtime
        self._watch: InputWatch | None = watch

    def predict(self, batch: Batch) -> Outputs:
        """See `Runtime.predict`."""
        # Before the model has it, which may work in place.
        sample = self._sampled(batch)
        outputs = self._runtime.predict(batch)
        if sample is not None and self._watch is not None:
            self._watch.keep(sample)
        return outputs

    def _sampled(self, batch: Batch) -> Sample | None:
        if self._watch is None:
            return None
        try:
            return self._watch.sample(batch.inputs)
        except Exception:
            # The answer is worth more than the look at what was asked.
            logger.exception("inputs are not watched any more")
            self._watch = None
            return None


def watched(
    runtime: "Runtime",
    files: str,
    model: str,
    version: str,
    gauges: DriftGauges | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> "Runtime":
    """Watch a model's inputs, if it has a profile of its training rows.

    Args:
        runtime: The loaded model.
        files: Its folder.
        model: Its name.
        version: As above.
        gauges: Where drift is told; None tells it in the process's own.
        clock: See `InputWatch`.
    """
    try:
        profile = read_profile(Path(files))
    except (OSError, ValueError) as error:
        # A profile is no part of the model, which answers as well without it.
        logger.warning("the inputs of %s version %s are not watched: %s", model, version, error)
        return runtime
    if profile is None:
        return runtime
    watch = InputWatch(profile, clock)
    (gauges or process_gauges()).add(watch, model, version)
    return WatchedRuntime(runtime, watch)
