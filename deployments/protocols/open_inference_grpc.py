"""Open Inference Protocol V2 over gRPC: messages to requests, and answers to messages.

Tensors travel raw, packed as in REST's binary extension, or in the typed field that their
datatype names; never both in one message. An answer takes the form of its request, unless the
parameter `binary_data_output` says otherwise: Triton always answers raw.

Source:
    KServe, `open_inference_grpc.proto`; Triton, "GRPC protocol" and its extensions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from deployments.errors import MalformedRequestError, PredictionError
from deployments.protocols import open_inference_pb2 as pb
from deployments.protocols.binary_tensors import decode_blob
from deployments.protocols.bytes_elements import to_bytes
from deployments.protocols.conformance import WireTensor
from deployments.protocols.datatypes import BINARY_ONLY, DTYPES
from deployments.protocols.infer_rules import (
    binary_output,
    build_request,
    output_blob,
    output_datatype,
    selected,
    tensor_fault,
    unsupported_output,
)
from deployments.protocols.json_tensors import element_count, reshape
from deployments.protocols.tensors import Array, OutputRequest, Outputs, Request, Signature

FIELDS: Mapping[str, str] = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The field of `InferTensorContents` for each datatype; FP16 and BF16 have none."""

_WIDE = {"int_contents": np.dtype(np.int32), "uint_contents": np.dtype(np.uint32)}
"""What fields hold that several datatypes share."""


def parse(kind: Any, body: bytes) -> Any:
    """Read a message.

    Args:
        kind: The message's class.
        body: Its bytes.

    Raises:
        MalformedRequestError: They are none.
    """
    try:
        return kind.FromString(body)
    except DecodeError:
        raise MalformedRequestError(f"the message is not a {kind.DESCRIPTOR.name}") from None


def decode_infer(message: pb.ModelInferRequest, signature: Signature) -> Request:
    """Read an inference request, and check it against the model's signature.

    Args:
        message: The request.
        signature: What the model promises; with `Layout.UNKNOWN` any tensors pass.

    Raises:
        MalformedRequestError: Anything about the tensors or parameters is wrong. The message
            names the field, the value and what was expected.
    """
    parameters = parameter_values(message.parameters)
    binary = binary_output(parameters, default=bool(message.raw_input_contents))
    return build_request(
        _tensors(message.inputs, message.raw_input_contents),
        signature,
        parameters=parameters,
        outputs=tuple(_output_request(output, binary) for output in message.outputs),
        binary=binary,
        header=False,
        request_id=message.id or None,
    )


def encode_infer(
    request: Request, outputs: Outputs, *, model: str, version: str, request_id: str
) -> pb.ModelInferResponse:
    """Write an inference response, in the form of the request.

    Raises:
        MalformedRequestError: The caller asks for an output that there is not, or for typed
            contents where only raw ones can carry the values.
        PredictionError: An output cannot be written at all, such as complex numbers, or is
            promised and missing.
    """
    message = pb.ModelInferResponse(model_name=model, model_version=version, id=request_id)
    for name, array, binary in selected(request, outputs, model, version):
        datatype = output_datatype(name, array, model, version)
        tensor = message.outputs.add(name=name, datatype=datatype, shape=array.shape)
        try:
            if binary:
                message.raw_output_contents.append(output_blob(array, datatype))
            else:
                _fill(tensor.contents, name, array, datatype)
        except TypeError as error:
            raise PredictionError(model, version, f"output {name!r}: {error}") from None
    return message


def parameter_values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Read parameters of either kind, a request's or a repository's, by name.

    Raises:
        MalformedRequestError: One has no value.
    """
    return {name: _value(name, parameter) for name, parameter in parameters.items()}


def from_json(page: bytes, kind: Any) -> Any:
    """Turn a REST page into the message with the same fields; others are left out."""
    return json_format.Parse(page, kind(), ignore_unknown_fields=True)


def _value(name: str, parameter: Any) -> Any:
    choice = parameter.WhichOneof("parameter_choice")
    if choice is None:
        known = [field.name for field in parameter.DESCRIPTOR.fields]
        raise MalformedRequestError(
            f"parameters.{name:.40} has no value, expected one of {', '.join(known)}"
        )
    return getattr(parameter, choice)


def _tensors(
    inputs: Sequence[pb.ModelInferRequest.InferInputTensor], raw: Sequence[bytes]
) -> list[WireTensor]:
    if raw and len(raw) != len(inputs):
        raise MalformedRequestError(
            f"raw_input_contents has {len(raw)} entries, expected one for each of "
            f"{len(inputs)} inputs, or none"
        )
    tensors = []
    for index, tensor in enumerate(inputs):
        _check_tensor(tensor, raw=bool(raw))
        shape = tuple(tensor.shape)
        if raw:
            array = decode_blob(tensor.name, tensor.datatype, shape, memoryview(raw[index]))
        else:
            array = _contents(tensor, shape)
        tensors.append(WireTensor(tensor.name, tensor.datatype, array, decimal=False))
    return tensors


def _check_tensor(tensor: pb.ModelInferRequest.InferInputTensor, *, raw: bool) -> None:
    fault = tensor_fault(tensor.datatype, tensor.shape)
    if fault is None and min(tensor.shape) < 0:
        fault = f"shape is {list(tensor.shape)}, expected no negative length"
    if fault is None and raw and tensor.contents.ByteSize():
        fault = "contents field must not be specified when using raw_input_contents"
    if fault is not None:
        raise MalformedRequestError(f"input {tensor.name!r}: {fault}")


def _contents(tensor: pb.ModelInferRequest.InferInputTensor, shape: tuple[int, ...]) -> Array:
    name, datatype = tensor.name, tensor.datatype
    field = FIELDS.get(datatype)
    if field is None:
        raise MalformedRequestError(
            f"input {name!r}: datatype {datatype} cannot travel as contents, "
            "expected raw_input_contents"
        )
    others = [found.name for found, _ in tensor.contents.ListFields() if found.name != field]
    if others:
        raise MalformedRequestError(
            f"input {name!r}: contents has {others[0]}, expected {field} for datatype {datatype}"
        )
    elements = getattr(tensor.contents, field)
    if len(elements) != element_count(shape):
        raise MalformedRequestError(
            f"input {name!r}: {field} has {len(elements)} elements, "
            f"expected {element_count(shape)} for shape {list(shape)}"
        )
    return reshape(name, _pack(name, datatype, field, elements), shape)


def _pack(name: str, datatype: str, field: str, elements: Sequence[Any]) -> Array:
    dtype = DTYPES[datatype]
    if dtype.kind == "O":
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return array
    wide = np.fromiter(elements, _WIDE.get(field, dtype), len(elements))
    narrow = wide.astype(dtype, copy=False)
    if narrow is not wide and not np.array_equal(narrow, wide):
        raise MalformedRequestError(
            f"input {name!r}: a value of {field} is outside the range of {datatype}"
        )
    return narrow


def _output_request(
    output: pb.ModelInferRequest.InferRequestedOutputTensor, binary: bool
) -> OutputRequest:
    if "classification" in output.parameters or "shared_memory_region" in output.parameters:
        raise unsupported_output(output.name)
    return OutputRequest(output.name, binary)


def _fill(contents: pb.InferTensorContents, name: str, array: Array, datatype: str) -> None:
    if datatype in BINARY_ONLY:
        raise MalformedRequestError(
            f"output {name!r} is {datatype}, which contents cannot carry: "
            "expected raw_input_contents, or parameters.binary_data_output true"
        )
    elements = to_bytes(array) if datatype == "BYTES" else array
    getattr(contents, FIELDS[datatype]).extend(elements.ravel().tolist())
