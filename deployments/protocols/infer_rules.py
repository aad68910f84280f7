"""What the Open Inference Protocol asks of requests and answers, over REST and gRPC alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deployments.errors import MalformedRequestError, PredictionError
from deployments.protocols.binary_tensors import encode_blob
from deployments.protocols.bytes_elements import to_bytes
from deployments.protocols.conformance import WireTensor, conform, count_rows
from deployments.protocols.datatypes import DTYPES, datatype_of
from deployments.protocols.json_tensors import MAX_AXES
from deployments.protocols.model_params import cast_params
from deployments.protocols.signature import SignatureMismatchError, column_labels
from deployments.protocols.tensors import (
    UNNAMED_OUTPUT,
    Array,
    Layout,
    OutputRequest,
    Outputs,
    Request,
    Signature,
    Wanted,
)

RESERVED_PARAMETERS = frozenset(
    {
        "sequence_id",
        "sequence_start",
        "sequence_end",
        "priority",
        "timeout",
        "headers",
        "binary_data_output",
        "content_type",  # MLServer's clients say "pd" here; our layout is the signature's.
    }
)
"""Request parameters that mean something to servers, and so never reach the model."""

RESERVED_PREFIX = "triton_"


def tensor_fault(datatype: str, shape: Sequence[int]) -> str | None:
    """Say what is wrong with an input before its elements are looked at; None for nothing."""
    if datatype not in DTYPES:
        return f"datatype {datatype[:40]!r} is unknown, expected one of {', '.join(DTYPES)}"
    if not 0 < len(shape) <= MAX_AXES:
        return f"shape has {len(shape)} axes, expected 1 to {MAX_AXES}, the first the rows"
    return None


def binary_output(parameters: Mapping[str, Any], default: bool) -> bool:
    """Whether outputs are answered in binary unless they say otherwise.

    Raises:
        MalformedRequestError: `binary_data_output` is not true or false.
    """
    binary = parameters.get("binary_data_output", default)
    if not isinstance(binary, bool):
        raise MalformedRequestError(
            f"parameters.binary_data_output is {binary!r:.40}, expected true or false"
        )
    return binary


def build_request(
    tensors: Sequence[WireTensor],
    signature: Signature,
    *,
    parameters: Mapping[str, Any],
    outputs: tuple[OutputRequest, ...],
    binary: bool,
    header: bool,
    request_id: str | None,
) -> Request:
    """Check decoded inputs, parameters and outputs against the signature.

    Raises:
        MalformedRequestError: They do not fit it, or one another.
    """
    inputs = conform(tensors, signature)
    rows = count_rows(inputs)
    params = _params(parameters, signature)
    return Request(
        inputs=inputs,
        rows=rows,
        id=request_id,
        params=params,
        outputs=_checked_outputs(outputs, signature),
        binary=binary,
        header=header,
        layout=_layout(signature, len(inputs)),
        labels=column_labels(signature, inputs),
    )


def unsupported_output(name: str) -> MalformedRequestError:
    """The refusal of what Triton's servers do with an output, and we do not."""
    return MalformedRequestError(
        f"output {name!r}: classification and shared_memory_region are not supported"
    )


def selected(
    request: Wanted, outputs: Outputs, model: str, version: str
) -> list[tuple[str, Array, bool]]:
    """The outputs to send by name, and whether in binary.

    Raises:
        MalformedRequestError: The caller asks for an output that there is not.
        PredictionError: There is not what the model's signature promises.
    """
    arrays = {name: _gaps_filled(array) for name, array in outputs.arrays.items()}
    if not request.outputs:
        return [(name, array, request.binary) for name, array in arrays.items()]
    if len(request.outputs) == 1 and request.outputs[0].promised and [*arrays] == [UNNAMED_OUTPUT]:
        # What was trained on a named column answers without its name.
        arrays = {request.outputs[0].name: arrays[UNNAMED_OUTPUT]}
    unknown = [output for output in request.outputs if output.name not in arrays]
    names = [output.name for output in unknown]
    if any(output.promised for output in unknown):
        raise PredictionError(
            model, version, f"outputs: {names} are promised, answered {list(arrays)}"
        )
    if unknown:
        raise MalformedRequestError(f"outputs: {names} are unknown, expected {list(arrays)}")
    return [(output.name, arrays[output.name], output.binary) for output in request.outputs]


def _gaps_filled(array: Array) -> Array:
    """Numbers some of which are missing, with NaN in their places: the wire has no null."""
    if array.dtype.kind != "O":
        return array
    kinds = set(map(type, array.ravel().tolist()))
    has_gaps = type(None) in kinds and len(kinds) > 1
    return array.astype(np.float64) if has_gaps and kinds <= _GAPPED else array


_GAPPED = {type(None), int, float}


def output_datatype(name: str, array: Array, model: str, version: str) -> str:
    """Name an output's type on the wire.

    Raises:
        PredictionError: The protocol has no word for it, as for complex numbers.
    """
    datatype = datatype_of(array.dtype)
    if datatype is None:
        raise PredictionError(
            model, version, f"output {name!r} has type {array.dtype}, which has no datatype"
        )
    return datatype


def output_blob(array: Array, datatype: str) -> bytes:
    """Pack an output.

    Raises:
        TypeError: An element of BYTES has no text.
    """
    return encode_blob(to_bytes(array) if datatype == "BYTES" else array, datatype)


def _params(parameters: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    return cast_params(
        {
            name: value
            for name, value in parameters.items()
            if name not in RESERVED_PARAMETERS and not name.startswith(RESERVED_PREFIX)
        },
        signature,
    )


def _checked_outputs(
    outputs: tuple[OutputRequest, ...], signature: Signature
) -> tuple[OutputRequest, ...]:
    promised = [spec.name for spec in signature.outputs]
    if not promised:
        return outputs
    unknown = [output.name for output in outputs if output.name not in promised]
    if unknown:
        raise SignatureMismatchError(f"outputs: {unknown} are unknown, expected {promised}")
    return tuple(OutputRequest(each.name, each.binary, promised=True) for each in outputs)


def _layout(signature: Signature, n_inputs: int) -> Layout:
    if signature.layout is not Layout.UNKNOWN:
        return signature.layout
    return Layout.TENSOR if n_inputs == 1 else Layout.NAMED_TENSORS
