"""A crowd that a model needs seconds for, and that does not wait so long."""

import asyncio
import json
from collections import Counter
from typing import Any

import grpc
import numpy as np

from deployments.gateway.grpc_methods import INFERENCE
from deployments.protocols import open_inference_pb2 as pb
from tests.integration.hosting import Fleet, eventually
from tests.integration.load import Connection

MODEL = "moody"
ROWS = np.full((32, 1), 1e6)
"""A batch of its own, for which the model takes 20 ms."""

CROWD = 200
"""Requests at once: 4 s of the model's work."""

TIMEOUT_S = 0.3

MOST_DONE = 0.5
"""Share of the crowd that may have been predicted, though nobody waits for most of it."""

PATH = f"/v2/models/{MODEL}/infer"
TENSOR = {"name": "input-0", "shape": ROWS.shape, "datatype": "FP64", "data": ROWS.tolist()}
BODY = json.dumps({"inputs": [TENSOR]}).encode()


async def with_deadlines(url: str) -> Counter[int]:
    """Say how long we wait; returns how many answers had which status."""

    async def one() -> int:
        connection = Connection(url)
        timeout = f"X-Request-Timeout-Ms: {1000 * TIMEOUT_S}\r\n"
        answer = await connection.post(PATH, BODY, timeout)
        connection.close()
        return answer.status

    return Counter(await asyncio.gather(*(one() for _ in range(CROWD))))


async def with_grpc_deadlines(address: str) -> Counter[str]:
    """Do the same over gRPC."""
    message = pb.ModelInferRequest(model_name=MODEL)
    message.inputs.add(name="input-0", datatype="FP64", shape=ROWS.shape)
    message.raw_input_contents.append(ROWS.tobytes())
    body = message.SerializeToString()
    async with grpc.aio.insecure_channel(address) as channel:
        infer: Any = channel.unary_unary(f"/{INFERENCE}/ModelInfer")  # bytes in, bytes out

        async def one() -> str:
            try:
                await infer(body, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                return str(error.code().name)
            return "OK"

        return Counter(await asyncio.gather(*(one() for _ in range(CROWD))))


async def that_leave(url: str) -> None:
    """Close the connections while waiting."""

    async def one() -> None:
        connection = Connection(url)
        try:
            await connection.post(PATH, BODY, timeout_s=TIMEOUT_S)
        except TimeoutError:
            connection.close()

    await asyncio.gather(*(one() for _ in range(CROWD)))


def predicted(fleet: Fleet) -> float:
    """Requests of a crowd that the model has worked on, once it works on none."""
    eventually("nothing is in flight", lambda: _sum(fleet, "rayfleet_in_flight{") == 0)
    return _sum(fleet, "rayfleet_batch_rows_sum{") / len(ROWS)


def _sum(fleet: Fleet, beginning: str) -> float:
    """Sum over all gateways, as of their last reports."""
    _, _, page = fleet.call("/metrics", door=fleet.express_url)
    return sum(
        float(line.rpartition(" ")[2])
        for line in page.decode().splitlines()
        if line.startswith(beginning) and f'model="{MODEL}"' in line
    )
