"""Copies of answered requests on their way to a version that mirrors them: pure values.

Copies gather in bundles of one shape, so that the version is asked once for many of them.
"""

from collections.abc import Mapping, Sequence
from itertools import accumulate

import msgspec
import numpy as np

from deployments.gateway.joining import AnyRequest, Shape, join
from deployments.gateway.waiting import BatchAnswer, Waiting
from deployments.protocols.flat_infer import FlatRequest
from deployments.protocols.tensors import Array, Request

NUMBER_BYTES = 32
"""What a number of a flat request takes: Python's float, and the list's pointer to it."""

TEXT_BYTES = 64
"""The same for a text beside its characters."""


class Copy(msgspec.Struct, frozen=True, gc=False):
    """One request, and who sent it."""

    request: AnyRequest
    routing_key: str
    request_id: str


class Piece(msgspec.Struct, frozen=True, gc=False):
    """Copies of what one of stable's batches answered."""

    copies: list[Copy]
    """In the order of the answer."""

    answer: BatchAnswer
    spans: list[tuple[int, int]] | None
    """Where in the answer each copy's rows are; None if all rows are theirs."""

    rows: int
    size_bytes: int

    def outputs(self) -> Mapping[str, Array]:
        """Stable's answer to the copies."""
        arrays = self.answer.outputs.arrays
        if self.spans is None:
            return arrays
        rows = np.concatenate([np.arange(start, stop) for start, stop in self.spans])
        return {name: array[rows] for name, array in arrays.items()}


def piece_of(copies: list[Copy], answer: BatchAnswer, spans: list[tuple[int, int]] | None) -> Piece:
    """Measure copies; see `Piece`."""
    rows = size_bytes = 0
    for copy in copies:
        rows += copy.request.rows
        size_bytes += _request_bytes(copy.request)
    for array in answer.outputs.arrays.values():
        size_bytes += array_bytes(array)
    return Piece(copies, answer, spans, rows, size_bytes)


def output_shape(answer: BatchAnswer) -> Shape | None:
    """What must agree for two answers to be joined; None if they are not one row a row."""
    rows = answer.rows
    shape = []
    for name, array in answer.outputs.arrays.items():
        if array.ndim == 0 or len(array) != rows:
            return None
        shape.append((name, array.dtype.kind, array.shape[1:]))
    return tuple(shape)


class Group:
    """Pieces of one shape that gather for a bundle."""

    __slots__ = ("pieces", "rows", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.pieces: list[Piece] = []
        self.rows = 0

    def add(self, piece: Piece) -> None:
        """Take one more."""
        self.pieces.append(piece)
        self.rows += piece.rows


class Bundle(msgspec.Struct, frozen=True):
    """Copies that go out in one call."""

    copies: list[Copy]

    stable: Mapping[str, Array]
    """Stable's answers to all of them."""

    rows: int
    size_bytes: int

    stable_s: float | None = None
    """Stable's predict time for just these rows in one batch; None if it had them in several."""

    @property
    def starts(self) -> list[int]:
        """First row of each request."""
        return [0, *accumulate([copy.request.rows for copy in self.copies[:-1]])]

    def joined(self) -> Request:
        """The requests as one."""
        requests = [copy.request for copy in self.copies]
        batch = join(requests)
        return Request(
            inputs=batch.inputs,
            rows=self.rows,
            params=batch.params,
            layout=batch.layout,
            labels=batch.labels,
        )

    def halves(self) -> "list[Bundle]":
        """Two bundles of half the requests each, of which there must be several."""
        middle = len(self.copies) // 2
        row = self.starts[middle]
        first = {name: array[:row] for name, array in self.stable.items()}
        second = {name: array[row:] for name, array in self.stable.items()}
        size_bytes = self.size_bytes // 2
        return [
            Bundle(self.copies[:middle], first, row, size_bytes),
            Bundle(self.copies[middle:], second, self.rows - row, self.size_bytes - size_bytes),
        ]


def bundle(pieces: Sequence[Piece]) -> Bundle:
    """Join pieces of one shape."""
    answers = [piece.outputs() for piece in pieces]
    first = answers[0]
    if len(answers) > 1:
        stable = {name: np.concatenate([each[name] for each in answers]) for name in first}
    else:
        stable = dict(first)
    whole = len(pieces) == 1 and pieces[0].spans is None
    return Bundle(
        copies=[copy for piece in pieces for copy in piece.copies],
        stable=stable,
        rows=sum([piece.rows for piece in pieces]),
        size_bytes=sum([piece.size_bytes for piece in pieces]),
        stable_s=pieces[0].answer.predict_s if whole else None,
    )


def copy_of(waiting: Waiting) -> Copy:
    """Copy a request that was answered."""
    sender, own_id = waiting.sender, waiting.request.id
    if sender is None:
        return Copy(waiting.request, own_id or "", own_id or "")
    request_id = own_id or sender.given_id
    return Copy(waiting.request, sender.routing_key or request_id, request_id)


def array_bytes(array: Array) -> int:
    """About what an array holds in memory, bytes; texts included."""
    if array.dtype.kind != "O":
        return array.nbytes
    return sum([TEXT_BYTES + (len(e) if isinstance(e, str | bytes) else 0) for e in array.ravel()])


def _request_bytes(request: AnyRequest) -> int:
    if type(request) is FlatRequest:
        return NUMBER_BYTES * len(request.data)
    return sum(map(array_bytes, request.inputs.values()))
