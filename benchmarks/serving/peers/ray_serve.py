"""Plain Ray Serve applications: a deployment as Serve's manual shows it, and one with batching."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from benchmarks.serving.models import load

Array = NDArray[Any]

TYPES = {"FP32": np.float32, "FP64": np.float64}

LENGTH = "inference-header-content-length"


async def read(request: Request) -> tuple[str, Array]:
    """Read id and rows of an Open Inference request, JSON or with binary tensors."""
    if LENGTH in request.headers:
        content = await request.body()
        length = int(request.headers[LENGTH])
        head = json.loads(content[:length])
        (tensor,) = head["inputs"]
        flat = np.frombuffer(content[length:], TYPES[tensor["datatype"]])
        return head["id"], flat.reshape(tensor["shape"])
    body = await request.json()
    (tensor,) = body["inputs"]
    rows = np.asarray(tensor["data"], TYPES[tensor["datatype"]])
    return body["id"], rows.reshape(tensor["shape"])


def answer(number: str, values: Array) -> Response:
    """Write values as an Open Inference response."""
    output = {"name": "predict", "shape": list(values.shape), "data": values.reshape(-1).tolist()}
    return JSONResponse({"model_name": "model", "id": number, "outputs": [output]})


class Model:
    """Answers each request by itself."""

    def __init__(self) -> None:
        self._predict = load(Path(os.environ["BENCHMARK_MODEL"]))

    async def __call__(self, request: Request) -> Response:
        """Answer a request; a GET asks whether this replica is there."""
        if request.method == "GET":
            return Response()
        number, rows = await read(request)
        return answer(number, self._predict(rows))


class BatchedModel:
    """Joins requests with `serve.batch`."""

    def __init__(self) -> None:
        self._predict = load(Path(os.environ["BENCHMARK_MODEL"]))

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.001)
    async def predict(self, requests: list[Array]) -> list[Array]:
        """Answer several requests with one call of the model."""
        answers = self._predict(np.concatenate(requests))
        ends = np.cumsum([len(rows) for rows in requests])
        return np.split(answers, ends[:-1])

    async def __call__(self, request: Request) -> Response:
        """See `Model`."""
        if request.method == "GET":
            return Response()
        number, rows = await read(request)
        return answer(number, await self.predict(rows))


plain = serve.deployment(name="Model")(Model).bind()

# Serve lets 5 requests into a replica by default, which would bound every batch.
batched = serve.deployment(name="BatchedModel", max_ongoing_requests=256)(BatchedModel).bind()
