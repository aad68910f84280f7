"""Ask a server with Triton's HTTP client, all settings at their defaults; print JSON.

Runs under the interpreter of `.venvs/clients`, since tritonclient and our own environment
disagree about protobuf:

    .venvs/clients/bin/python tests/clients/triton_http.py --url 127.0.0.1:8000 --cases rows.npz

The file holds one array of rows for each model, by its name.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="host:port")
    parser.add_argument("--cases", required=True, type=Path, help=".npz of rows by model")
    arguments = parser.parse_args()

    with InferenceServerClient(arguments.url) as client, np.load(arguments.cases) as cases:
        report = {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "models": {model: ask(client, model, cases[model]) for model in cases.files},
            "forms": ask_in_forms(client, cases.files[0], cases[cases.files[0]]),
            "config": client.get_model_config(cases.files[0]),
            "errors": provoke(client, cases.files[0], cases[cases.files[0]]),
        }
    print(json.dumps(report))


def tensor_of(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> InferInput:
    """The rows, named as the model's metadata says."""
    described = client.get_model_metadata(model)["inputs"][0]
    tensor = InferInput(described["name"], list(rows.shape), np_to_triton_dtype(rows.dtype))
    tensor.set_data_from_numpy(rows)
    return tensor


def ask(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, Any]:
    """Infer the rows in one request."""
    result = client.infer(model, [tensor_of(client, model, rows)])
    response = result.get_response()
    return {
        "ready": client.is_model_ready(model),
        "version": response["model_version"],
        "outputs": {
            output["name"]: result.as_numpy(output["name"]).tolist()
            for output in response["outputs"]
        },
    }


def ask_in_forms(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, Any]:
    """Infer the rows again and again: outputs chosen, as JSON, compressed either way."""
    many = np.repeat(rows, 100, axis=0)  # enough that the answer is worth compressing
    tensor = tensor_of(client, model, many)
    name = client.get_model_metadata(model)["outputs"][0]["name"]
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
        form: client.infer(model, [tensor], **options).as_numpy(name)[::100].tolist()
        for form, options in forms.items()
    }


def provoke(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, str]:
    """Collect the message of each error that the client must understand."""
    misshapen = tensor_of(client, model, np.zeros((1, 1)))
    fitting, unknown = tensor_of(client, model, rows), [InferRequestedOutput("no-such-output")]
    return {
        "unknown model": message_of(lambda: client.get_model_metadata("no-such-model")),
        "infer unknown model": message_of(lambda: client.infer("no-such-model", [misshapen])),
        "wrong shape": message_of(lambda: client.infer(model, [misshapen])),
        "unknown output": message_of(lambda: client.infer(model, [fitting], outputs=unknown)),
    }


def message_of(call: Any) -> str:
    """Return what the server's error says to the client's user."""
    try:
        call()
    except InferenceServerException as error:
        return str(error.message())
    raise AssertionError("the server answered where an error was due")


if __name__ == "__main__":
    main()
