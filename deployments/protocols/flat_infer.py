"""The request that most clients send, read and answered with as little work as it needs.

One input, named and typed as in the signature, its numbers in one flat list of JSON, no
parameters, all outputs asked for. Nothing is made of such a request before its batch is: the
numbers of all requests become one array, and the answer is written once for all of them and
cut. Whatever is not exactly so, or is wrong, is left to `open_inference`, which would read
and answer flat requests in the same way, bit by bit and byte by byte; tests hold the two
against each other.

A linear model's request of 30 numbers, without the sockets: 107 µs of the gateway's time
through the general way, see `gateway.flat_calls` for this one.
"""

from collections.abc import Hashable, Sequence
from itertools import chain
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson

from deployments.protocols.datatypes import BINARY_ONLY, DTYPES, datatype_of
from deployments.protocols.tensors import Array, Layout, Outputs, Signature, TensorSpec

MOST_AXES = 8
"""Of an input; more are legal and rare."""

UNFIT = frozenset({*BINARY_ONLY, "BYTES", "BOOL", "UINT64"})
"""Datatypes of inputs that need a closer look; msgspec bounds no integers of 64 bits."""


class FlatPlan:
    """What a signature says about flat requests, in the form in which it is looked at."""

    __slots__ = ("datatype", "decode", "dtype", "labels", "layout", "most", "name", "shape",
                 "trailing", "width")  # fmt: skip

    def __init__(self, spec: TensorSpec, layout: Layout) -> None:
        """Look at the only input of a signature."""
        self.name = spec.name
        self.datatype = spec.datatype
        self.dtype = DTYPES[spec.datatype]
        self.layout = layout
        self.labels: tuple[Hashable, ...] = ()
        self.trailing = list(spec.shape[1:])
        self.width = int(np.prod(self.trailing, dtype=np.int64))
        shape = ((spec.name, self.dtype.str, spec.shape[1:]),), "", layout, self.labels
        self.shape = shape
        """What `joining.batch_shape` says of such a request."""
        # What is finite as a double may be too large for a smaller type.
        narrow = self.dtype.kind == "f" and self.dtype != np.float64
        self.most = float(np.finfo(self.dtype).max) if narrow else None
        self.decode = _decoder(self.dtype).decode

    def array(self, rows: Sequence[list[Any]]) -> Array:
        """The numbers of one or more requests as one array, rows on axis 0."""
        flat = rows[0] if len(rows) == 1 else list(chain.from_iterable(rows))
        return np.array(flat, dtype=self.dtype).reshape(-1, *self.trailing)


def flat_plan(signature: Signature) -> FlatPlan | None:
    """How flat requests to a model are read; None if no request to it can be flat."""
    if signature.layout not in {Layout.TENSOR, Layout.NAMED_TENSORS}:
        return None
    if len(signature.inputs) != 1 or signature.mlflow.get("params"):
        return None
    (spec,) = signature.inputs
    fixed = all(length > 0 for length in spec.shape[1:])
    if (
        spec.datatype in UNFIT
        or not fixed
        or spec.shape[:1] != (-1,)
        or len(spec.shape) > MOST_AXES
    ):
        return None
    return FlatPlan(spec, signature.layout)


class FlatRequest(msgspec.Struct, frozen=True, gc=False):
    """A flat request; the fields beside its data are a `Request`'s, for whoever writes answers."""

    plan: FlatPlan
    data: list[Any]
    rows: int
    id: str | None

    outputs: tuple[()] = ()
    binary: bool = False
    header: bool = False
    params: dict[str, Any] = {}

    @property
    def layout(self) -> Layout:
        """See `Request.layout`."""
        return self.plan.layout

    @property
    def labels(self) -> tuple[Hashable, ...]:
        """See `Request.labels`."""
        return self.plan.labels

    @property
    def inputs(self) -> dict[str, Array]:
        """Its numbers as an array, by the input's name."""
        return {self.plan.name: self.plan.array([self.data])}


def decode_flat(body: bytes, plan: FlatPlan) -> FlatRequest | None:
    """Read a flat request; None for any other one, right or wrong.

    Args:
        body: Decompressed.
        plan: Of the model that is asked.
    """
    try:
        envelope = plan.decode(body)
    except (ValueError, RecursionError):  # msgspec's own errors are ValueErrors
        return None
    if envelope.parameters is not None or envelope.outputs is not None:
        return None
    (tensor,) = envelope.inputs
    shape, data = tensor.shape, tensor.data
    fits = (
        tensor.name == plan.name
        and tensor.datatype == plan.datatype
        and tensor.parameters is None
        and shape[1:] == plan.trailing
        and len(shape) > 0
        and shape[0] > 0
        and len(data) == shape[0] * plan.width
    )
    if not fits or (
        plan.most is not None and not -plan.most <= min(data) <= max(data) <= plan.most
    ):
        return None
    return FlatRequest(plan, data, shape[0], envelope.id)


class WrittenOutput(msgspec.Struct, frozen=True, gc=False):
    """One output of a batch in JSON."""

    head: bytes
    """Up to the number of rows in its shape."""

    middle: bytes
    """From there to its first element."""

    rows: list[bytes]
    """The elements of each row."""


def write_rows(outputs: Outputs, rows: int) -> list[WrittenOutput] | None:
    """Write a batch's answer in JSON, to be cut where its requests end.

    Returns:
        What each output says; None where the general way has more to look at.
    """
    written = []
    for name, array in outputs.arrays.items():
        datatype = datatype_of(array.dtype)
        if datatype is None or datatype in {*BINARY_ONLY, "BYTES"}:
            return None
        if not array.dtype.isnative or array.ndim == 0 or len(array) != rows or not array.size:
            return None
        wide = array.size > rows
        table = np.ascontiguousarray(array).reshape((rows, -1) if wide else rows)
        text = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)
        if b"null" in text:  # NaN or infinity, which orjson does not write
            return None
        cut = text[2:-2].split(b"],[") if wide else text[1:-1].split(b",")
        trailing = b"".join(b",%d" % length for length in array.shape[1:])
        head = b'{"name":%b,"datatype":"%b","shape":[' % (orjson.dumps(name), datatype.encode())
        written.append(WrittenOutput(head, trailing + b'],"data":[', cut))
    return written


def cut_rows(written: list[WrittenOutput], start: int, stop: int) -> bytes:
    """The `outputs` of one request, without the brackets around them."""
    count = stop - start
    return b",".join(
        b"%b%d%b%b]}"
        % (
            output.head,
            count,
            output.middle,
            output.rows[start] if count == 1 else b",".join(output.rows[start:stop]),
        )
        for output in written
    )


def _decoder(dtype: np.dtype[Any]) -> "msgspec.json.Decoder[Any]":
    """Reads envelopes of one flat input whose elements an array of that type can hold."""
    if dtype.kind == "f":
        element: Any = float
    else:
        limits = np.iinfo(dtype)
        element = Annotated[int, msgspec.Meta(ge=int(limits.min), le=int(limits.max))]
    tensor = msgspec.defstruct(
        "FlatTensor",
        [
            ("name", str),
            ("shape", list[int]),
            ("datatype", str),
            ("data", list[element]),
            ("parameters", Any, None),
        ],
        gc=False,
    )
    envelope = msgspec.defstruct(
        "FlatEnvelope",
        [
            ("inputs", tuple[tensor]),  # type: ignore[valid-type]
            ("id", str | None, None),
            ("parameters", Any, None),
            ("outputs", Any, None),
        ],
        gc=False,
    )
    return msgspec.json.Decoder(envelope)
