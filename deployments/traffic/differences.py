"""Requests that a mirrored version answered differently, a few kept to look at: pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import msgspec
import numpy as np

from deployments.protocols.tensors import Array

MOST_ROWS = 3
"""Of a request that are kept: the first that differ."""

MOST_VALUES = 192
"""Of all rows together that are kept, of the inputs and of each answer."""

MOST_CHARACTERS = 100
"""Of a text that are kept."""

MOST_BYTES = 256 * 1024
"""Of what a gateway reports at a time, and of what it reports of one version."""

Shown = dict[str, list[Any]]
"""Rows by name of an input or output, as JSON carries them."""


class Difference(msgspec.Struct, frozen=True):
    """One request that was answered differently."""

    request_id: str
    routing_key: str

    at_s: float
    """Unix time."""

    rows: int
    differing_rows: int

    largest: float | None
    """Largest absolute difference of two numbers; None where none could be taken."""

    inputs: Shown
    """Of the first rows that differ, as the two next."""

    stable: Shown
    mirrored: Shown


class Sampled(msgspec.Struct, frozen=True):
    """What one gateway has kept of one version."""

    differing: int
    """Requests of which these are an even sample."""

    kept: tuple[Difference, ...]


class Report(msgspec.Struct, frozen=True):
    """What a gateway tells the controller of one version."""

    application: str
    """Names the version."""

    changes: int
    """Of its reservoir, when this was written."""

    body: bytes
    """A `Sampled`."""


def encode_sampled(sampled: Sampled) -> bytes:
    """Write a sample, or half of it, and so on, if it is larger than a report may be."""
    body = msgspec.json.encode(sampled)
    while len(body) > MOST_BYTES and sampled.kept:
        sampled = Sampled(sampled.differing, sampled.kept[: len(sampled.kept) // 2])
        body = msgspec.json.encode(sampled)
    return body


def decode_sampled(body: bytes) -> Sampled:
    """Read a sample.

    Raises:
        msgspec.DecodeError: The bytes are none.
    """
    return msgspec.json.decode(body, type=Sampled)


class Reservoir:
    """An even sample of all that was offered, of bounded size.

    Source:
        Vitter, "Random Sampling with a Reservoir", ACM TOMS 11 (1985), algorithm R.
    """

    def __init__(self, random: Random) -> None:
        """Begin empty.

        Args:
            random: Decides who stays.
        """
        self._random = random
        self._kept: list[Difference] = []
        self.seen = 0
        self.changes = 0
        """Rises whenever what is kept changes."""

    def offer(self, make: Callable[[], Difference], size: int) -> None:
        """Keep a difference, or not.

        Args:
            make: Called only if it is kept.
            size: Most to keep.
        """
        self.seen += 1
        if len(self._kept) > size:
            del self._kept[size:]
        if len(self._kept) < size:
            self._kept.append(make())
        elif (place := self._random.randrange(self.seen)) < size:
            self._kept[place] = make()
        else:
            return
        self.changes += 1

    def sampled(self) -> Sampled:
        """What is kept."""
        return Sampled(self.seen, tuple(self._kept))


def shown_rows(arrays: Mapping[str, Array], rows: Sequence[int]) -> Shown:
    """Rows of arrays as JSON carries them, cut to what is worth looking at.

    Args:
        arrays: By name.
        rows: Their numbers; an array that is not one row for each row is shown as one.
    """
    names = list(arrays)[: MOST_VALUES // len(rows)]
    each = MOST_VALUES // max(1, len(names) * len(rows))
    return {name: [_shown(row, each) for row in _rows(arrays[name], rows)] for name in names}


def _rows(array: Array, rows: Sequence[int]) -> list[Any]:
    if array.ndim == 0 or max(rows) >= len(array):
        return [array]
    return [array[row] for row in rows]


def _shown(row: Any, most: int) -> Any:
    values = np.asarray(row)
    if values.ndim == 0:
        return _plain(values.item())
    return [_plain(value) for value in values.ravel()[:most].tolist()]


def _plain(value: Any) -> Any:
    match value:
        case bool() | int() | None:
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return value[:MOST_CHARACTERS].decode(errors="replace")
        case _:
            return str(value)[:MOST_CHARACTERS]
