"""What may be decoded or encoded on the event loop, and what must leave it: rules by cost.

A body's length says little: sixteen megabytes of numbers are a view of it, one of empty BYTES
elements a Python loop of 250,000 rounds.
"""

from deployments.protocols.infer_envelope import MAX_DIGITS
from deployments.protocols.tensors import Array, Outputs, Wanted

LARGE_BYTES = 128 * 1024
"""A JSON text this long takes about a millisecond to decode, so it leaves the event loop."""

HEAVY_ROW_BYTES = 1024
"""Rows of answers that are no heavier are written for a whole batch at once."""

LARGE_ELEMENTS_BYTES = 64 * 1024
"""The same for BYTES, which are Python objects, and for BF16, which no processor knows."""

SHORT_CODED_BYTES = 1024
"""Longest compressed body that is undone on the event loop: it may hold a thousand times more."""

ELEMENT_BYTES = 64
"""Bytes of numbers that take as long to write as an element that is none."""

SLOW_DATATYPES = (b"BYTES", b"BF16", b"\\")
"""What a body's JSON has where reading its binary part takes long; escapes may hide the others."""


def reads_slowly(body: bytes, header_length: str | None) -> bool:
    """Whether an inference request's body takes longer than about a millisecond to decode.

    Args:
        body: Not compressed.
        header_length: Of the JSON before binary tensors, as the header says it; None without.
    """
    if len(body) <= LARGE_ELEMENTS_BYTES:
        return False
    if header_length is None:
        return len(body) > LARGE_BYTES
    text_bytes = _number(header_length)
    if text_bytes > LARGE_BYTES:
        return text_bytes <= len(body)  # else it is refused at once
    return any(body.find(each, 0, text_bytes) >= 0 for each in SLOW_DATATYPES)


def writes_slowly(wanted: Wanted, outputs: Outputs) -> bool:
    """Whether an answer takes longer than about a millisecond to encode.

    Args:
        wanted: How its request wants it written.
        outputs: What the answer says.
    """
    as_text = not (wanted.binary and all(each.binary for each in wanted.outputs))
    arrays = outputs.arrays.values()
    return (
        sum([_weight(array) for array in arrays if as_text or not _is_plain(array)]) > LARGE_BYTES
    )


def weight(outputs: Outputs) -> int:
    """What outputs cost to write as text, in bytes of numbers."""
    return sum([_weight(array) for array in outputs.arrays.values()])


def _weight(array: Array) -> int:
    return array.nbytes if _is_plain(array) else array.size * ELEMENT_BYTES


def _is_plain(array: Array) -> bool:
    return array.dtype.kind in "biuf"


def _number(text: str) -> int:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else 0
