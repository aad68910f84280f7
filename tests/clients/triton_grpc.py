"""Ask a server with Triton's gRPC client, all settings at their defaults; print JSON.

Runs under the interpreter of `.venvs/clients`, as `triton_http.py` does:

    .venvs/clients/bin/python tests/clients/triton_grpc.py --url 127.0.0.1:8001 --cases rows.npz
"""

import argparse
import json
import queue
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

WITHIN_S = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="host:port")
    parser.add_argument("--cases", required=True, type=Path, help=".npz of rows by model")
    parser.add_argument("--load", help="a registered model that is not hosted")
    arguments = parser.parse_args()

    with InferenceServerClient(arguments.url) as client, np.load(arguments.cases) as cases:
        index = client.get_model_repository_index().models
        report = {
            # First: for up to a second the gateways know nothing of each other's last answers.
            "used": use(client, cases.files[0], cases[cases.files[0]]),
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "server": client.get_server_metadata().name,
            "index": sorted({entry.name for entry in index}),
            "models": {model: ask(client, model, cases[model]) for model in cases.files},
            "stream": stream(client, cases.files[0], cases[cases.files[0]]),
            "loading": load(client, arguments.load) if arguments.load else None,
            "config": configured(client, cases.files[0]),
            "errors": provoke(client, cases.files[0]),
        }
    print(json.dumps(report))


def tensor_of(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> InferInput:
    """The rows, named as the model's metadata says."""
    described = client.get_model_metadata(model).inputs[0]
    tensor = InferInput(described.name, list(rows.shape), np_to_triton_dtype(rows.dtype))
    tensor.set_data_from_numpy(rows)
    return tensor


def ask(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, Any]:
    """Infer the rows in one request."""
    result = client.infer(model, [tensor_of(client, model, rows)])
    response = result.get_response()
    return {
        "ready": client.is_model_ready(model),
        "version": response.model_version,
        "outputs": {
            output.name: result.as_numpy(output.name).tolist() for output in response.outputs
        },
    }


def configured(client: InferenceServerClient, model: str) -> dict[str, Any]:
    """Read a model's config."""
    config = client.get_model_config(model).config
    return {
        "name": config.name,
        "max_batch_size": config.max_batch_size,
        "dims": list(config.input[0].dims),
        "datatype": config.input[0].data_type,
        "scheduling": config.WhichOneof("scheduling_choice"),
    }


def stream(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, Any]:
    """Send each row as a request of one stream, with one wrong request between them."""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error or result))
    tensors = [tensor_of(client, model, rows[n : n + 1]) for n in range(len(rows))]
    client.async_stream_infer(model, tensors[:1], model_version="999", request_id="wrong")
    for number, tensor in enumerate(tensors):
        client.async_stream_infer(model, [tensor], request_id=str(number))
    got = [answers.get(timeout=WITHIN_S) for _ in range(len(rows) + 1)]
    client.stop_stream()
    errors = [str(each.message()) for each in got if isinstance(each, InferenceServerException)]
    results = [each for each in got if not isinstance(each, InferenceServerException)]
    return {
        "errors": errors,
        "rows": {
            each.get_response().id: each.as_numpy(each.get_response().outputs[0].name).tolist()
            for each in results
        },
    }


def use(client: InferenceServerClient, model: str, rows: NDArray[Any]) -> dict[str, Any]:
    """Read the statistics of a model until they show the rows that were inferred meanwhile."""
    tensor = tensor_of(client, model, rows)

    def counts() -> dict[str, int]:
        (found,) = client.get_inference_statistics(model, "1").model_stats
        stats = found.inference_stats
        return {
            "rows": found.inference_count,
            "batches": found.execution_count,
            "answers": stats.success.count,
            "predict_ns": stats.compute_infer.ns,
        }

    before = counts()
    client.infer(model, [tensor], model_version="1")
    deadline_s = time.monotonic() + WITHIN_S
    while counts()["rows"] < before["rows"] + len(rows):
        assert time.monotonic() < deadline_s, "the rows are not counted"
        time.sleep(0.05)
    return {"before": before, "after": counts()}


def load(client: InferenceServerClient, model: str) -> dict[str, Any]:
    """Load a model, with settings of its own at last, and unload it."""
    client.load_model(model)
    loaded = client.is_model_ready(model)
    client.load_model(model, config=json.dumps({"max_batch_size": 8}))
    index = client.get_model_repository_index().models
    client.unload_model(model)
    return {
        "ready": loaded,
        "states": [entry.state for entry in index if entry.name == model],
        "gone": message_of(lambda: client.is_model_ready(model)),
        "again": message_of(lambda: client.unload_model(model)),
        "settings": message_of(lambda: client.load_model(model, config='{"max_batch_size": 0}')),
        "files": message_of(
            lambda: client.load_model(model, config="{}", files={"file:1/m.pkl": b"x"})
        ),
    }


def provoke(client: InferenceServerClient, model: str) -> dict[str, str]:
    """Collect code and message of each error that the client must understand."""
    name = client.get_model_metadata(model).inputs[0].name
    misshapen = InferInput(name, [1, 1], "FP64")
    misshapen.set_data_from_numpy(np.zeros((1, 1)))
    return {
        "unknown model": message_of(lambda: client.get_model_metadata("no-such-model")),
        "infer unknown model": message_of(lambda: client.infer("no-such-model", [misshapen])),
        "wrong shape": message_of(lambda: client.infer(model, [misshapen])),
        "statistics": message_of(lambda: client.get_inference_statistics("no-such-model")),
        "load": message_of(lambda: client.load_model("no-such-model")),
        "unload": message_of(lambda: client.unload_model(model)),
        "config": message_of(lambda: client.get_model_config("no-such-model")),
    }


def message_of(call: Any) -> str:
    """Return what the server's error says to the client's user."""
    try:
        call()
    except InferenceServerException as error:
        return f"{error.status()}: {error.message()}"
    raise AssertionError("the server answered where an error was due")


if __name__ == "__main__":
    main()
