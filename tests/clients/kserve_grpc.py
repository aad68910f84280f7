"""Ask a server with KServe's gRPC client, all settings at their defaults; print JSON.

Runs under the interpreter of `.venvs/clients`, as `triton_http.py` does, and not in one process
with Triton's client: both bring messages of the same names.

    .venvs/clients/bin/python tests/clients/kserve_grpc.py --url 127.0.0.1:8001 --cases rows.npz
"""

import argparse
import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from numpy.typing import NDArray

DATATYPES = {"float64": "FP64", "float32": "FP32"}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="host:port")
    parser.add_argument("--cases", required=True, type=Path, help=".npz of rows by model")
    arguments = parser.parse_args()
    logging.disable()  # it logs each error that is provoked here

    async with InferenceGRPCClient(arguments.url) as client:
        with np.load(arguments.cases) as cases:
            report = {
                "live": await client.is_server_live(),
                "ready": await client.is_server_ready(),
                "models": {model: await ask(client, model, cases[model]) for model in cases.files},
                "errors": await provoke(client, cases.files[0]),
            }
    print(json.dumps(report))


def request_of(model: str, rows: NDArray[Any], *, raw: bool) -> InferRequest:
    """The rows, packed or typed."""
    datatype = DATATYPES[rows.dtype.name]
    data = rows if raw else rows.ravel().tolist()
    tensor = InferInput("input-0", list(rows.shape), datatype, data=data)
    return InferRequest(model, [tensor])


async def ask(client: InferenceGRPCClient, model: str, rows: NDArray[Any]) -> dict[str, Any]:
    """Infer the rows in both forms."""
    answers = {
        form: await client.infer(request_of(model, rows, raw=form == "raw"))
        for form in ("raw", "typed")
    }
    return {
        "ready": await client.is_model_ready(model),
        "version": answers["raw"].model_version,
        **{
            form: {output.name: output.as_numpy().tolist() for output in answer.outputs}
            for form, answer in answers.items()
        },
    }


async def provoke(client: InferenceGRPCClient, model: str) -> dict[str, str]:
    """Collect code and message of each error that the client must understand."""
    misshapen = np.zeros((1, 1))
    return {
        "unknown model": await message_of(client.is_model_ready("no-such-model")),
        "infer unknown model": await message_of(
            client.infer(request_of("no-such-model", misshapen, raw=True))
        ),
        "wrong shape": await message_of(client.infer(request_of(model, misshapen, raw=True))),
    }


async def message_of(call: Any) -> str:
    """Return what the server's error says to the client's user."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return f"{error.code()}: {error.details()}"
    raise AssertionError("the server answered where an error was due")


if __name__ == "__main__":
    asyncio.run(main())
