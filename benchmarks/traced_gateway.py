"""A gateway's work on requests without sockets and without a model: what `benchmarks.traces` times.

Run as a program in the environment of any checkout, this one's or one before there were traces:
it says what a request costs there, in microseconds of the process's CPU.
"""

import argparse
import asyncio
import time
from inspect import signature
from typing import Any

import numpy as np

from deployments.gateway.app import GatewayApp
from deployments.gateway.flat_calls import FlatCalls
from deployments.gateway.heads import known_head
from deployments.gateway.inference import Inference
from deployments.predictor.prediction import Prediction
from deployments.protocols.tensors import Batch, Form, Layout, Signature, TensorSpec
from deployments.telemetry import Counters
from deployments.traffic.table import (
    Batching,
    ModelRoutes,
    Route,
    RouteState,
    RoutingTable,
    Track,
)

CLIENTS = 32
"""Requests that come in one turn of the loop, and share a batch."""

WARM_UP = 0.1
"""Part of the requests that is not timed."""

OFF = "off"

MODEL = "linear"
HEADERS = {b"host": b"fleet", b"content-type": b"application/json"}
BODY = b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP64","data":[5.1,3.5,1.4,0.2]}]}'
SIGNATURE = Signature(
    Layout.TENSOR,
    (TensorSpec("x", "FP64", (-1, 4)),),
    (TensorSpec("output-0", "FP64", (-1,)),),
)
BATCHING = Batching(
    max_batch_size=CLIENTS, batch_wait_timeout_s=0.0, max_concurrent_batches=1,
    max_queued_requests=1000,
)  # fmt: skip


class Instant:
    """A transport to a replica that answers in the next turn of the loop."""

    is_cheap = False
    own_copies = 0

    def update(self, route: Route | None) -> None:
        """Follow no table."""

    def begin(self, batch: Batch, depth: int, timeout_s: float, landed: Any) -> Any:
        """Answer with a number for each row."""
        (array,) = batch.inputs.values()
        arrays = {"output-0": np.asarray(array)[:, 0]}
        answer = Prediction(arrays, Form.ARRAY, predict_s=1e-4, wait_s=0.0)
        return asyncio.get_running_loop().call_soon(landed, answer).cancel

    async def predict(self, batch: Batch, depth: int, timeout_s: float) -> Prediction:
        """Never happens."""
        raise NotImplementedError


class Clients:
    """Stands for the connections: counts answers."""

    flow = None

    def __init__(self) -> None:
        self.left = 0
        self.done = asyncio.Event()

    def write_flat(self, cycle: Any, request_id: bytes, lines: bytes, body: bytes) -> bool:
        """Take an answer."""
        self.left -= 1
        if not self.left:
            self.done.set()
        return True


def table() -> RoutingTable:
    """One model with one version."""
    route = Route(
        version="1", track=Track.STABLE, weight=100, application=f"{MODEL}--v1",
        state=RouteState.READY, replicas=1, signature=SIGNATURE, platform="sklearn",
    )  # fmt: skip
    return RoutingTable(1, {MODEL: ModelRoutes((route,), BATCHING, 30.0)}, settled=True)


async def cost_us(n_requests: int, share: str, endpoint: str) -> float:
    """CPU of this process for each request, microseconds.

    Args:
        n_requests: So many, those included that are not timed.
        share: Of the requests that are traced, or `OFF`.
        endpoint: Of the collector.
    """
    counters = Counters("gateway")
    more: dict[str, Any] = {}
    if share != OFF:  # not at the top: there are checkouts without it
        from deployments.gateway.traces import open_traces  # noqa: PLC0415
        from tuning.tracespec import TracesSpec  # noqa: PLC0415

        spec = TracesSpec(endpoint=endpoint, sampling=float(share))
        more = {"traces": open_traces(spec, "gateway", counters)}
    inference = Inference(lambda _: Instant(), counters, **more)
    inference.apply(table())
    app = GatewayApp(inference, counters, None, 1_000_000)  # type: ignore[arg-type]
    calls = FlatCalls(app, lambda: False, lambda: b"0123456789abcdef0123456789abcdef")
    # Checkouts from before lengths were left out of what is known ask for it.
    length = (len(BODY),) if "length" in signature(known_head).parameters else ()
    head = known_head(f"/v2/models/{MODEL}/infer", (MODEL, None), HEADERS, *length)
    assert head is not None
    clients = Clients()
    n_waves = n_requests // CLIENTS
    n_cold = int(WARM_UP * n_waves)
    began_s = 0.0
    for wave in range(n_waves):
        if wave == n_cold:
            began_s = time.process_time()
        clients.left = CLIENTS
        clients.done.clear()
        for _ in range(CLIENTS):
            assert calls.begin(clients, head, BODY) is not None  # type: ignore[arg-type]
        await clients.done.wait()
    took_s = time.process_time() - began_s
    return took_s / ((n_waves - n_cold) * CLIENTS) * 1e6


def main() -> None:
    """Print the cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, required=True)
    parser.add_argument("--share", required=True)
    parser.add_argument("--endpoint", default="")
    options = parser.parse_args()
    print(asyncio.run(cost_us(options.requests, options.share, options.endpoint)))


if __name__ == "__main__":
    main()
