"""Ask a server with Triton's asyncio HTTP client, all settings at their defaults; print JSON.

Runs under the interpreter of `.venvs/clients`, as `triton_http.py` does:

    .venvs/clients/bin/python tests/clients/triton_http_aio.py --url 127.0.0.1:8000 --cases rows.npz
"""

import argparse
import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.http import InferInput, InferRequestedOutput
from tritonclient.http.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException, np_to_triton_dtype


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="host:port")
    parser.add_argument("--cases", required=True, type=Path, help=".npz of rows by model")
    arguments = parser.parse_args()

    with np.load(arguments.cases) as cases:
        rows = {model: cases[model] for model in cases.files}
    first = next(iter(rows))
    async with InferenceServerClient(arguments.url) as client:
        report = {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "models": {model: await ask(client, model, rows[model]) for model in rows},
            "forms": await ask_in_forms(client, first, rows[first]),
            "config": await client.get_model_config(first),
            "errors": await provoke(client, first, rows[first]),
        }
    print(json.dumps(report))


async def tensor_of(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> InferInput:
    """The rows, named as the model's metadata says."""
    described = (await client.get_model_metadata(model))["inputs"][0]
    tensor = InferInput(described["name"], list(rows.shape), np_to_triton_dtype(rows.dtype))
    tensor.set_data_from_numpy(rows)
    return tensor


async def ask(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, Any]:
    """Infer all rows in one request, and each in one of its own, at once."""
    tensors = [await tensor_of(client, model, rows[n : n + 1]) for n in range(len(rows))]
    together = await client.infer(model, [await tensor_of(client, model, rows)])
    alone = await asyncio.gather(*(client.infer(model, [tensor]) for tensor in tensors))
    response = together.get_response()
    name = response["outputs"][0]["name"]
    return {
        "ready": await client.is_model_ready(model),
        "version": response["model_version"],
        "outputs": {name: together.as_numpy(name).tolist()},
        "alone": [each.as_numpy(name).tolist()[0] for each in alone],
    }


async def ask_in_forms(
    client: InferenceServerClient, model: str, rows: NDArray[Any]
) -> dict[str, Any]:
    """Infer the rows again and again: outputs chosen, as JSON, compressed either way."""
    many = np.repeat(rows, 100, axis=0)  # enough that the answer is worth compressing
    tensor = await tensor_of(client, model, many)
    name = (await client.get_model_metadata(model))["outputs"][0]["name"]
    forms: dict[str, dict[str, Any]] = {
        "plain": {},
        "chosen": {"outputs": [InferRequestedOutput(name)]},
        "json": {"outputs": [InferRequestedOutput(name, binary_data=False)]},
        "gzip": {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"},
        "deflate": {
            "request_compression_algorithm": "deflate",
            "response_compression_algorithm": "deflate",
        },
    }
    return {
        form: (await client.infer(model, [tensor], **options)).as_numpy(name)[::100].tolist()
        for form, options in forms.items()
    }


async def provoke(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, str]:
    """Collect the message of each error that the client must understand."""
    misshapen = await tensor_of(client, model, np.zeros((1, 1)))
    fitting = await tensor_of(client, model, rows)
    unknown = [InferRequestedOutput("no-such-output")]
    return {
        "unknown model": await message_of(client.get_model_metadata("no-such-model")),
        "infer unknown model": await message_of(client.infer("no-such-model", [misshapen])),
        "wrong shape": await message_of(client.infer(model, [misshapen])),
        "unknown output": await message_of(client.infer(model, [fitting], outputs=unknown)),
    }


async def message_of(call: Awaitable[Any]) -> str:
    """Return what the server's error says to the client's user."""
    try:
        await call
    except InferenceServerException as error:
        return str(error.message())
    raise AssertionError("the server answered where an error was due")


if __name__ == "__main__":
    asyncio.run(main())
