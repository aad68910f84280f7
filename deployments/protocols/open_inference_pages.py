"""The Open Inference Protocol's bodies about servers and models, without any tensors in them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from typing import Any

import orjson

from deployments.protocols.tensors import Signature, TensorSpec

SERVER_NAME = "rayfleet"

EXTENSIONS = ("binary_tensor_data", "model_configuration", "model_repository", "statistics")


class State(StrEnum):
    """State of a version in the repository index."""

    UNKNOWN = "UNKNOWN"
    READY = "READY"
    UNAVAILABLE = "UNAVAILABLE"
    LOADING = "LOADING"
    UNLOADING = "UNLOADING"


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One version in the repository index."""

    name: str
    version: str
    state: State

    reason: str = ""
    """Why it is in this state; empty when it is READY."""


def server_live() -> bytes:
    """Answer that the server runs."""
    return orjson.dumps({"live": True})


def server_ready(ready: bool = True) -> bytes:
    """Answer whether the server is ready.

    Under both keys: the protocol's text prints `live` here by mistake, KServe's client
    reads `ready`.
    """
    return orjson.dumps({"ready": ready, "live": ready})


def server_metadata() -> bytes:
    """Answer who this server is and which extensions it speaks."""
    return orjson.dumps(
        {"name": SERVER_NAME, "version": version("rayfleet"), "extensions": EXTENSIONS}
    )


def model_ready(model: str, ready: bool = True) -> bytes:
    """Answer whether a model can predict."""
    return orjson.dumps({"name": model, "ready": ready})


def model_metadata(
    model: str,
    versions: Sequence[str],
    platform: str,
    signature: Signature,
    properties: Mapping[str, str] | None = None,
) -> bytes:
    """Describe a model's inputs and outputs.

    Args:
        model: Its name.
        versions: Every version that can be asked for.
        platform: Framework and form, such as `sklearn_sklearn`.
        signature: What the version behind the answer promises.
        properties: Free text of ours; inputs that may be left out are listed here too.
    """
    optional = [spec.name for spec in signature.inputs if not spec.required]
    texts = dict(properties or {}) | ({"optional_inputs": ",".join(optional)} if optional else {})
    body: dict[str, Any] = {
        "name": model,
        "versions": list(versions),
        "platform": platform,
        "inputs": [_tensor(spec) for spec in signature.inputs],
        "outputs": [_tensor(spec) for spec in signature.outputs],
    }
    return orjson.dumps(body | ({"properties": texts} if texts else {}))


def model_config(model: str, platform: str, signature: Signature, max_batch_size: int) -> bytes:
    """Describe a model as Triton's configs do, as far as clients read them.

    Args:
        model: Its name.
        platform: As in its metadata.
        signature: What the version behind the answer promises.
        max_batch_size: Most rows that share a batch.
    """
    specs = (*signature.inputs, *signature.outputs)
    # Else the shape of a row says nothing, which is what 0 means.
    is_batched = bool(specs) and all(spec.shape[:1] == (-1,) for spec in specs)
    body = {
        "name": model,
        "platform": platform,
        "max_batch_size": max_batch_size if is_batched else 0,
        "input": [
            {**_configured(spec, is_batched), "optional": not spec.required}
            for spec in signature.inputs
        ],
        "output": [_configured(spec, is_batched) for spec in signature.outputs],
    }
    return orjson.dumps(body | ({"dynamic_batching": {}} if is_batched else {}))


def model_names(models: Iterable[str]) -> bytes:
    """List the models, as KServe does at `/v2/models`."""
    return orjson.dumps({"models": list(models)})


def repository_index(entries: Iterable[IndexEntry], *, only_ready: bool = False) -> bytes:
    """List versions and their state, all or those that are ready."""
    return orjson.dumps(
        [
            {
                "name": entry.name,
                "version": entry.version,
                "state": entry.state,
                "reason": entry.reason,
            }
            for entry in entries
            if entry.state is State.READY or not only_ready
        ]
    )


def _configured(spec: TensorSpec, is_batched: bool) -> dict[str, Any]:
    word = "STRING" if spec.datatype == "BYTES" else spec.datatype
    dims = spec.shape[1:] if is_batched else spec.shape
    return {"name": spec.name, "data_type": f"TYPE_{word}", "dims": dims}


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}
