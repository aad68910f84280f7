"""Values for a model's `params`, cast to the schema that the model was registered with.

The rules are MLflow's: unknown names are dropped, defaults filled in, integers become
floats where floats are asked for, and nothing else is converted. Pure, so that neither
protocol has to import MLflow for them.

Source:
    MLflow 3.17, `mlflow.models.utils._enforce_params_schema` and `_enforce_param_datatype`.
"""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from deployments.protocols.signature import ParamsMismatchError
from deployments.protocols.tensors import Signature

_ACCEPTED: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (float, int),
    "double": (float, int),
    "string": (str,),
    "binary": (bytes, bytearray),
}


def cast_params(params: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """Keep what the schema names, cast to it; what is not given gets the schema's default.

    Raises:
        ParamsMismatchError: A value has another type or another number of axes.
    """
    schema = signature.mlflow.get("params")
    if not schema:
        return {}
    return {
        spec["name"]: _cast(spec, params[spec["name"]])
        if spec["name"] in params
        else _default(spec)
        for spec in _specs(schema)
    }


@lru_cache(maxsize=256)
def _specs(schema: str) -> Sequence[Mapping[str, Any]]:
    specs: Sequence[Mapping[str, Any]] = json.loads(schema)
    return specs


def _default(spec: Mapping[str, Any]) -> Any:
    if spec["type"] == "datetime" and spec["default"] is not None:
        return _cast(spec, spec["default"])
    return spec["default"]


def _cast(spec: Mapping[str, Any], value: Any) -> Any:
    if spec.get("shape") is None:
        return _cast_scalar(spec, value)
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise _mismatch(spec, value, f"a list of {spec['type']}")
    return [_cast_scalar(spec, element) for element in value]


def _cast_scalar(spec: Mapping[str, Any], value: Any) -> Any:
    word = spec["type"]
    if value is None or (word != "datetime" and word not in _ACCEPTED):
        return _cast_object(spec, value)
    if word == "datetime":
        return _cast_datetime(spec, value)
    # `type`, not `isinstance`: a bool is no integer here.
    if type(value) not in _ACCEPTED[word]:
        raise _mismatch(spec, value, f"a value of type {word}")
    return float(value) if word in ("float", "double") else value


def _cast_object(spec: Mapping[str, Any], value: Any) -> Any:
    if value is not None and not isinstance(value, Mapping):
        raise _mismatch(spec, value, "an object")
    return value


def _cast_datetime(spec: Mapping[str, Any], value: Any) -> Any:
    try:
        moment = np.datetime64(value).item()
    except (ValueError, TypeError, OverflowError):
        raise _mismatch(spec, value, "an ISO 8601 date") from None
    if isinstance(moment, int):
        raise _mismatch(spec, value, "an ISO 8601 date")
    return moment


def _mismatch(spec: Mapping[str, Any], value: Any, expected: str) -> ParamsMismatchError:
    return ParamsMismatchError(
        f"params.{spec['name']}: {value!r:.60} does not fit, expected {expected}"
    )
