"""Stand-ins for the edges of the serving side: replicas, time, and the table to act on."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Array, Batch, Form, Layout, Signature, TensorSpec
from deployments.schema import application_name
from deployments.traffic.table import (
    Batching,
    Endpoint,
    Mirroring,
    ModelRoutes,
    Remembering,
    Route,
    RouteState,
    RoutingTable,
    Track,
)

Result = TypeVar("Result")

SIGNATURE = Signature(
    Layout.TENSOR,
    (TensorSpec("x", "FP64", (-1, 2)),),
    (TensorSpec("output-0", "FP64", (-1,)),),
)
"""Two numbers a row in, one out."""

BATCHING = Batching(
    max_batch_size=4, batch_wait_timeout_s=0.0, max_concurrent_batches=1, max_queued_requests=100
)


TICK_S = 1e-9
"""How far a virtual loop's clock moves in each turn, seconds."""


class FakeClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_s: float = 1_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_s += seconds


class _Jumping(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "every task waits for something that nothing will cause"
        # Never quite still, or code that waits for the last 1e-17 s of a window would spin.
        self.now_s += max(TICK_S, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer instead of waiting for it; for code that uses no threads."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now_s


def run_virtually(test: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    """Run a coroutine to its end in no time, whatever its timers say."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(test())


def loop_time() -> float:
    """The running loop's clock."""
    return asyncio.get_running_loop().time()


def sums(batch: Batch) -> dict[str, Array]:
    """The model behind most fakes: the sum of each row."""
    (array,) = batch.inputs.values()
    return {"output-0": np.asarray(array).sum(axis=1)}


@dataclass(slots=True)
class Sent:
    """One batch as the transport got it."""

    batch: Batch
    depth: int
    at_s: float

    @property
    def rows(self) -> list[float]:
        """First number of each row, by which tests tell requests apart."""
        (array,) = self.batch.inputs.values()
        return [float(value) for value in array[:, 0]]


class FakeTransport:
    """A replica that records batches, and answers when and how the test says."""

    def __init__(
        self,
        predict: Callable[[Batch], Mapping[str, Array] | Awaitable[Mapping[str, Array]]] = sums,
        takes_s: float = 0.0,
    ) -> None:
        self._predict = predict
        self.takes_s = takes_s
        self.sent: list[Sent] = []
        self.endpoints: tuple[Endpoint, ...] = ()
        self.is_cheap = False
        self.own_copies = 0
        self.predict_s = 0.002
        self.running = 0
        self.most_running = 0

    @property
    def rows(self) -> list[list[float]]:
        """What each batch held."""
        return [sent.rows for sent in self.sent]

    def update(self, route: Route | None) -> None:
        """See `VersionTransport.update`."""
        self.endpoints = route.endpoints if route is not None else ()

    def begin(self, batch: Batch, depth: int, timeout_s: float, landed: Any) -> None:
        """See `VersionTransport.begin`; this one has to be waited for."""

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        """See `Transport.predict`."""
        self.sent.append(Sent(batch, depth, loop_time()))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            if self.takes_s:
                await asyncio.sleep(self.takes_s)
            answer = self._predict(batch)
            arrays = await answer if isinstance(answer, Awaitable) else answer
            return Prediction(arrays, Form.ARRAY, predict_s=self.predict_s, wait_s=0.0)
        finally:
            self.running -= 1


def make_route(
    model: str = "churn",
    version: str = "1",
    *,
    weight: int = 100,
    track: Track = Track.STABLE,
    state: RouteState = RouteState.READY,
    replicas: int = 1,
    signature: Signature = SIGNATURE,
    reason: str = "",
    endpoints: tuple[Endpoint, ...] = (),
    mirror: int = 0,
) -> Route:
    """A route that is ready and has all the traffic, unless said otherwise."""
    return Route(
        version=version,
        track=track,
        weight=weight,
        application=application_name(model, version),
        state=state,
        replicas=replicas,
        signature=signature,
        platform="sklearn",
        reason=reason,
        endpoints=endpoints,
        mirror=mirror,
    )


def make_table(
    revision: int = 1,
    settled: bool = True,
    mirroring: Mirroring = Mirroring(),  # noqa: B008, frozen
    feedback: Remembering | None = None,
    **models: tuple[Route, ...],
) -> RoutingTable:
    """A table of models with their routes; an underscore in a name stands for a hyphen."""
    return RoutingTable(
        revision,
        {
            name.replace("_", "-"): ModelRoutes(routes, BATCHING, 30.0, mirroring, feedback)
            for name, routes in models.items()
        },
        settled,
    )
