"""What a model's MLflow signature promises, in the words of the Open Inference Protocol.

Columns become one input each, of shape [-1]; tensors keep name, type and shape. A column
of equal-typed arrays becomes a tensor of shape [-1, -1]; objects, maps and arrays of
arrays travel as one JSON text an element, since the protocol has no nested types.

Reads the JSON inside `ModelSignature.to_dict()` itself: importing MLflow costs a second.
"""

import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import msgspec
import numpy as np

from deployments.errors import ConfigError, MalformedRequestError
from deployments.protocols.datatypes import COLUMN_DATATYPES, datatype_of
from deployments.protocols.tensors import (
    UNNAMED_INPUT,
    UNNAMED_OUTPUT,
    Layout,
    Signature,
    TensorSpec,
)


class SignatureMismatchError(MalformedRequestError):
    """The request is well-formed, but its inputs are not what the model's signature asks for."""


class ParamsMismatchError(MalformedRequestError):
    """A value in `params` is not what the model's signature asks for."""


class ModelSignature(Protocol):
    """What we need of `mlflow.models.ModelSignature`."""

    def to_dict(self) -> dict[str, Any]:
        """Give inputs, outputs and params as JSON texts, None where there are none."""
        ...


def signature_from_mlflow(signature: ModelSignature | Mapping[str, Any] | None) -> Signature:
    """Describe a registered model.

    Args:
        signature: MLflow's own, or its `to_dict()`; None for a model without one.

    Raises:
        ConfigError: A tensor's type, such as complex128, has no datatype in the protocol.
    """
    if signature is None:
        return Signature(Layout.UNKNOWN)
    texts = signature if isinstance(signature, Mapping) else signature.to_dict()
    inputs = json.loads(texts.get("inputs") or "[]")
    outputs = json.loads(texts.get("outputs") or "[]")
    return Signature(
        layout=_layout(inputs),
        inputs=_specs(inputs, UNNAMED_INPUT),
        outputs=_specs(outputs, UNNAMED_OUTPUT),
        mlflow=dict(texts),
    )


def to_json(signature: Signature) -> dict[str, Any]:
    """Turn a signature into what JSON can carry; `from_json` is the way back."""
    built: dict[str, Any] = msgspec.to_builtins(signature)
    return built


def from_json(fields: Mapping[str, Any]) -> Signature:
    """Rebuild what `to_json` gave, also after a trip through JSON text."""
    return msgspec.convert(fields, Signature)


def column_labels(signature: Signature, names: Iterable[str]) -> tuple[Hashable, ...]:
    """Label columns as the model's own data frame does, where that is not by their names.

    MLflow keeps integer labels as integers and numbers columns that have none, while names
    on the wire are strings.

    Returns:
        One label for each of `names`; empty if the names are the labels.
    """
    if signature.layout is not Layout.COLUMNS or not signature.mlflow.get("inputs"):
        return ()
    labels = _labels(signature.mlflow["inputs"])
    return tuple(labels[name] for name in names) if labels else ()


@lru_cache(maxsize=256)
def _labels(inputs: str) -> Mapping[str, Hashable]:
    """Map names to labels if any differ; cached, since it stands in the way of each request."""
    columns = json.loads(inputs)
    labels = [column.get("name", index) for index, column in enumerate(columns)]
    if all(isinstance(label, str) for label in labels):
        return {}
    names = [spec.name for spec in _specs(columns, UNNAMED_INPUT)]
    return dict(zip(names, labels, strict=True))


def _layout(inputs: Sequence[Mapping[str, Any]]) -> Layout:
    if not inputs:
        return Layout.UNKNOWN
    if inputs[0]["type"] != "tensor":
        return Layout.COLUMNS
    return Layout.NAMED_TENSORS if "name" in inputs[0] else Layout.TENSOR


def _specs(entries: Sequence[Mapping[str, Any]], unnamed: str) -> tuple[TensorSpec, ...]:
    # MLflow allows several columns without a name: the first gets `unnamed`, the rest count on.
    stem = unnamed.rpartition("-")[0]
    return tuple(
        _spec(entry, str(entry.get("name", f"{stem}-{index}")))
        for index, entry in enumerate(entries)
    )


def _spec(entry: Mapping[str, Any], name: str) -> TensorSpec:
    if entry["type"] == "tensor":
        return _tensor_spec(entry["tensor-spec"], name)
    datatype, shape = _column_type(entry)
    return TensorSpec(name, datatype, shape, entry.get("required", True), entry["type"])


def _tensor_spec(spec: Mapping[str, Any], name: str) -> TensorSpec:
    datatype = datatype_of(np.dtype(spec["dtype"]))
    if datatype is None:
        raise ConfigError(
            f"signature: tensor {name!r} has type {spec['dtype']}, "
            "for which the Open Inference Protocol has no datatype"
        )
    # A tensor of objects promises nothing about them, while a column called `object` holds JSON.
    mlflow_type = "" if spec["dtype"] == "object" else spec["dtype"]
    return TensorSpec(name, datatype, tuple(spec["shape"]), mlflow_type=mlflow_type)


def _column_type(entry: Mapping[str, Any]) -> tuple[str, tuple[int, ...]]:
    item = entry.get("items", {}).get("type")
    if entry["type"] == "array" and item in COLUMN_DATATYPES:
        return COLUMN_DATATYPES[item], (-1, -1)
    return COLUMN_DATATYPES.get(entry["type"], "BYTES"), (-1,)
