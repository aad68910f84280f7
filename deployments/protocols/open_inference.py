"""Open Inference Protocol V2 over REST, with the binary tensor data extension.

A body is JSON, or JSON with packed tensors behind it: the header
`Inference-Header-Content-Length` says where the JSON ends. A header of "0" makes the whole
body the bytes of the model's only input, one row of it.

Stricter than KServe, which neither checks for leftover nor for truncated bytes, and than
the protocol, which leaves both open.

Source:
    KServe, "Open Inference Protocol V2" and its "Binary Tensor Data Extension";
    Triton, "HTTP/REST: Raw Binary Request".
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import orjson

from deployments.errors import MalformedRequestError, PredictionError
from deployments.protocols.binary_tensors import decode_blob
from deployments.protocols.bytes_elements import to_texts
from deployments.protocols.conformance import WireTensor
from deployments.protocols.datatypes import BINARY_ONLY, ITEM_BYTES
from deployments.protocols.infer_envelope import (
    InferEnvelope,
    OutputEnvelope,
    TensorEnvelope,
    parse_envelope,
    split_body,
)
from deployments.protocols.infer_rules import (
    binary_output,
    build_request,
    output_blob,
    output_datatype,
    selected,
    tensor_fault,
    unsupported_output,
)
from deployments.protocols.json_tensors import decode_data, element_count
from deployments.protocols.tensors import Array, OutputRequest, Outputs, Request, Signature, Wanted

HEADER = "Inference-Header-Content-Length"
"""Request and response header: length of the JSON in front of binary tensors, bytes."""

JSON_TYPE = "application/json"

BINARY_TYPE = "application/octet-stream"


class Encoded(msgspec.Struct, frozen=True):
    """A response body and the headers that describe it."""

    body: bytes
    content_type: str

    header_length: int | None = None
    """Value of the response's `HEADER`; None leaves the header out."""


def decode_infer(body: bytes, header_length: str | None, signature: Signature) -> Request:
    """Read an inference request, and check it against the model's signature.

    Args:
        body: The request's body, decompressed.
        header_length: Value of the request's `HEADER`; None if it has none.
        signature: What the model promises; with `Layout.UNKNOWN` any tensors pass.

    Returns:
        The request; its arrays may be read-only views of `body`.

    Raises:
        MalformedRequestError: Anything about the body, the header or the tensors is wrong.
            The message names the field, the value and what was expected.
    """
    text, blobs = split_body(body, header_length)
    if header_length is not None and not text:
        return _raw_request(blobs, signature)
    envelope = parse_envelope(text)
    parameters = envelope.parameters or {}
    binary = binary_output(parameters, default=False)
    return build_request(
        _tensors(envelope, blobs, header_length is not None),
        signature,
        parameters=parameters,
        outputs=tuple(
            OutputRequest(entry.name, _wants_binary(entry, binary))
            for entry in envelope.outputs or ()
        ),
        binary=binary,
        header=header_length is not None,
        request_id=envelope.id,
    )


def encode_infer(
    request: Wanted, outputs: Outputs, *, model: str, version: str, request_id: str
) -> Encoded:
    """Write an inference response, in the form that the request asked for.

    Raises:
        MalformedRequestError: The caller asks for an output that there is not, or for JSON
            where only binary can carry the values.
        PredictionError: An output cannot be written at all, such as complex numbers, or is
            promised and missing.
    """
    entries: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, array, binary in selected(request, outputs, model, version):
        entry: dict[str, Any] = {
            "name": name,
            "datatype": output_datatype(name, array, model, version),
            "shape": array.shape,
        }
        try:
            if binary:
                blobs.append(output_blob(array, entry["datatype"]))
                entry["parameters"] = {"binary_data_size": len(blobs[-1])}
            else:
                entry["data"] = _data(name, array, entry["datatype"])
        except TypeError as error:
            raise PredictionError(model, version, f"output {name!r}: {error}") from None
        entries.append(entry)
    text = _dump(
        {"model_name": model, "model_version": version, "id": request_id, "outputs": entries}
    )
    if not blobs:
        return Encoded(text, JSON_TYPE)
    return Encoded(b"".join([text, *blobs]), BINARY_TYPE, len(text))


def _raw_request(blob: memoryview, signature: Signature) -> Request:
    if len(signature.inputs) != 1:
        raise MalformedRequestError(
            f"a raw request carries one input, but the model has {len(signature.inputs)} "
            "in its signature: expected JSON with `inputs`"
        )
    spec = signature.inputs[0]
    shape = _raw_shape(spec.name, spec.datatype, spec.shape, len(blob))
    if spec.datatype == "BYTES":
        array = np.empty(1, dtype=object)
        array[0] = bytes(blob)
        array = array.reshape(shape)
    else:
        array = decode_blob(spec.name, spec.datatype, shape, blob)
    return build_request(
        [WireTensor(spec.name, spec.datatype, array, decimal=False)],
        signature,
        parameters={},
        outputs=(),
        binary=True,
        header=True,
        request_id=None,
    )


def _raw_shape(
    name: str, datatype: str, spec_shape: Sequence[int], size_bytes: int
) -> tuple[int, ...]:
    """Fix the shape of a raw request: one row, and the free axis as long as the bytes reach."""
    shape = [1 if spec_shape[0] == -1 else spec_shape[0], *spec_shape[1:]]
    known = element_count(tuple(length for length in shape if length != -1))
    free = shape.count(-1)
    if free > 1 or (datatype == "BYTES" and (free or known != 1)):
        raise MalformedRequestError(
            f"input {name!r} has shape {list(spec_shape)}, which a raw request cannot fill: "
            "expected one free axis besides the rows, or one element of BYTES"
        )
    if free:
        shape[shape.index(-1)] = size_bytes // (ITEM_BYTES[datatype] * known) if known else 0
    return tuple(shape)


def _tensors(envelope: InferEnvelope, blobs: memoryview, header: bool) -> list[WireTensor]:
    tensors = []
    for tensor in envelope.inputs:
        _check_tensor(tensor, header)
        shape = tuple(tensor.shape)
        size_bytes = tensor.parameters.binary_data_size if tensor.parameters else None
        if size_bytes is None:
            array = decode_data(tensor.name, tensor.datatype, shape, tensor.data)
        else:
            if size_bytes > len(blobs):
                raise MalformedRequestError(
                    f"input {tensor.name!r}: binary_data_size is {size_bytes}, but the body "
                    f"ends early: expecting {size_bytes - len(blobs)} additional bytes"
                )
            array = decode_blob(tensor.name, tensor.datatype, shape, blobs[:size_bytes])
            blobs = blobs[size_bytes:]
        tensors.append(WireTensor(tensor.name, tensor.datatype, array, size_bytes is None))
    if len(blobs):
        raise MalformedRequestError(
            f"unexpected additional input data: {len(blobs)} bytes after the last input, expected 0"
        )
    return tensors


def _check_tensor(tensor: TensorEnvelope, header: bool) -> None:
    fault = tensor_fault(tensor.datatype, tensor.shape) or _data_fault(tensor, header)
    if fault is not None:
        raise MalformedRequestError(f"input {tensor.name!r}: {fault}")


def _data_fault(tensor: TensorEnvelope, header: bool) -> str | None:
    parameters = tensor.parameters
    if parameters is None or parameters.binary_data_size is None:
        missing = tensor.data is None
        return "data is missing, expected data or parameters.binary_data_size" if missing else None
    if tensor.data is not None:
        return "both data and binary_data_size are given, expected one of them"
    if not header:
        return f"binary_data_size is given, expected the header {HEADER} with it"
    return None


def _wants_binary(entry: OutputEnvelope, default: bool) -> bool:
    parameters = entry.parameters
    if parameters is None:
        return default
    if parameters.classification is not None or parameters.shared_memory_region is not None:
        raise unsupported_output(entry.name)
    return default if parameters.binary_data is None else parameters.binary_data


def _data(name: str, array: Array, datatype: str) -> Any:
    if datatype in BINARY_ONLY:
        raise MalformedRequestError(
            f"output {name!r} is {datatype}, which JSON cannot carry: "
            "expected parameters.binary_data true for it"
        )
    if datatype != "BYTES":
        # orjson reads native, contiguous memory only.
        native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
        return np.ascontiguousarray(array, dtype=native).ravel()
    try:
        return to_texts(array)
    except UnicodeDecodeError:
        raise MalformedRequestError(
            f"output {name!r} has elements that are not UTF-8, which JSON cannot carry: "
            "expected parameters.binary_data true for it"
        ) from None


def _dump(response: Mapping[str, Any]) -> bytes:
    text = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson writes NaN and infinity as null, which no client reads back as a number. Nothing
    # else in a response is null, so looking for the word costs less than looking at the values.
    if b"null" not in text:
        return text
    return json.dumps(response, default=_list, ensure_ascii=False).encode()


def _list(array: Array) -> Any:
    return array.tolist()
