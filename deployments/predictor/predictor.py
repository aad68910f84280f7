"""The Serve shell around one version of one model.

Left undecorated so that tests construct it like any other class; the controller turns it
into a deployment.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from deployments.errors import ConfigError, PredictionError
from deployments.logs import REQUESTS, log_as_serve_does
from deployments.predictor.autoscaling import QUEUE_METRIC, QueueDepths
from deployments.predictor.prediction import Prediction
from deployments.predictor.runtimes.runtime import PLAIN, Runtime, RuntimeOptions, make_runtime
from deployments.protocols.frames import MAX_BYTES
from deployments.protocols.tensors import Array, Batch

if TYPE_CHECKING:
    from deployments.predictor.traces import ReplicaTraces

logger = logging.getLogger(__name__)

DEPLOYMENT = "Predictor"
"""Name of the only deployment in a version's application, or a pool's."""

INLINE_S = 0.001
"""A model that predicts faster than this runs on the event loop; a thread would cost more."""

WAITING_S, MANY_WAITS = 0.005, 8
"""A model that took longer on the event loop without computing, so often in a row, asks
another server or the like, and stays in the thread from then on. Less often, the machine was
busy: a process that lost its core in the middle of a prediction has not waited for anybody."""

SMOOTHING = 0.2
"""Weight of the newest predict time in the moving average that `INLINE_S` is compared with."""

MAX_REASON = 500
"""Characters of a model's own error that reach the caller."""


MOST_ARRAYS = 1024
"""Elements of an output that may be arrays themselves; of more, they become lists."""

SMALL_BYTES = 8 * MOST_ARRAYS
"""An answer that is shorter needs no look at its elements, which are pointers of 8 bytes."""

LEAST_SLACK_S = 10.0
"""A batch may take twice its deadline, and no less than so much longer, before its model hangs:
a large request that nobody waits for any more is no reason to load the model again."""


class Predictor:
    """Holds one immutable version and answers batches one after the other."""

    def __init__(
        self,
        model: str,
        version: str,
        runtime: str,
        tracking_uri: str,
        registry_uri: str,
        *,
        clock: Callable[[], float] = time.perf_counter,
        cpu_clock: Callable[[], float] = time.thread_time,
        options: RuntimeOptions = PLAIN,
    ) -> None:
        log_as_serve_does()
        self._model = model
        self._version = version
        self._said = {"model": model, "version": version}
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._typical_s = math.inf
        self._n_waits = 0
        self._depths = QueueDepths(clock)
        # One thread: frameworks bring their own parallelism, and order is kept.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._threaded: dict[Future[Prediction], str] = {}
        self._begun_s: float | None = None
        self._traces: ReplicaTraces | None = None
        started_s = clock()
        try:
            self._runtime: Runtime = make_runtime(
                runtime, f"models:/{model}/{version}", tracking_uri, registry_uri, options
            )
        except (ConfigError, MemoryError) as error:
            raise ConfigError(f"model {model!r} version {version}: {error}") from None
        logger.info(
            "loaded %s version %s with the %s runtime in %.1f s",
            model, version, runtime, clock() - started_s, extra=self._said,
        )  # fmt: skip

    async def predict(self, batch: Batch, gateway: str, depth: int) -> Prediction:
        """Answer one batch.

        Args:
            batch: The joined rows of one or more requests.
            gateway: Who asks.
            depth: Requests that wait or are in flight for this version at that gateway.

        Raises:
            PredictionError: The model raised; carries its type and message, no traceback.
        """
        prediction = self.predict_at_once(batch, gateway, depth)
        if prediction is not None:
            return prediction
        arrived_s = self._clock()
        future = self._thread.submit(self._answer_in_thread, batch, arrived_s)
        self._threaded[future] = gateway
        future.add_done_callback(self._threaded.pop)
        return await asyncio.wrap_future(future)

    def predict_at_once(self, batch: Batch, gateway: str, depth: int) -> Prediction | None:
        """Answer one batch on this thread, where the model is quick; None where it is not.

        Args:
            batch: See `predict`, as the next two.
            gateway: As above.
            depth: As above.

        Raises:
            PredictionError: As above.
        """
        self._depths.heard(gateway, depth)
        # Not beside a batch in the thread: a runtime is called from one thread at a time.
        if self._typical_s < INLINE_S and self._n_waits < MANY_WAITS and not self._threaded:
            return self._answer(batch, self._clock(), on_loop=True)
        return None

    def share(self, thread: ThreadPoolExecutor) -> None:
        """Leave slow batches to a single thread that others use, too; before the first batch."""
        self._thread = thread

    def trace(self, traces: "ReplicaTraces | None") -> None:
        """Make spans of batches whose gateway asks for them."""
        self._traces = traces

    @property
    def is_busy(self) -> bool:
        """Whether a batch is under way, be it that nobody waits for it any more."""
        return bool(self._threaded)

    def check_thread(self, deadline_s: float) -> None:
        """Have Serve replace a replica whose model hangs: its thread alone does, all else is well.

        Args:
            deadline_s: Within which batches must be answered, seconds.

        Raises:
            RuntimeError: It hangs.
        """
        begun_s = self._begun_s
        busy_s = self._clock() - begun_s if begun_s is not None else 0.0
        if busy_s > deadline_s + max(deadline_s, LEAST_SLACK_S):
            raise RuntimeError(
                f"{self._model} version {self._version} has been at one batch for {busy_s:.0f} s,"
                " and seems to hang"
            )

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Requests waiting at all gateways that have sent a batch lately."""
        return {QUEUE_METRIC: self._depths.total(list(self._threaded.values()))}

    def _sendable(self, arrays: Mapping[str, Array]) -> Mapping[str, Array]:
        """The answer as a gateway can be sent it.

        Raises:
            PredictionError: It is too large; sent nevertheless, it would look as if we had died.
        """
        size_bytes = sum([array.nbytes for array in arrays.values()])
        if size_bytes < SMALL_BYTES:
            return arrays
        if size_bytes > MAX_BYTES - SMALL_BYTES:
            reason = f"answered {size_bytes} bytes, at most {MAX_BYTES} can be sent"
            raise PredictionError(self._model, self._version, reason)
        return {name: _flat(array) for name, array in arrays.items()}

    def _answer_in_thread(self, batch: Batch, arrived_s: float) -> Prediction:
        self._begun_s = self._clock()
        try:
            return self._answer(batch, arrived_s, on_loop=False)
        finally:
            self._begun_s = None

    def _answer(self, batch: Batch, arrived_s: float, *, on_loop: bool) -> Prediction:
        started_s, cpu_s = self._clock(), self._cpu_clock()
        try:
            if batch.trace is None or self._traces is None:
                outputs = self._runtime.predict(batch)
            else:
                wait_s = started_s - arrived_s
                with self._traces.predicting(batch.trace, batch, wait_s=wait_s, **self._said):
                    outputs = self._runtime.predict(batch)
        except Exception as error:  # whatever a model raises is the version's failure
            logger.warning(
                "%s version %s raised", self._model, self._version,
                exc_info=True, extra={**self._said, REQUESTS: batch.request_ids},
            )  # fmt: skip
            raise PredictionError(self._model, self._version, _reason(error)) from None
        predict_s, computed_s = self._clock() - started_s, self._cpu_clock() - cpu_s
        # Beside a busy event loop, a thread's wall time is mostly its waiting for the loop:
        # a model of 0.2 ms took 5 there, and would never have been let onto the loop.
        cost_s = predict_s if on_loop else computed_s
        known_s = cost_s if math.isinf(self._typical_s) else self._typical_s
        self._typical_s = known_s + SMOOTHING * (cost_s - known_s)
        if on_loop:
            waited = predict_s > WAITING_S and computed_s < predict_s / 2
            self._n_waits = self._n_waits + 1 if waited else 0
        return Prediction(
            self._sendable(outputs.arrays), outputs.form, predict_s, started_s - arrived_s
        )


def _flat(array: Array) -> Array:
    """An array whose elements are no arrays: each of those would be a frame's buffer of its own."""
    if array.dtype.kind != "O" or array.size <= MOST_ARRAYS:
        return array
    plain = np.empty(array.size, dtype=object)
    plain[:] = [each.tolist() if isinstance(each, np.ndarray) else each for each in array.flat]
    return plain.reshape(array.shape)


def _reason(error: Exception) -> str:
    # The first line: frameworks put file names and stacks on the others.
    text = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"
