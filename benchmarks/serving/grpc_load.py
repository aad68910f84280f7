"""Load over gRPC, one channel for each caller: run by the interpreter of .venvs/clients.

    grpc_load.py ADDRESS MODEL DURATION_S QUESTIONS.npy ANSWERS.npy CALLERS

Imports nothing of ours, since that environment has stock clients only. The last line of output
is one JSON object, as of `check.lua`.
"""

import asyncio
import json
import sys
import time
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

Array = NDArray[Any]

METHOD = "/inference.GRPCInferenceService/ModelInfer"

TOLERANCE = 1e-4
"""As in `dialects`."""

TIMEOUT_S = 30.0

DATATYPES = {"float32": "FP32", "float64": "FP64"}
TYPES = {"FP32": np.float32, "FP64": np.float64, "INT64": np.int64}

OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # else all channels share one connection
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


class Load:
    """Callers that ask in turn, and what they have seen."""

    def __init__(self, model: str, questions: Array, answers: Array) -> None:
        self.requests = [encode(model, number, rows) for number, rows in enumerate(questions)]
        self.answers = answers
        self.position = 0
        self.latencies_s: list[float] = []
        self.wrong = 0
        self.lost = 0

    async def caller(self, address: str, ends_s: float) -> None:
        """Ask one question after the other over a channel of its own."""
        async with grpc.aio.insecure_channel(address, options=OPTIONS) as channel:
            infer: Any = channel.unary_unary(METHOD)  # bytes in, bytes out
            while (began_s := time.perf_counter()) < ends_s:
                position = self.position
                self.position = (position + 1) % len(self.requests)
                try:
                    answer = await infer(self.requests[position], timeout=TIMEOUT_S)
                except grpc.aio.AioRpcError as error:
                    print(error.code(), error.details(), file=sys.stderr)
                    self.lost += 1
                    continue
                self.latencies_s.append(time.perf_counter() - began_s)
                self.wrong += not is_right(answer, str(position), self.answers[position])


def encode(model: str, number: int, rows: Array) -> bytes:
    """Write rows as a request with raw contents, as stock clients do."""
    request = service_pb2.ModelInferRequest(model_name=model, id=str(number))
    tensor = request.inputs.add()
    tensor.name = "input-0"
    tensor.datatype = DATATYPES[rows.dtype.name]
    tensor.shape.extend(rows.shape)
    request.raw_input_contents.append(rows.tobytes())
    message: bytes = request.SerializeToString()
    return message


def is_right(body: bytes, number: str, expected: Array) -> bool:
    """Whether an answer has the request's id and the model's own numbers."""
    response = service_pb2.ModelInferResponse.FromString(body)
    output = response.outputs[0]
    if response.raw_output_contents:
        values = np.frombuffer(response.raw_output_contents[0], TYPES[output.datatype])
    else:
        contents = output.contents
        values = np.asarray(
            contents.int64_contents or contents.fp64_contents or contents.fp32_contents
        )
    if response.id != number or values.size != expected.size:
        return False
    difference = np.abs(values - expected)
    return bool((difference <= TOLERANCE * np.maximum(1.0, np.abs(expected))).all())


async def main(target: list[str], questions: Array, answers: Array, callers: int) -> None:
    """Run the callers and print what they measured."""
    address, model, duration_s = target
    load = Load(model, questions, answers)
    began_s = time.perf_counter()
    ends_s = began_s + float(duration_s)
    await asyncio.gather(*(load.caller(address, ends_s) for _ in range(callers)))
    took_s = time.perf_counter() - began_s
    latencies_s = sorted(load.latencies_s) or [0.0]
    reading = {
        "requests": len(load.latencies_s),
        "duration_us": round(took_s * 1e6),
        "p50_us": round(latencies_s[len(latencies_s) // 2] * 1e6),
        "p99_us": round(latencies_s[len(latencies_s) * 99 // 100] * 1e6),
        "wrong": load.wrong,
        "lost": load.lost,
    }
    print(json.dumps(reading))


if __name__ == "__main__":
    questions_file, answers_file, callers_text = sys.argv[4:]
    asyncio.run(
        main(sys.argv[1:4], np.load(questions_file), np.load(answers_file), int(callers_text))
    )
