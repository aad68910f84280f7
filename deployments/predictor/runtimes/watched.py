"""A model of which it is known what it was trained on, so that its inputs are watched."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.predictor.driftgauges import DriftGauges, process_gauges
from deployments.predictor.inputwatch import InputWatch
from deployments.protocols.tensors import Batch, Outputs
from tuning.inputprofile import read_profile

if TYPE_CHECKING:
    from deployments.predictor.runtimes.runtime import Runtime

logger = logging.getLogger(__name__)


class WatchedRuntime:
    """Shows batches that the model has answered to a watch."""

    def __init__(self, runtime: "Runtime", watch: InputWatch) -> None:
        self._runtime = runtime
        self._watch = watch

    def predict(self, batch: Batch) -> Outputs:
        """See `Runtime.predict`."""
        outputs = self._runtime.predict(batch)
        self._watch.take(batch.inputs)
        return outputs


def watched(
    runtime: "Runtime",
    files: str,
    model: str,
    version: str,
    gauges: DriftGauges | None = None,
) -> "Runtime":
    """Watch a model's inputs, if it has a profile of its training rows.

    Args:
        runtime: The loaded model.
        files: Its folder.
        model: Its name.
        version: As above.
        gauges: Where drift is told; None tells it in the process's own.
    """
    try:
        profile = read_profile(Path(files))
    except (OSError, ValueError) as error:
        # A profile is no part of the model, which answers as well without it.
        logger.warning("the inputs of %s version %s are not watched: %s", model, version, error)
        return runtime
    if profile is None:
        return runtime
    watch = InputWatch(profile)
    (gauges or process_gauges()).add(watch, model, version)
    return WatchedRuntime(runtime, watch)
