"""The least that can serve a model over HTTP: a raw ASGI app in uvicorn.

`unbatched` predicts each request by itself. `batched` predicts together what arrives in two
turns of the event loop, without ever waiting for company, or in a fixed window if one is
given: what the best of them reaches is the limit to aim at on this machine. One turn is a
fifth slower at 32 connections for the cheap model, three are no faster.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.models import Predict, load

MODEL_VARIABLE = "BENCHMARK_MODEL"
NAME_VARIABLE = "BENCHMARK_NAME"

WINDOW_VARIABLE = "BENCHMARK_WINDOW_S"
"""How long the first row of a batch waits for company, seconds; 0 is two turns of the loop."""

MOST_ROWS = 32
"""In one batch, where there is a window: it closes early when so many are there."""

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

Array = NDArray[Any]

Answers = list[list[float]]
"""The values that each row was answered with."""

PredictRows = Callable[["Tensor"], Awaitable[Answers]]

TYPES = {"FP32": np.float32, "FP64": np.float64}


class Tensor(msgspec.Struct):
    """Rows on their way in."""

    shape: list[int]
    datatype: str
    data: list[float] = []
    raw: bytes = b""

    def array(self) -> Array:
        """The rows themselves."""
        dtype = TYPES[self.datatype]
        flat = np.frombuffer(self.raw, dtype) if self.raw else np.asarray(self.data, dtype)
        return flat.reshape(self.shape)


class Request(msgspec.Struct):
    """What is read of a request."""

    id: str
    inputs: list[Tensor]


def unbatched() -> App:
    """Build the app that predicts each request alone."""
    predict = _load()

    async def predict_alone(tensor: Tensor) -> Answers:
        return _by_row(predict(tensor.array()))

    return _app(predict_alone)


def batched() -> App:
    """Build the app that predicts what arrives together."""
    return _app(Batcher(_load(), float(os.environ[WINDOW_VARIABLE])).predict)


class Batcher:
    """Collects requests for two turns of the event loop, or a window, then predicts at once."""

    def __init__(self, predict: Predict, window_s: float) -> None:
        self._predict = predict
        self._window_s = window_s
        self._waiting: list[tuple[Tensor, asyncio.Future[Answers]]] = []
        self._rows = 0
        self._timer: asyncio.TimerHandle | None = None

    async def predict(self, tensor: Tensor) -> Answers:
        """Predict some rows, in whatever company they arrived."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            if self._window_s:
                self._timer = loop.call_later(self._window_s, self._flush)
            else:
                # In the turn after next: rows that this turn's reads bring still join.
                loop.call_soon(loop.call_soon, self._flush)
        answer: asyncio.Future[Answers] = loop.create_future()
        self._waiting.append((tensor, answer))
        self._rows += tensor.shape[0]
        if self._timer is not None and self._rows >= MOST_ROWS:
            self._timer.cancel()
            self._flush()
        return await answer

    def _flush(self) -> None:
        self._timer = None
        waiting, self._waiting, self._rows = self._waiting, [], 0
        answers = _by_row(self._predict(_join([tensor for tensor, _ in waiting])))
        start = 0
        for tensor, answer in waiting:
            stop = start + tensor.shape[0]
            if not answer.done():
                answer.set_result(answers[start:stop])
            start = stop


def _join(tensors: list[Tensor]) -> Array:
    first = tensors[0]
    if first.raw:
        return np.concatenate([tensor.array() for tensor in tensors])
    flat: list[float] = []
    for tensor in tensors:
        flat += tensor.data
    return np.asarray(flat, TYPES[first.datatype]).reshape(-1, *first.shape[1:])


def _by_row(answers: Array) -> Answers:
    rows: Answers = answers.reshape(len(answers), -1).tolist()
    return rows


def _load() -> Predict:
    return load(Path(os.environ[MODEL_VARIABLE]))


def _app(predict: PredictRows) -> App:
    decode = msgspec.json.Decoder(Request).decode
    encode = msgspec.json.Encoder().encode
    name = os.environ[NAME_VARIABLE].encode()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b"{}"
        if scope["method"] == "POST":
            request = _read(await _body(receive), scope["headers"], decode)
            rows = await predict(request.inputs[0])
            values = rows[0] if len(rows) == 1 else [value for row in rows for value in row]
            body = (
                b'{"model_name":"%b","model_version":"1","id":"%b","outputs":[{"name":"predict",'
                b'"datatype":"%b","shape":[%d,%d],"data":%b}]}'
                % (
                    *(name, request.id.encode(), b"FP64" if _is_float(values) else b"INT64"),
                    *(len(rows), len(rows[0]), encode(values)),
                )
            )
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def _is_float(values: list[float]) -> bool:
    return isinstance(values[0], float)


def _read(
    body: bytes, headers: list[tuple[bytes, bytes]], decode: Callable[[bytes], Request]
) -> Request:
    for name, value in headers:
        if name == b"inference-header-content-length":
            request = decode(body[: int(value)])
            request.inputs[0].raw = body[int(value) :]
            return request
    return decode(body)


async def _body(receive: Receive) -> bytes:
    parts = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)
