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
from tritonclient.http import InferenceServerClient, InferInput
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
            "errors": provoke(client, cases.files[0]),
        }
    print(json.dumps(report))


def ask(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, Any]:
    """Infer the rows in one request, named and typed as the model's metadata says."""
    metadata = client.get_model_metadata(model)
    described = metadata["inputs"][0]
    tensor = InferInput(described["name"], list(rows.shape), np_to_triton_dtype(rows.dtype))
    tensor.set_data_from_numpy(rows)
    result = client.infer(model, [tensor])
    response = result.get_response()
    return {
        "ready": client.is_model_ready(model),
        "datatype": described["datatype"],
        "version": response["model_version"],
        "outputs": {
            output["name"]: result.as_numpy(output["name"]).tolist()
            for output in response["outputs"]
        },
    }


def provoke(client: InferenceServerClient, model: str) -> dict[str, str]:
    """Collect the message of each error that the client must understand."""
    name = client.get_model_metadata(model)["inputs"][0]["name"]
    misshapen = InferInput(name, [1, 1], "FP64")
    misshapen.set_data_from_numpy(np.zeros((1, 1)))
    return {
        "unknown model": message_of(lambda: client.get_model_metadata("no-such-model")),
        "infer unknown model": message_of(lambda: client.infer("no-such-model", [misshapen])),
        "wrong shape": message_of(lambda: client.infer(model, [misshapen])),
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
