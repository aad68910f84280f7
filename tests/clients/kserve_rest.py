"""Ask a server with KServe's REST client, all settings but the version at their defaults.

Prints JSON.

Runs under the interpreter of `.venvs/clients`, as `triton_http.py` does:

    .venvs/clients/bin/python tests/clients/kserve_rest.py --url 127.0.0.1:8000 --cases rows.npz
"""

import argparse
import asyncio
import json
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput
from numpy.typing import NDArray

DATATYPES = {"float64": "FP64", "float32": "FP32"}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="host:port")
    parser.add_argument("--cases", required=True, type=Path, help=".npz of rows by model")
    arguments = parser.parse_args()

    logging.disable(logging.ERROR)
    url = f"http://{arguments.url}"
    with np.load(arguments.cases) as cases:
        rows = {model: cases[model] for model in cases.files}
    first = next(iter(rows))
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        report = {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "models": {model: await ask(client, url, model, rows[model]) for model in rows},
            "errors": await provoke(client, url, first),
        }
    print(json.dumps(report))


def request_of(
    model: str, rows: NDArray[Any], *, binary: bool, outputs: list[RequestedOutput] | None = None
) -> InferRequest:
    """All rows in one request."""
    tensor = InferInput("input-0", list(rows.shape), DATATYPES[str(rows.dtype)])
    tensor.set_data_from_numpy(rows, binary_data=binary)
    return InferRequest(model, [tensor], request_outputs=outputs)


async def ask(
    client: InferenceRESTClient, url: str, model: str, rows: NDArray[Any]
) -> dict[str, Any]:
    """Infer the rows as binary tensors and as JSON, the output chosen in either form, too."""
    name = "output-0"
    forms = {
        "binary": request_of(model, rows, binary=True),
        "json": request_of(model, rows, binary=False),
        "chosen": request_of(model, rows, binary=True, outputs=[RequestedOutput(name)]),
        "binary-answer": request_of(
            model, rows, binary=False, outputs=[RequestedOutput(name, {"binary_data": True})]
        ),
    }
    answers = {form: await client.infer(url, asked, model) for form, asked in forms.items()}
    return {
        "ready": await client.is_model_ready(url, model),
        "forms": {
            form: {output.name: output.as_numpy().tolist() for output in answer.outputs}
            for form, answer in answers.items()
        },
    }


async def provoke(client: InferenceRESTClient, url: str, model: str) -> dict[str, str]:
    """Collect the message of each error that the client must understand."""
    misshapen = np.zeros((1, 1))
    unknown = request_of("no-such-model", misshapen, binary=True)
    wrong = request_of(model, misshapen, binary=True)
    return {
        "infer unknown model": await message_of(client.infer(url, unknown, "no-such-model")),
        "wrong shape": await message_of(client.infer(url, wrong, model)),
        "unknown model": str(await client.is_model_ready(url, "no-such-model")),
    }


async def message_of(call: Awaitable[Any]) -> str:
    """Return what the server's error says to the client's user."""
    try:
        await call
    except httpx.HTTPStatusError as error:
        return str(error)
    raise AssertionError("the server answered where an error was due")


if __name__ == "__main__":
    asyncio.run(main())
