"""What the Open Inference Protocol asks of requests and answers, over REST and gRPC alike."""

from collections.abc import Mapping, Sequence
from typing import Any

from deployments.errors import MalformedRequestError, PredictionError
from deployments.protocols.binary_tensors import encode_blob
from deployments.protocols.bytes_elements import to_bytes
from deployments.protocols.conformance import WireTensor, conform, count_rows
from deployments.protocols.datatypes import DTYPES, datatype_of
from deployments.protocols.json_tensors import MAX_AXES
from deployments.protocols.model_params import cast_params
from deployments.protocols.signature import SignatureMismatchError, column_labels
from deployments.protocols.tensors import (
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
    _check_outputs(outputs, signature)
    return Request(
        inputs=inputs,
        rows=rows,
        id=request_id,
        params=params,
        outputs=outputs,
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


def selected(request: Wanted, outputs: Outputs) -> list[tuple[str, bool]]:
    """The names of the outputs to send, and whether in binary.

    Raises:
        MalformedRequestError: The caller asks for an output that there is not.
    """
    if not request.outputs:
        return [(name, request.binary) for name in outputs.arrays]
    unknown = [output.name for output in request.outputs if output.name not in outputs.arrays]
    if unknown:
        raise MalformedRequestError(
            f"outputs: {unknown} are unknown, expected {list(outputs.arrays)}"
        )
    return [(output.name, output.binary) for output in request.outputs]


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


def _check_outputs(outputs: Sequence[OutputRequest], signature: Signature) -> None:
    promised = [spec.name for spec in signature.outputs]
    unknown = [output.name for output in outputs if output.name not in promised]
    if promised and unknown:
        raise SignatureMismatchError(f"outputs: {unknown} are unknown, expected {promised}")


def _layout(signature: Signature, n_inputs: int) -> Layout:
    if signature.layout is not Layout.UNKNOWN:
        return signature.layout
    return Layout.TENSOR if n_inputs == 1 else Layout.NAMED_TENSORS
