"""The least that can serve the model over HTTP: a raw ASGI app in uvicorn.

`unbatched` predicts each request by itself. `batched` predicts together what arrives in two
turns of the event loop, without ever waiting for company: what it reaches is the limit to aim
at on this machine. One turn is a fifth slower at 32 connections, three are no faster.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
from numpy.typing import NDArray

MODEL_VARIABLE = "BENCHMARK_MODEL"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
PredictOne = Callable[[list[float]], Awaitable[int]]
PredictMany = Callable[[NDArray[np.float64]], NDArray[np.int64]]


class Tensor(msgspec.Struct):
    """A row on its way in."""

    data: list[float]


class Request(msgspec.Struct):
    """What is read of a request."""

    id: str
    inputs: list[Tensor]


def unbatched() -> App:
    """Build the app that predicts each row alone."""
    predict = _load()

    async def predict_one(row: list[float]) -> int:
        return int(predict(np.asarray([row]))[0])

    return _app(predict_one)


def batched() -> App:
    """Build the app that predicts the rows of one event loop turn together."""
    return _app(Batcher(_load()).predict)


class Batcher:
    """Collects the rows of two turns of the event loop, then predicts them at once."""

    def __init__(self, predict: PredictMany) -> None:
        self._predict = predict
        self._waiting: list[tuple[list[float], asyncio.Future[int]]] = []

    async def predict(self, row: list[float]) -> int:
        """Predict one row, in whatever company it arrived."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            # In the turn after next: rows that this turn's reads bring still join.
            loop.call_soon(loop.call_soon, self._flush)
        answer: asyncio.Future[int] = loop.create_future()
        self._waiting.append((row, answer))
        return await answer

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        labels = self._predict(np.asarray([row for row, _ in waiting])).tolist()
        for (_, answer), label in zip(waiting, labels, strict=True):
            if not answer.done():
                answer.set_result(label)


def _load() -> PredictMany:
    predict: PredictMany = joblib.load(Path(os.environ[MODEL_VARIABLE])).predict
    return predict


def _app(predict: PredictOne) -> App:
    decode = msgspec.json.Decoder(Request).decode
    model = b"breast-cancer"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        body = b"{}"
        if scope["method"] == "POST":
            request = decode(await _body(receive))
            label = await predict(request.inputs[0].data)
            body = (
                b'{"model_name":"%b","model_version":"1","id":"%b","outputs":[{"name":"predict",'
                b'"datatype":"INT64","shape":[1],"data":[%d]}]}'
                % (model, request.id.encode(), label)
            )
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


async def _body(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body
