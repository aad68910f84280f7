"""The JSON part of an inference request, parsed and typed, before any tensor is built."""

import json
from typing import Annotated, Any

import msgspec

from deployments.errors import MalformedRequestError

MAX_DIGITS = 18
"""Longest length in decimal digits that we read; no body has as many bytes."""


class TensorParameters(msgspec.Struct, frozen=True):
    """Parameters of one input that change how it is read."""

    binary_data_size: Annotated[int, msgspec.Meta(ge=0)] | None = None


class TensorEnvelope(msgspec.Struct, frozen=True):
    """One entry of `inputs`."""

    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0)]]
    datatype: str
    data: Any = None
    parameters: TensorParameters | None = None


class OutputParameters(msgspec.Struct, frozen=True):
    """Parameters of one requested output that change how it is written."""

    binary_data: bool | None = None
    classification: Any = None
    shared_memory_region: Any = None


class OutputEnvelope(msgspec.Struct, frozen=True):
    """One entry of `outputs`."""

    name: str
    parameters: OutputParameters | None = None


class InferEnvelope(msgspec.Struct, frozen=True):
    """The whole JSON object; fields that the protocol does not know are ignored."""

    inputs: list[TensorEnvelope]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[OutputEnvelope] | None = None


class IdEnvelope(msgspec.Struct, frozen=True):
    """The JSON object as far as the split needs it."""

    id: str | None = None


_DECODER = msgspec.json.Decoder(InferEnvelope)
_ID_DECODER = msgspec.json.Decoder(IdEnvelope)


def parse_envelope(text: bytes | memoryview) -> InferEnvelope:
    """Parse and type the JSON; integers stay exact at any width.

    Bare `NaN` and `Infinity`, which Python's clients write, are not JSON: such a body alone
    takes the slower way through the standard library.

    Raises:
        MalformedRequestError: The text is no JSON, or a field is missing or of another type.
    """
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise _malformed(error) from None
    # Invalid UTF-8 is the one fault that msgspec 0.22 does not raise as its own error.
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        body = bytes(text)
        if b"NaN" not in body and b"Infinity" not in body:
            raise _malformed(error) from None
        return _parse_leniently(body)
    except RecursionError:
        raise MalformedRequestError("body is nested too deeply") from None


def peek_id(body: bytes, header_length: str | None) -> str | None:
    """Read only the request's id, which may decide which version reads the rest.

    None if there is none, or none can be read: what is wrong is said by whoever reads all.
    """
    try:
        text, _ = split_body(body, header_length)
        return _ID_DECODER.decode(text).id if len(text) else None
    except (MalformedRequestError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return None


def split_body(body: bytes, header_length: str | None) -> tuple[memoryview, memoryview]:
    """Cut the body where the header says that the JSON ends.

    Raises:
        MalformedRequestError: The header is no length, or more than the body has.
    """
    view = memoryview(body)
    if header_length is None:
        return view, view[len(view) :]
    text = header_length.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise MalformedRequestError(
            f"header Inference-Header-Content-Length is {header_length[:40]!r}, "
            "expected the length of the JSON part in bytes"
        )
    length = int(text)
    if length > len(view):
        raise MalformedRequestError(
            f"header Inference-Header-Content-Length is {length}, "
            f"expected at most the body's {len(view)} bytes"
        )
    return view[:length], view[length:]


def _parse_leniently(body: bytes) -> InferEnvelope:
    try:
        parsed = json.loads(body)
        # Refuses lone surrogates, which the standard library lets in but no answer could echo.
        msgspec.json.encode(parsed)
        return msgspec.convert(parsed, InferEnvelope)
    except RecursionError:
        raise MalformedRequestError("body is nested too deeply") from None
    except ValueError as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> MalformedRequestError:
    return MalformedRequestError(f"body is not an inference request: {error}")
